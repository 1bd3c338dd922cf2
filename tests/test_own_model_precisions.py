"""A user's torch module in shorter types: one graph, whose operators say in what type each computes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

import backends
from backends._onnx_export import ExportOps
from backends._torch_arithmetic import Products
from backends._torch_compile import CompiledStep
from backends._torch_graph import evaluate, evaluate_with
from backends._torch_ops import EagerTorchOps
from backends._torch_widening import without_casts
from bench.artifacts import why_no_file
from bench.child.checks.proof import WrongResult, _digest
from bench.child.checks.verify import Refused
from tests.fakes.own import each_once, proven
from tests.test_own_model import OperatorDecomposedWrongly, Planted
from workloads.graph import Graph, Input, Named, Node, Reference, Tensor
from workloads.graph.lowered import CAST, MOVES, PRODUCTS, lowered
from workloads.precision import BF16, FP16, FP32, INT8, W8

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The tensor attributes.*_flat_weights:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning"),
]
ZOO = ("masked", "convolved", "recurrent", "tied")
SHORT = pytest.mark.parametrize("precision", [BF16, FP16], ids=lambda one: one.name)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Returns workloads by factory, each made once."""
    of = each_once(tmp_path_factory)
    return lambda name: of(f"tests.models.zoo:{name}")


@pytest.mark.parametrize("phase", ["infer", "train"])
@pytest.mark.parametrize(
    ("name", "precision"), [*((name, BF16) for name in ZOO), ("masked", FP16), ("convolved", FP16)]
)
@pytest.mark.parametrize("backend", ["torch_cpu", "jax_cpu"])
def test_modules_are_proven_in_shorter_types(made, backend, name, phase, precision, tmp_path):
    if backend == "jax_cpu":
        pytest.importorskip("jax")
    assert proven(backend, made(name), phase, tmp_path, precision)["verification"] == "passed"


class Compiled(Planted):
    """torch.compile, in a process whose threads are set."""

    precisions = ("fp32", "bf16")

    def prepare(self, request):
        step = CompiledStep(request, torch.device("cpu"))
        step.backend = "aot_eager"  # what it captures is the question, and Inductor takes minutes
        return step


@pytest.mark.parametrize("phase", ["infer", "train"])
def test_a_module_is_compiled_in_bf16(made, phase, tmp_path):
    assert proven(Compiled(), made("masked"), phase, tmp_path, BF16)["verification"] == "passed"


class SoldAsBf16(Planted):
    """The graph as it was exported, of rounded parameters."""

    precisions = ("fp32", "bf16")

    class Ops(EagerTorchOps):
        def evaluate(self, graph, tensors):
            plain = graph.typed(lambda dtype: "float32" if dtype == "bfloat16" else dtype)
            return evaluate(plain, {name: x.float() if x.is_floating_point() else x for name, x in tensors.items()})


class LossInBf16(Planted):
    precisions = ("fp32", "bf16")

    class Ops(EagerTorchOps):
        def evaluate(self, graph, tensors):
            found = super().evaluate(graph, tensors)
            return found | {"loss": found["loss"].bfloat16().float()}


class WrongOperatorInBf16(OperatorDecomposedWrongly):
    precisions = ("fp32", "bf16")

    class Ops(EagerTorchOps):
        def evaluate(self, graph, tensors):
            def change(node):
                return replace(node, operator="aten.relu.default") if node.operator == "aten.gelu.default" else node

            return super().evaluate(replace(graph, nodes=tuple(map(change, graph.nodes)), kept={}), tensors)


@pytest.mark.parametrize(
    ("bug", "phase", "code"),
    [
        (SoldAsBf16, "infer", "effective_precision"),
        (LossInBf16, "train", "loss_differs"),
        (WrongOperatorInBf16, "infer", "output_differs"),
        (WrongOperatorInBf16, "train", None),
    ],
)
def test_what_is_sold_as_bf16_and_is_not_is_refused(made, bug, phase, code, tmp_path):
    with pytest.raises((WrongResult, Refused)) as refused:
        proven(bug(), made("masked"), phase, tmp_path, BF16)
    assert code is None or refused.value.code == code


def test_without_a_mistake_the_same_adapter_passes(made, tmp_path):
    class Honest(Planted):
        precisions = ("fp32", "bf16")

    assert proven(Honest(), made("masked"), "train", tmp_path, BF16)["verification"] == "passed"


@pytest.mark.parametrize("phase", ["infer", "train"])
def test_products_are_short_and_what_is_behind_the_last_one_is_not(made, phase):
    workload = made("masked")
    graph = lowered(workload.programs[phase].graph, "bfloat16", {"angles"})
    types = {name: x.dtype for name, x in graph.inputs.items()}
    assert {graph.inputs[name].name for name, dtype in types.items() if dtype == "float32"} <= {"angles"}
    products = [node for node in graph.nodes if node.operator in PRODUCTS]
    assert len(products) == 6 and all(node.results[0].dtype == "bfloat16" for node in products)
    for node in products:
        assert {graph.result(at).dtype for at in node.references()} == {"bfloat16"}
    behind = graph.nodes[graph.nodes.index(products[-1]) + 1 :]
    assert all(x.dtype != "bfloat16" for node in behind if node.operator not in MOVES for x in node.results)
    assert {graph.result(at).dtype for at in graph.outputs.values()} == {"float32"}
    # Angles are of a buffer and of places: float32 until they meet what was given.
    turns = [node for node in graph.nodes if node.operator in ("aten.cos.default", "aten.sin.default")]
    assert turns and all(node.results[0].dtype == "float32" for node in turns)


def test_each_value_is_rounded_once(made):
    graph = lowered(made("masked").programs["infer"].graph, "float16", {"angles"})
    casts = [(node.arguments[0], node.keywords["dtype"]) for node in graph.nodes if node.operator == CAST]
    assert len(casts) == len({(at, dtype.name) for at, dtype in casts})
    again = lowered(made("masked").programs["infer"].graph, "float16", {"angles"})
    assert again is graph


def test_a_mask_by_the_least_float32_is_one_by_the_least_of_the_type():
    y, shape = Reference("y"), (2, 3)
    nodes = (
        Node("y", "aten.mm.default", (Reference("x"), Reference("w")), {}, (Tensor(shape, "float32"),)),
        Node(
            "z", "aten.masked_fill.Scalar", (y, Reference("m"), -3.4028234663852886e38), {}, (Tensor(shape, "float32"),)
        ),
        Node("s", "aten.softmax.int", (Reference("z"), -1), {}, (Tensor(shape, "float32"),)),
        Node("o", "aten.mm.default", (Reference("s"), Reference("v")), {}, (Tensor((2, 4), "float32"),)),
    )
    given = {"x": (2, 2), "w": (2, 3), "v": (3, 4)}
    inputs = {name: Input(name, size, "float32") for name, size in given.items()}
    graph = Graph(inputs | {"m": Input("m", shape, "bool")}, nodes, {"o": Reference("o")})
    tensors = {name: torch.randn(size, generator=torch.Generator().manual_seed(0)) for name, size in given.items()}
    hidden = torch.tensor([[True, True, True], [False, True, False]])  # one row sees nothing
    expected = evaluate(graph, tensors | {"m": hidden})["o"]
    for dtype in ("float16", "bfloat16"):
        low = {name: x.to(getattr(torch, dtype)) for name, x in tensors.items()} | {"m": hidden}
        found = evaluate(lowered(graph, dtype), low)["o"]
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=0.03, atol=0.03)


@SHORT
def test_casts_around_operators_that_widen_inside_change_nothing(made, precision):
    """PyTorch takes them in the shorter type, as its users do: fewer operators, the same numbers."""
    workload = made("masked")
    graph = lowered(workload.programs["infer"].graph, precision.compute, {"angles"})
    fewer = without_casts(graph)
    assert len(fewer.nodes) < len(graph.nodes) - 5
    random = torch.Generator().manual_seed(0)
    tensors = {
        x.name: torch.ones(x.shape, dtype=torch.int64)
        if x.dtype == "int64"
        else torch.randn(x.shape, generator=random).to(getattr(torch, x.dtype))
        for x in graph.inputs.values()
    }
    found, expected = (evaluate_with(one, tensors, {}) for one in (fewer, graph))
    for name, x in expected.items():
        torch.testing.assert_close(found[name], x, rtol=2 * precision.unit, atol=precision.unit)


def test_products_are_exported_in_the_type(made):
    """torch's mathematical form of attention would widen them."""
    graph = lowered(made("masked").programs["infer"].graph, "bfloat16", {"angles"})
    tensors = {
        x.name: torch.ones(x.shape, dtype=torch.int64)
        if x.dtype == "int64"
        else torch.ones(x.shape).to(getattr(torch, x.dtype))
        for x in graph.inputs.values()
    }
    expected = evaluate(graph, tensors)["output"]
    with sdpa_kernel(SDPBackend.MATH), Products() as products:
        found = ExportOps().evaluate(graph, tensors)["output"]
    assert set(products.types) == {"bfloat16"} and products.types.total() == 7
    torch.testing.assert_close(found, expected, rtol=0.03, atol=0.03)


def test_a_cast_of_the_users_own_to_float32_stays_exact():
    nodes = (
        Node("f", CAST, (Reference("x"),), {"dtype": Named("dtype", "float32")}, (Tensor((4, 4), "float32"),)),
        Node("y", "aten.mm.default", (Reference("f"), Reference("x")), {}, (Tensor((4, 4), "float32"),)),
    )
    graph = Graph({"x": Input("x", (4, 4), "float32")}, nodes, {"y": Reference("y")})
    assert [node.operator for node in lowered(graph, "bfloat16").nodes] == [CAST, "aten.mm.default", CAST]


def test_sums_that_differentiation_makes_are_float32_in_jax():
    """XLA's CPU compiler adds bfloat16 one by one: a bias's gradient over 20,000 places stood still at 256 terms."""
    jax = pytest.importorskip("jax")
    from backends._jax_ops import JaxOps

    jnp = jax.numpy
    x = jnp.ones((20_000, 4), jnp.bfloat16)
    weight, bias = jnp.ones((3, 4), jnp.bfloat16), jnp.zeros(3, jnp.bfloat16)
    ids = jnp.zeros(20_000, jnp.int32)
    table = jnp.ones((2, 4), jnp.bfloat16)
    ops = JaxOps()
    functions = {
        "linear": (lambda b: ops.linear(x, weight, b), bias),
        "conv2d": (lambda b: ops.conv2d(x.reshape(1, 4, 100, 200), weight[:, :, None, None], 1, 0, bias=b), bias),
        "embedding": (lambda t: ops.embedding(t, ids), table),
        "broadcast": (lambda b: ops.broadcast(b, (20_000, 3)), bias),
    }
    for name, (function, at) in functions.items():
        gradient = jax.jit(jax.grad(lambda p, f=function: f(p).astype(jnp.float32).sum()))(at)
        assert np.asarray(gradient, np.float32).max() == pytest.approx(20_000, rel=2.0**-8), name


def test_codes_of_a_users_module_are_nobodys_definition(made):
    torch_cpu, program = backends.load_adapter("backends.torch_cpu"), made("masked").programs["infer"]
    for precision in (INT8, W8):
        code, reason = why_no_file(torch_cpu, program, precision.name)
        assert code == "precision_not_supported"
        assert precision.name in reason and "user's module" in reason
    assert all(why_no_file(torch_cpu, program, one.name) is None for one in (FP32, BF16, FP16))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_frozen_weights_have_a_digest_in_every_type(shape):
    """NumPy cannot say bfloat16 as a buffer: training with frozen weights ended there, in JAX."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for dtype in (ml_dtypes.bfloat16, np.float16, np.float32, np.int8):
        one, two = (np.full(shape, value, dtype) for value in (1, 2))
        assert np.array_equal(_digest(one), _digest(one.copy()))
        assert not np.array_equal(_digest(one), _digest(two))
