"""What the other model families add: operations held against each other and against other code, and the models too."""

import numpy as np
import pytest
import torch

from backends._graphs import ONNX
from backends._torch_ops import TorchOps, to_torch
from bench.artifacts import BATCHES, PARAMETERS
from tests.fakes.steps import make, make_in
from workloads import data
from workloads.catalog import CATALOG, CONTROLS, SUITES, load
from workloads.models import dlrm
from workloads.models._layers import Layers
from workloads.ops import Ops
from workloads.precision import INT8
from workloads.recipes.int8 import NORM, Calibrating, codes_of, products_of, quantized
from workloads.recipes.mixed import Mixed
from workloads.reference import NumpyOps, float64
from workloads.vocabulary.images import ImageOps

# torch.onnx's own (2.13).
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")

CPU = torch.device("cpu")
FAMILIES = ("autoencoder", "dit", "dlrm", "ds_cnn", "mobilenet_v1_025", "resnet8", "unet", "vit_b16")


class Composed(NumpyOps):
    """What a binding has that has none of the later operations."""

    broadcast, binary_cross_entropy = Ops.broadcast, Ops.binary_cross_entropy
    pad2d, conv_transpose2d, layer_norm = ImageOps.pad2d, ImageOps.conv_transpose2d, Ops.layer_norm


def jax_ops():
    from backends._jax_ops import JaxOps

    return JaxOps()


def drawn(*shapes):
    random = np.random.RandomState(0)
    return [random.standard_normal(shape) for shape in shapes]


OPERATIONS = {
    "grouped": lambda ops, x, w, b: ops.conv2d(x, w, 2, 1, bias=b, groups=2),
    "rectangular": lambda ops, x, w: ops.conv2d(x, w, 1, 0),
    "transposed": lambda ops, x, w, b: ops.conv_transpose2d(x, w, b),
    "padded": lambda ops, x: ops.pad2d(x, (4, 5), (0, 1)),
    "broadcast": lambda ops, x: ops.broadcast(x, (3, 2, 4)),
    "behind": lambda ops, a, b: ops.concatenate([a, b], axis=1),
    "lengths": lambda ops, x: ops.concatenate(ops.split(x, (3, 1, 2))[::2]),
    "products": lambda ops, a, b: ops.matmul(a, b),
    "plain_norm": lambda ops, x: ops.layer_norm(x, None, None, 1e-6),
}
OPERANDS = {
    "grouped": ((2, 4, 7, 5), (6, 2, 3, 3), (6,)),
    "rectangular": ((2, 3, 9, 8), (5, 3, 4, 2)),
    "transposed": ((2, 3, 4, 5), (3, 6, 2, 2), (6,)),
    "padded": ((2, 3, 4, 5),),
    "broadcast": ((1, 2, 4),),
    "behind": ((2, 3, 4), (2, 1, 4)),
    "lengths": ((5, 6),),
    "products": ((2, 3, 4), (2, 4, 5)),
    "plain_norm": ((4, 6),),
}


@pytest.mark.parametrize("binding", ["composed", "torch", "jax"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_bindings_and_what_is_composed_are_the_reference(name, binding):
    operands = drawn(*OPERANDS[name])
    expected = OPERATIONS[name](NumpyOps(), *operands)
    if binding == "jax":
        import jax

        with jax.enable_x64(True):
            found = np.asarray(OPERATIONS[name](jax_ops(), *map(jax.numpy.asarray, operands)))
    elif binding == "torch":
        found = OPERATIONS[name](TorchOps(), *map(torch.from_numpy, operands)).numpy()
    else:
        found = OPERATIONS[name](Composed(), *operands)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_the_loss_of_a_click_is_the_same_everywhere():
    logits, labels = np.array([-30.0, -0.5, 0.0, 2.0, 40.0]), np.array([1, 0, 1, 0, 1])
    one_by_one = -np.log(np.where(labels == 1, 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(logits)))).mean()
    found = [ops.binary_cross_entropy(logits, labels) for ops in (NumpyOps(), Composed())]
    found.append(TorchOps().binary_cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)).item())
    import jax

    with jax.enable_x64(True):
        found.append(float(jax_ops().binary_cross_entropy(*map(jax.numpy.asarray, (logits, labels)))))
    np.testing.assert_allclose(found, one_by_one, rtol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_a_norm_over_samples_is_that_of_images_of_one_pixel(training):
    x, weight, bias = drawn((8, 5), (5,), (5,))
    p = {"weight": weight, "bias": bias, "running_mean": 0 * bias, "running_var": 1 + 0 * bias}
    y, statistics = NumpyOps().batch_norm(x, p, training)
    images, of_images = NumpyOps().batch_norm(x[:, :, None, None], p, training)
    np.testing.assert_allclose(y, images[:, :, 0, 0], rtol=1e-12)
    np.testing.assert_equal(statistics, of_images)


def test_a_binding_without_products_of_activations_says_so():
    class Old(NumpyOps):
        matmul = Ops.matmul

    with pytest.raises(TypeError, match="Old has no matmul: it needs one for products of two activations"):
        Old().matmul(np.ones((1, 2, 2)), np.ones((1, 2, 2)))


def test_a_binding_of_before_groups_and_biases_runs_what_has_none():
    class Old(NumpyOps):
        def conv2d(self, x, weight, stride, padding):
            return super().conv2d(x, weight, stride, padding)

    workload = load("resnet50", "tiny")
    program, p = workload.programs["infer"], float64(data.make_parameters(workload))
    batch = data.make_batches(workload)[0]
    expected = program.outputs_of(NumpyOps(), p, {}, batch)["logits"]
    np.testing.assert_array_equal(program.outputs_of(Mixed(Old(), "float32"), p, {}, batch)["logits"], expected)


@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "rows", "columns"),
    [
        ((96, 96), (3, 3), 2, (0, 1), (0, 1)),
        ((49, 10), (10, 4), 2, (4, 5), (1, 1)),
        ((32, 32), (3, 3), 1, (1, 1), (1, 1)),
        ((32, 32), (1, 1), 2, (0, 0), (0, 0)),
    ],
)
def test_zeros_are_added_as_tensorflow_does(shape, kernel, stride, rows, columns):
    (x, weight) = drawn((1, 1, *shape), (1, 1, *kernel))
    found = Layers(NumpyOps(), {"c.weight": weight}, training=False).conv(x, "c", kernel, stride)
    padded = np.pad(x, ((0, 0), (0, 0), rows, columns))
    np.testing.assert_allclose(found, NumpyOps().conv2d(padded, weight, stride, 0), rtol=1e-12)
    assert found.shape[2:] == tuple(-(-side // stride) for side in shape)


def test_pairs_are_those_below_the_diagonal():
    vectors = drawn(*[(2, 3)] * 4)
    stacked = np.stack(vectors, axis=1)
    expected = [(stacked[:, i] * stacked[:, j]).sum(-1) for i in range(4) for j in range(i)]
    np.testing.assert_allclose(dlrm._products(NumpyOps(), vectors), np.stack(expected, axis=1), rtol=1e-12)


def test_vit_is_the_encoder_of_torch():
    workload = load("vit_b16", "tiny")
    config = CATALOG["vit_b16"].SIZES["tiny"]
    p = {name: to_torch(a, CPU, torch.float64) for name, a in data.make_parameters(workload).items()}
    images = torch.from_numpy(data.make_batches(workload)[0]["images"]).double()
    layer = torch.nn.TransformerEncoderLayer(
        config.hidden_dim,
        config.num_heads,
        config.mlp_dim,
        dropout=0.0,
        activation="gelu",
        layer_norm_eps=1e-6,
        batch_first=True,
        norm_first=True,
    )
    encoder = torch.nn.TransformerEncoder(layer, config.num_layers, enable_nested_tensor=False).double()
    theirs = {"attn.qkv.": "self_attn.in_proj_", "attn.proj": "self_attn.out_proj"}
    theirs |= {"mlp.fc1": "linear1", "mlp.fc2": "linear2"}
    state = {}
    for name, tensor in p.items():
        if name.startswith("blocks."):
            inside = next((name.replace(ours, other) for ours, other in theirs.items() if ours in name), name)
            state[inside.replace("blocks.", "layers.")] = tensor
    encoder.load_state_dict(state)
    patches = torch.nn.functional.conv2d(
        images, p["patch_embed.proj.weight"], p["patch_embed.proj.bias"], stride=config.patch_size
    )
    tokens = torch.cat([p["cls_token"].expand(2, 1, -1), patches.flatten(2).mT], 1) + p["pos_embed"]
    last = torch.nn.functional.layer_norm(encoder(tokens), (config.hidden_dim,), p["norm.weight"], p["norm.bias"], 1e-6)
    logits = last[:, 0] @ p["head.weight"].T + p["head.bias"]
    found = workload.programs["infer"].outputs_of(TorchOps(), p, {}, {"images": images})["logits"]
    torch.testing.assert_close(found, logits, rtol=1e-10, atol=1e-12)


def test_positions_of_dit_are_the_authors():
    """As `get_2d_sincos_pos_embed` of their `models.py` writes it: sines, then cosines, of column and row."""
    (spec,) = (spec for spec in load("dit").buffers if spec.name == "pos_embed")
    frequencies = 1 / 10_000 ** (np.arange(96) / 96.0)
    column, row = (grid.reshape(-1) for grid in np.meshgrid(np.arange(16.0), np.arange(16.0)))
    halves = [np.outer(place, frequencies) for place in (column, row)]
    expected = np.concatenate([f(half) for half in halves for f in (np.sin, np.cos)], axis=1)
    np.testing.assert_allclose(spec.values(), expected[None], atol=1e-7)


def test_in_8_bits_groups_stay_as_they_are_and_a_bias_is_folded_with_its_norm():
    workload = load("ds_cnn", "tiny")
    program, batch = workload.programs["infer"], data.make_batches(workload)[0]
    products, read = products_of(program)
    assert "blocks.0.depthwise.weight" not in products
    assert "blocks.0.depthwise.weight" in read
    assert products["conv.weight"].norm == (*(f"norm.{end}" for end in NORM), "conv.bias")
    assert products["classifier.weight"].norm == ()
    assert not {"conv.bias", "norm.bias"} & {spec.name for spec in quantized(program, INT8).constants}
    tensors, largest = float64(data.make_parameters(workload)), {}
    exact = program.outputs_of(Calibrating(NumpyOps(), tensors, largest), tensors, {}, batch)["logits"]
    made = codes_of(program, tensors, largest, INT8)
    found = quantized(program, INT8).outputs_of(NumpyOps(), made, {}, batch)["logits"]
    assert 0 < np.linalg.norm(found - exact) < 0.1 * np.linalg.norm(exact)


def test_lengths_of_a_split_lie_in_the_graph_where_onnx_runtime_looks_for_them(tmp_path, monkeypatch):
    """The weights lie beside it: with the published tables the lengths did too, and the graph could not be read."""
    import onnxruntime

    monkeypatch.setitem(dlrm.SIZES, "many", dlrm.Config((3, 4, 2), (4, 1), (3,) * 16 + (2000,)))
    monkeypatch.setitem(dlrm.BATCHES, "many", 2)
    workload = load("dlrm", "many")
    folders = make_in(tmp_path, workload, "infer", (PARAMETERS, BATCHES))
    (folder := tmp_path / ONNX.name).mkdir()
    make(ONNX, workload, "infer", folder, folders)
    assert (folder / "step.onnx.data").stat().st_size >= 4 * 2 * 2000
    onnxruntime.InferenceSession(folder / "step.onnx", providers=["CPUExecutionProvider"])


def test_suites():
    assert {name for name in FAMILIES if name in SUITES["core"]} == set()
    assert set(FAMILIES) - {name for suite in ("vision", "recsys", "edge") for name in SUITES[suite]} == set()
    assert {"resnet50", "unet", "vit_b16"} < set(SUITES["vision"])
    assert set(SUITES["all"]) == set(CATALOG) - set(CONTROLS)
    assert next(iter(SUITES)) == "core"
