"""The softplus of an exported graph: accurate where it is small, which OpenVINO's own is not.

OpenVINO (2026.4) computes log(1 + exp(x)): 0 below -16, and off by 3e-3 of itself at -9. A loss of one sample is there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

TERMS = 8
"""Of the series of log1p, whose next one is below 2e-9 of it."""


class Softplus(torch.autograd.Function):  # type: ignore[misc]  # untyped in torch
    """log(1 + exp(x)), by operations that every runtime computes to its last digits; the derivative is the sigmoid."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return torch.relu(x) + _log1p(torch.exp(-x.abs()))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        small = torch.exp(-x.abs())
        # A sigmoid times a constant is a swish to OpenVINO (2026.4), which then fails where it has one element.
        return gradient * torch.where(x >= 0, torch.ones_like(x), small) / (1 + small)


def _log1p(x: Tensor) -> Tensor:
    """Returns log(1 + x) of what lies in 0 to 1: twice the series of the hyperbolic arctangent of x / (2 + x)."""
    s = x / (2 + x)
    square, total = s * s, torch.zeros_like(x)
    for term in reversed(range(TERMS)):
        total = total * square + 1 / (2 * term + 1)
    return 2 * s * total
