"""Small ONNX models, made on the spot: what files in the wild have, one thing each."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def model(nodes, inputs, outputs, held=(), opset=21, **more):
    """Returns a model; `inputs` and `outputs` are (name, type, shape), `held` arrays by name."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(*one) for one in outputs],
        [numpy_helper.from_array(array, name) for name, array in dict(held).items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in more.pop("domains", ()))]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, **more)


def draw(*shape, seed=0, dtype=np.float32):
    return np.random.RandomState(seed).standard_normal(shape).astype(dtype)


def mlp(batch="batch", opset=21):
    """Two layers with a rectifier between: `x` (batch, 16) to `y` (batch, 4)."""
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2"], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["y"]),
    ]
    held = {"w1": draw(16, 32) / 4, "b1": draw(32, seed=1), "w2": draw(32, 4, seed=2) / 6}
    float_ = TensorProto.FLOAT
    return model(nodes, [("x", float_, [batch, 16])], [("y", float_, [batch, 4])], held, opset)


def convolutional(opset=9):
    """Convolution, batch norm, pooling and softmax of an old opset: `image` (N, 3, ?, ?) to `p` (N, 5)."""
    norm = {"epsilon": 1e-5, "momentum": 0.9}
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "bias", "mean", "var"], ["n"], **norm),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Softmax", ["g"], ["p"], axis=1),
    ]
    held = {
        "w": draw(5, 3, 3, 3) / 3,
        "scale": 1 + draw(5, seed=1) / 4,
        "bias": draw(5, seed=2),
        "mean": draw(5, seed=3),
    }
    held["var"] = np.abs(draw(5, seed=4)) + 0.5
    shape = ["N", 3, "height", "width"]
    return model(nodes, [("image", 1, shape)], [("p", 1, ["N", 5, 1, 1])], held, opset)


def tokens(kind=TensorProto.INT32):
    """A table of 11 rows that ids look up, through a cast: `ids` (batch, 6) to `y` (batch, 6, 8)."""
    nodes = [
        helper.make_node("Cast", ["ids"], ["wide"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "wide"], ["e"]),
        helper.make_node("Tanh", ["e"], ["y"]),
    ]
    return model(nodes, [("ids", kind, ["batch", 6])], [("y", 1, ["batch", 6, 8])], {"table": draw(11, 8)})


def branching():
    """An `If` that a scalar `rate` decides: x times 2 or x plus w; both branches read what lies outside of them."""

    def branch(name, kind, other):
        node = helper.make_node(kind, ["x", other], [f"of_{name}"])
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(f"of_{name}", 1, [2, 3])])

    nodes = [
        helper.make_node("Equal", ["rate", "sixteen"], ["is_sixteen"]),
        helper.make_node(
            "If", ["is_sixteen"], ["y"], then_branch=branch("a", "Mul", "two"), else_branch=branch("b", "Add", "w")
        ),
    ]
    held = {"sixteen": np.array(16, np.int64), "two": np.array(2, np.float32), "w": draw(2, 3, seed=5)}
    inputs = [("x", 1, [2, 3]), ("rate", TensorProto.INT64, [])]
    return model(nodes, inputs, [("y", 1, [2, 3])], held, opset=16)


def half():
    """A product in float16 with float32 outside: `x` (2, 16) to `y` (2, 8)."""
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["h", "w"], ["z"]),
        helper.make_node("Cast", ["z"], ["y"], to=TensorProto.FLOAT),
    ]
    return model(nodes, [("x", 1, [2, 16])], [("y", 1, [2, 8])], {"w": (draw(16, 8) / 4).astype(np.float16)})


def dynamically_quantized():
    """A product of codes whose scale is measured as it runs."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["q", "w", "zero"], ["z"]),
        helper.make_node("Cast", ["z"], ["f"], to=1),
        helper.make_node("Mul", ["f", "scale"], ["y"]),
    ]
    held = {"w": np.random.RandomState(0).randint(-127, 127, (16, 4)).astype(np.int8)}
    return model(nodes, [("x", 1, [2, 16])], [("y", 1, [2, 4])], held)


def saved(made, folder, name="small.onnx", **more):
    """Returns the path of the model in `folder`."""
    path = folder / name
    onnx.save(made, str(path), **more)
    return path
