"""Modules that are not ours as graphs: in torch the module itself, in JAX the same step, by their gradients."""

import copy
import warnings

import jax
import numpy as np
import pytest
import torch

from backends._jax_ops import JaxOps
from backends._torch_graph import random_operators, tensors_of, to_graph
from backends._torch_ops import TorchOps
from tests.graph_modules import MODULES, made
from workloads.graph import from_json

CLOSE = 1e-5
"""Relative in the 2-norm, of float32 against float64."""


def exported(module, inputs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        program = torch.export.export(module, inputs, strict=False)
        return from_json(to_graph(program).to_json()), tensors_of(program)


def named(graph, tensors, inputs):
    """Returns all inputs of the graph by name, what a user gives in the order in which it is given."""
    free = [x.name for x in graph.inputs.values() if x.name not in tensors]
    return {**tensors, **dict(zip(free, inputs, strict=True))}


def wide(tensors):
    return {name: x.detach().double() if x.is_floating_point() else x for name, x in tensors.items()}


def step(ops, graph, given, trained):
    """Returns loss, gradients and buffers after one step."""

    def loss(p):
        values = ops.evaluate(graph, {**given, **p})
        return values["loss"], {name: x for name, x in values.items() if name != "loss"}

    (value, after), gradients = ops.value_and_grad(loss, {name: given[name] for name in trained})
    return {"loss": value, **after, **{f"gradient.{name}": g for name, g in gradients.items()}}


def deviations(found, expected):
    largest = max(float(x.norm()) for name, x in expected.items() if name.startswith("gradient."))
    for name, x in expected.items():
        other = torch.from_numpy(np.array(found[name])).double()
        floor = 1e-2 * largest if name.startswith("gradient.") else 1e-6
        yield name, float((other - x.double()).norm()) / max(float(x.double().norm()), floor)


def reference(name):
    module, inputs = made(name)
    trained = [known for known, p in module.named_parameters() if p.requires_grad]
    graph, tensors = exported(copy.deepcopy(module), inputs)
    given = named(graph, tensors, inputs)
    return module, inputs, graph, given, trained, step(TorchOps(), graph, wide(given), trained)


@pytest.mark.parametrize("name", MODULES)
def test_a_graph_in_torch_is_the_module(name):
    """In float64, the module itself too: loss, every gradient, every buffer."""
    module, inputs, graph, _, trained, found = reference(name)
    module = module.double()
    values = module(*[x.double() if x.is_floating_point() else x for x in inputs])
    gradients = torch.autograd.grad(values["loss"], [p for p in module.parameters() if p.requires_grad])
    buffers = dict(module.named_buffers())
    expected = {
        **values,
        **dict(zip([f"gradient.{known}" for known in trained], gradients, strict=True)),
        **{known: buffers[known.removeprefix("buffer.")] for known in graph.outputs if known.startswith("buffer.")},
    }
    assert set(found) == set(expected)
    for known, x in expected.items():
        torch.testing.assert_close(
            found[known].double(), x.double(), rtol=1e-9, atol=1e-10, msg=lambda m, k=known: k + m
        )
    assert random_operators(graph) == {}


@pytest.mark.parametrize("name", MODULES)
def test_a_graph_in_jax_is_the_same_step(name):
    _, _, graph, given, trained, expected = reference(name)
    arrays = {known: x.detach().numpy() for known, x in given.items()}
    arrays = {known: x.astype(np.int32) if x.dtype == np.int64 else x for known, x in arrays.items()}
    found = jax.jit(lambda given: step(JaxOps(), graph, given, trained))(arrays)
    assert {known: error for known, error in deviations(found, expected) if not error <= CLOSE} == {}
