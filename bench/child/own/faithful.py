"""Whether the graph that was exported of a user's module does what the module does: its outputs, loss and gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from backends._torch_graph import evaluate
from bench.child.own import export
from bench.child.own.example import Example
from bench.child.own.factory import Refusal
from bench.child.own.pairs import in_pairs
from workloads.graph import Graph
from workloads.own.module import LOSS

MOST = 1e-2
"""By so much of it a tensor may differ, both in float32: what does the same differs by a ten-thousandth of that."""
FLOOR = 1e-3
"""Gradients under this part of the largest one are taken for as large: of some nothing but noise is left."""
CALLS = 2
BACKWARD = (
    "what has a backward pass of its own (torch.autograd.Function) is exported by its forward pass alone: write it in "
    "operations that PyTorch differentiates, or give no loss and measure inference"
)
STATE = "it decides by what is no tensor of the module and changes from call to call"


def inference(module: nn.Module, example: Example, graph: Graph, tensors: Mapping[str, Tensor]) -> None:
    """Raises Refusal where the graph gives other outputs than the module."""
    args, kwargs = example.inputs
    with torch.no_grad():
        found = evaluate(graph, {**tensors, **example.tensors()})
        for _ in range(CALLS):
            with export.unchanged(module):
                output = module.eval()(*args, **kwargs)
            wanted = [in_pairs(leaf) for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]
            if len(found) == len(wanted):
                for (name, one), other in zip(found.items(), wanted, strict=True):
                    _must_agree(f"its output {name}", one, other, 0.0, STATE)


def training(
    module: nn.Module, loss: Callable[..., Any] | None, example: Example, graph: Graph, tensors: Mapping[str, Tensor]
) -> None:
    """Raises Refusal where the graph gives another loss than the module, or its loss other gradients."""
    whole = export.WithLoss(module.train(), loss)
    with torch.no_grad(), export.unchanged(module):
        first = whole(example.inputs, example.targets)
    with export.unchanged(module):
        value = whole(example.inputs, example.targets)
        value.backward()
        wanted = {name: in_pairs(p.grad).clone() for name, p in module.named_parameters() if p.grad is not None}
    trained = {name: tensors[name].detach().clone().requires_grad_() for name in wanted if name in tensors}
    given = {**{name: tensor.detach() for name, tensor in tensors.items()}, **example.tensors(), **trained}
    again = evaluate(graph, given)[LOSS]
    for one in (first, value):
        _must_agree("its loss", again.detach(), one.detach(), 0.0, STATE)
    again.backward()
    largest = max((float(gradient.double().norm()) for gradient in wanted.values()), default=0.0)
    for name, parameter in trained.items():
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        _must_agree(f"the gradient of {name}", found, wanted[name], FLOOR * largest, BACKWARD)


def _must_agree(what: str, found: Tensor, wanted: Tensor, floor: float, cure: str) -> None:
    if not found.is_floating_point():
        return
    found, wanted = found.double(), wanted.double()  # squares of large float32 numbers are not finite
    off = float((found - wanted).norm()) / max(float(wanted.norm()), floor, torch.finfo(torch.float32).tiny)
    if not off <= MOST:
        raise Refusal(f"torch.export makes another computation of it: {what} is off by {off:.2g} of it; {cure}")
