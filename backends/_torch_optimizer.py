"""PyTorch's own optimisers for the update rules."""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.optim import SGD, AdamW, Optimizer

NATIVE_MOMENTS = {"SGD": ("momentum_buffer",), "AdamW": ("exp_avg", "exp_avg_sq")}
"""torch's names of `Optimizer.moments`, in the same order."""


def native_optimizer(rule: Optimizer, parameters: list[Tensor]) -> torch.optim.Optimizer:
    """Returns torch's own fused optimiser for `rule`; verification proves it equal."""
    if isinstance(rule, AdamW):
        return torch.optim.AdamW(
            parameters,
            lr=rule.learning_rate,
            betas=(rule.beta1, rule.beta2),
            eps=rule.epsilon,
            weight_decay=rule.weight_decay,
            fused=True,
        )
    if isinstance(rule, SGD):
        return torch.optim.SGD(parameters, lr=rule.learning_rate, momentum=rule.momentum, fused=True)
    raise TypeError(f"no torch optimiser for {type(rule).__name__}; add it to backends/_torch_optimizer.py")
