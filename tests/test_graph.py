"""A graph as data: what it says of itself, what is refused, and how a module's own ways survive in it."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from backends._torch_graph import evaluate, random_operators, tensors_of, to_graph
from tests.graph_modules import made
from workloads.graph import Graph, Input, Named, Node, Reference, Tensor, from_json
from workloads.graph.count import elements_read, flops


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def graph_of(module, *inputs):
    module = module if isinstance(module, nn.Module) else Function(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        return to_graph(torch.export.export(module.train(), inputs, strict=False))


def test_json_keeps_everything():
    node = Node(
        "y", "aten.x.y", (Reference("x", 1), (1, float("-inf"), None, True)), {"dtype": Named("dtype", "float32")},
        (Tensor((2,), "float32"), None), True,
    )  # fmt: skip
    graph = Graph({"x": Input("a.b", (2, 3), "int64")}, (node,), {"out": Reference("y", 0)})
    again = from_json(graph.to_json())
    assert (again.inputs, again.nodes, again.outputs) == (graph.inputs, graph.nodes, graph.outputs)
    with pytest.raises(ValueError, match="format 0, expected 1: export the model again"):
        from_json('{"format":0}')
    with pytest.raises(TypeError, match="which a graph cannot hold"):
        Graph({}, (Node("y", "aten.x.y", (1j,), {}, ()),), {}).to_json()


def test_outputs_are_called_by_where_they_stand():
    graph = graph_of(lambda x: {"logits": x + 1, "hidden": (x * 2, None, [x - 1])}, torch.ones(2))
    assert set(graph.outputs) == {"logits", "hidden.0", "hidden.2.0"}
    assert set(graph_of(lambda x: x + 1, torch.ones(2)).outputs) == {"output"}


def test_what_no_output_needs_is_gone():
    graph = graph_of(lambda x: (x + 1, x @ x), torch.ones(2, 2))
    assert graph.operators() == {"aten.add.Tensor": 1, "aten.matmul.default": 1}
    assert graph.only(["0"]).operators() == {"aten.add.Tensor": 1}
    with pytest.raises(KeyError):
        graph.only(["2"])


def test_regions_without_gradient_and_detached_values_have_none():
    def f(x):
        with torch.no_grad():
            y = torch.sin(x)
        return (x * y + x.detach() ** 2).sum()

    graph = graph_of(f, torch.ones(3))
    x = torch.randn(3, requires_grad=True)
    (found,) = torch.autograd.grad(evaluate(graph, {"x": x})["output"], x)
    (expected,) = torch.autograd.grad(f(x), x)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    torch.testing.assert_close(found, torch.sin(x.detach()), rtol=0, atol=0)


def test_casts_within_a_module_are_wide_where_all_is():
    graph = graph_of(lambda x: torch.softmax(x.float() / 3, -1, dtype=torch.float32), torch.ones(4))
    x = torch.randn(4, dtype=torch.float64)
    found = evaluate(graph, {"x": x})["output"]
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, torch.softmax(x / 3, -1), rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (lambda x: F.dropout(x, 0.1), {"aten.dropout.default"}),
        (lambda x: F.dropout(x, 0.0), set()),
        (torch.bernoulli, {"aten.bernoulli.default"}),
        (lambda x: x + torch.rand(3), {"aten.rand.default"}),
        (lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None], dropout_p=0.5), {"sdpa"}),
        (lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None]), set()),
    ],
)
def test_random_operators_are_found(function, found):
    names = random_operators(graph_of(function, torch.full((3, 3), 0.5)))
    assert len(names) == len(found), names


@pytest.mark.parametrize(
    ("function", "called"),
    [
        (lambda x: F.one_hot(x.long(), 3).float() + x.sum(), "eq.Tensor"),
        (lambda x: torch.linalg.cholesky(x @ x.mT), "linalg_cholesky_ex.default"),
    ],
)
def test_checks_of_values_are_left_out(function, called):
    x = torch.eye(3)
    graph = graph_of(function, x)
    assert f"aten.{called}" in graph.operators()
    assert not [name for name in graph.operators() if "assert" in name or "effects" in name or "check" in name]
    torch.testing.assert_close(evaluate(graph, {"x": x})["output"], function(x))


def test_autocast_is_refused():
    def f(x):
        with torch.autocast("cpu", torch.bfloat16):
            return x @ x

    with pytest.raises(ValueError, match="chooses types by autocast on cpu; choose them by a precision"):
        graph_of(f, torch.ones(2, 2))


def test_a_graph_is_compiled_whole():
    module, inputs = made("convolutions")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, inputs, strict=False)
        graph, tensors = to_graph(program), tensors_of(program)
    (free,) = [x.name for x in graph.inputs.values() if x.name not in tensors]
    given = {**tensors, free: inputs[0]}
    compiled = torch.compile(lambda given: evaluate(graph, given), fullgraph=True, dynamic=False, backend="eager")
    for name, x in compiled(given).items():
        torch.testing.assert_close(x, evaluate(graph, given)[name])


def test_flops_and_what_is_read():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head = nn.Embedding(100, 8), nn.Linear(8, 5)

        def forward(self, ids):
            return self.head(self.table(ids))

    graph = graph_of(Model(), torch.zeros(2, 3, dtype=torch.int64))
    forward = 2 * 6 * 8 * 5
    assert flops(graph, set()) == (forward, 0)
    assert flops(graph, {"head.weight"}) == (forward, forward)
    assert flops(graph, {"head.weight", "table.weight"}) == (forward, 2 * forward)
    assert elements_read(graph) == {"table.weight": 6 * 8, "head.weight": 40, "head.bias": 5, "ids": 6}


@pytest.mark.parametrize("name", ["mlp", "convolutions", "attention", "volumes"])
def test_flops_are_those_that_torch_counts(name):
    module, inputs = made(name)
    graph = graph_of(module, *inputs)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):  # it does not count the CPU's other
        module(*inputs)
    assert flops(graph, set())[0] == counter.get_total_flops()


def test_numbers_that_only_int64_holds_stay():
    assert from_json(graph_of(lambda x: x[1:], torch.ones(3)).to_json()).nodes[0].arguments[3] == np.iinfo(np.int64).max
