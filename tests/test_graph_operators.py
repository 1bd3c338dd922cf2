"""Each operator of a graph in JAX: values, types and derivatives, by PyTorch in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from backends import _jax_graph, _torch_graph
from backends._graph_operators import OPERATORS
from backends._jax_graph_dtypes import dtype_of
from bench.child.own.pairs import in_pairs, with_pairs
from tests.graph_samples import SAMPLES
from workloads.graph import Graph, Input, Node, Reference, Tensor, UnsupportedOperator

UNWRITTEN = {"empty.memory_format", "empty_like.default", "empty_permuted.default", "new_empty.default"}
"""What they hold is nobody's."""
CLOSE = {"rtol": 2e-5, "atol": 2e-6}
SAMPLES_OF_GAPS = torch.randn(2, 3, 9, 8, dtype=torch.float64)
CASES = [pytest.param(name, case, id=f"{name}-{n}") for name, cases in SAMPLES.items() for n, case in enumerate(cases)]


def test_every_operator_that_a_graph_keeps_has_a_function_and_a_sample():
    assert set(_jax_graph.TABLE) == OPERATORS
    assert {name.removeprefix("aten.") for name in OPERATORS} - UNWRITTEN == set(SAMPLES)


def graph_of(name, case):
    """Returns a graph of one operator, and its tensors by name."""
    tensors = {}

    def value(x):
        if isinstance(x, torch.Tensor):
            tensors[f"x{len(tensors)}"] = x
            return Reference(f"x{len(tensors) - 1}")
        return tuple(map(value, x)) if isinstance(x, (list, tuple)) else x

    keywords = case[-1] if case and isinstance(case[-1], dict) else {}
    arguments = value(case[:-1] if keywords else case)
    inputs = {known: Input(known, tuple(x.shape), str(x.dtype)[6:]) for known, x in tensors.items()}
    # A factory makes float32 unless it is told otherwise; nothing else of a sample is.
    node = Node("y", f"aten.{name}", arguments, keywords, (None,))
    made = torch.fx.Interpreter(_torch_graph._module(Graph(inputs, (node,), {"y": Reference("y")}), "cpu")).run(tensors)
    several = isinstance(made["y"], (tuple, list))
    results = tuple(Tensor(tuple(x.shape), str(x.dtype)[6:]) for x in (made["y"] if several else [made["y"]]))
    node = Node("y", f"aten.{name}", arguments, keywords, results, several)
    outputs = {f"y{n}": Reference("y", n if several else None) for n in range(len(results))}
    return Graph(inputs, (node,), outputs), tensors


LESS_THAN_ALL = {
    "_linalg_det.default": {"y0"},
    "_linalg_slogdet.default": {"y0", "y1"},
    "_linalg_solve_ex.default": {"y0"},
    "linalg_cholesky_ex.default": {"y0"},
    "linalg_inv_ex.default": {"y0"},
    "_embedding_bag.default": {"y0"},
    "_embedding_bag_forward_only.default": {"y0"},
    "_native_batch_norm_legit_no_training.default": {"y0"},
    "adaptive_max_pool2d.default": {"y0"},
    "adaptive_max_pool3d.default": {"y0"},
    "log_sigmoid_forward.default": {"y0"},
    "native_layer_norm.default": {"y0", "y1", "y2"},
}
"""Outputs that a model reads, where the others are PyTorch's own for its backward pass."""


@pytest.mark.parametrize(("name", "case"), CASES)
def test_an_operator_and_its_derivative(name, case):
    graph, tensors = graph_of(name, case)
    kept = LESS_THAN_ALL.get(name, set(graph.outputs))
    given = {
        known: x.detach().requires_grad_(x.is_floating_point() and not hasattr(x, "is_held"))
        for known, x in tensors.items()
    }
    # What is complex is compared, and differentiated, as pairs of real numbers.
    graph = with_pairs(graph)
    given = {
        known: in_pairs(x.detach()).requires_grad_(x.requires_grad or x.is_complex()) for known, x in given.items()
    }
    expected = {known: x for known, x in _torch_graph.evaluate(graph, given).items() if known in kept}
    rising = {known: x for known, x in expected.items() if x.requires_grad}
    weights = {known: torch.arange(x.numel()).double().reshape(x.shape) / 8 + 0.5 for known, x in rising.items()}
    arrays = {known: np.asarray(x.detach().numpy(), dtype_of(str(x.dtype)[6:])) for known, x in given.items()}
    floating = {known: x for known, x in given.items() if x.requires_grad}

    def weighted(floats):
        found = _jax_graph.evaluate(graph, {**arrays, **floats})
        total = sum((found[known] * w.numpy().astype(np.float32)).sum() for known, w in weights.items())
        return jnp.float32(total), found

    floats = {known: arrays[known] for known in floating}
    if rising:
        ours, found = jax.jit(jax.grad(weighted, has_aux=True))(floats)
        total = sum((x * weights[known]).sum() for known, x in rising.items())
        wanted = torch.autograd.grad(total, list(floating.values()), allow_unused=True, materialize_grads=True)
        for known, gradient in zip(floating, wanted, strict=True):
            least = 2e-6 * np.abs(gradient.numpy()).max(initial=10.0)  # a small one is a difference of large ones
            np.testing.assert_allclose(ours[known], gradient.numpy(), rtol=1e-4, atol=least, err_msg=known)
    else:
        found = jax.jit(weighted)(floats)[1]
    for known, x in expected.items():
        assert found[known].dtype == dtype_of(str(x.dtype)[6:])
        values = x.detach().numpy()
        values = np.clip(values, -(2**31), 2**31 - 1) if x.dtype == torch.int64 else values
        np.testing.assert_allclose(found[known], values, **CLOSE)


def test_maxima_of_windows_with_gaps():
    graph, tensors = graph_of("max_pool2d_with_indices.default", (SAMPLES_OF_GAPS, [2, 2], [2, 2], [1, 1], [2, 2]))
    graph = graph.only(["y0"])
    x = tensors["x0"].requires_grad_()
    y = _torch_graph.evaluate(graph, tensors)["y0"]
    ours, gradient = jax.value_and_grad(lambda x: _jax_graph.evaluate(graph, {"x0": x})["y0"].sum())(
        x.detach().numpy().astype(np.float32)
    )
    np.testing.assert_allclose(ours, y.sum().item(), rtol=1e-5)
    np.testing.assert_allclose(gradient, torch.autograd.grad(y.sum(), x)[0].numpy(), rtol=1e-5)


def test_an_operator_without_a_function_is_named():
    node = Node("y", "aten.unknown.default", (Reference("x"),), {}, (Tensor((2,), "float32"),))
    graph = Graph({"x": Input("x", (2,), "float32")}, (node,), {"y": Reference("y")})
    with pytest.raises(UnsupportedOperator, match=r"^operator aten\.unknown\.default$"):
        _jax_graph.evaluate(graph, {"x": np.zeros(2, np.float32)})


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (
            Node("y", "aten.relu.default", (Reference("x"),), {"slope": 2}, (Tensor((2,), "float32"),)),
            "unexpected keyword",
        ),
        (Node("y", "aten.sum.dim_IntList", (Reference("x"), (7,)), {}, (Tensor((), "float32"),)), "out of bounds"),
        (Node("y", "aten.relu.default", (Reference("x"),), {}, (Tensor((3,), "float32"),)), r"got the shape \(2,\)"),
        (Node("y", "aten.relu.default", (Reference("x"),), {}, (Tensor((2,), "complex32"),)), "complex32"),
    ],
)
def test_an_operator_that_is_called_as_its_function_does_not_know_is_named(node, reason):
    graph = Graph({"x": Input("x", (2,), "float32")}, (node,), {"y": Reference("y")})
    with pytest.raises(UnsupportedOperator, match=rf"^operator {node.operator}, as y calls it: .*{reason}"):
        _jax_graph.evaluate(graph, {"x": np.zeros(2, np.float32)})


def test_an_operator_without_a_derivative_is_named(monkeypatch):
    node = Node("y", "aten.relu.default", (Reference("x"),), {}, (Tensor((), "float32"),))
    graph = Graph({"x": Input("x", (), "float32")}, (node,), {"y": Reference("y")})
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    monkeypatch.setitem(_jax_graph.TABLE, node.operator, lambda x: jax.pure_callback(np.abs, scalar, x))
    with pytest.raises(UnsupportedOperator, match=r"^operator aten\.relu\.default, as y calls it: .*JVP"):
        jax.grad(lambda x: _jax_graph.evaluate(graph, {"x": x})["y"])(1.0)
