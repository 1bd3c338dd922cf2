"""Activation checkpointing in PyTorch: a block's activations are dropped, and computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree, checkpoint

from workloads.ops import Parameters

Block = Callable[[Tensor, Parameters], Tensor]


def recomputed_eagerly(block: Block, x: Tensor, p: Parameters) -> Tensor:
    """Returns `block(x, p)` by torch's own checkpointing, for eager steps and compiled ones."""
    result: Tensor = checkpoint.checkpoint(block, x, p, use_reentrant=False)
    return result


def recomputed(block: Block, x: Tensor, p: Parameters) -> Tensor:
    """Returns the same where `torch.func` differentiates, which takes no hooks on saved tensors (2.13).

    What is computed again waits for the gradient, so that the optimiser of a graph that is traced so cannot merge it
    with what was computed first: OpenVINO (2026.4) did so with each block up to its first product.
    """
    leaves, tree = _pytree.tree_flatten(dict(p))
    result: Tensor = _Again.apply(block, tree, x, *leaves)
    return result


class _Again(torch.autograd.Function):  # type: ignore[misc]  # untyped in torch
    """A block that saves what it is given, and runs anew to be differentiated."""

    @staticmethod
    def forward(block: Block, tree: Any, x: Tensor, *leaves: Any) -> Tensor:
        return block(x, _pytree.tree_unflatten(leaves, tree))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.block, ctx.tree, *values = inputs
        ctx.is_tensor = [isinstance(value, Tensor) for value in values]
        ctx.others = [value for value in values if not isinstance(value, Tensor)]
        ctx.save_for_backward(*(value for value in values if isinstance(value, Tensor)))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        entered, *rest = ctx.saved_tensors
        # Zero, which no optimiser knows: it may not be a number.
        entered = entered + 0 * gradient.flatten()[0]
        others = iter(ctx.others)
        block, tree, is_tensor = ctx.block, ctx.tree, ctx.is_tensor

        def again(*tensors: Tensor) -> Tensor:
            given = iter(tensors)
            x, *leaves = [next(given) if is_one else next(others) for is_one in is_tensor]
            return block(x, _pytree.tree_unflatten(leaves, tree))

        _, pull_back = torch.func.vjp(again, entered, *rest)
        gradients = iter(pull_back(gradient))
        return (None, None, *(next(gradients) if is_one else None for is_one in is_tensor))
