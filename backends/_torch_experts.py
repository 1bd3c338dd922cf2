"""PyTorch: how rows come to the experts of a mixture, where shapes may follow from what a router chose, and where not.

There is a fused kernel for groups of rows (`torch.nn.functional.grouped_mm`, 2.13): it wants the experts' weights
stacked in one tensor, and published ones lie apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.ops import Expert, Parameters, subset


def by_expert(expert: Expert, x: Tensor, weights: Tensor, ids: Tensor, of: list[Parameters]) -> Tensor:
    """Returns `Ops.experts` with the rows of each expert gathered: what nobody chose is neither read nor computed.

    `of` are the experts' parameters. On a device the counts are waited for. In training an expert without rows is
    asked too: its gradient is zero, and where it had none torch's optimisers would leave its moments and decay out.
    """
    k, is_training = ids.shape[1], torch.is_grad_enabled()
    order = torch.argsort(ids.reshape(-1), stable=True)
    counts = torch.bincount(ids.reshape(-1), minlength=len(of)).tolist()
    rows = torch.index_select(x, 0, torch.div(order, k, rounding_mode="floor")).split(counts)
    made = torch.cat([expert(one, p) for one, p, n in zip(rows, of, counts, strict=True) if n or is_training])
    by_row = torch.index_select(made, 0, torch.argsort(order)).reshape(*ids.shape, -1)
    return (by_row * weights[..., None]).sum(1)


def by_slot(expert: Expert, x: Tensor, weights: Tensor, ids: Tensor, of: list[Parameters]) -> Tensor:
    """Returns the same in static shapes, for few rows: for each choice the weights of its expert are gathered.

    They are taken from all experts' weights in one tensor, which a runtime makes once where they are its constants.
    """
    stacked = {name: torch.stack([p[name] for p in of]) for name in of[0]}
    sums = []
    for row in range(x.shape[0]):
        made = [
            expert(x[row : row + 1], {name: one[ids[row, slot]] for name, one in stacked.items()}) * weights[row, slot]
            for slot in range(ids.shape[1])
        ]
        sums.append(sum(made[1:], made[0]))
    return torch.cat(sums)


def by_mask(expert: Expert, x: Tensor, weights: Tensor, ids: Tensor, of: list[Parameters]) -> Tensor:
    """Returns the same in static shapes, for many rows: every expert sees every row, and counts where it was chosen."""
    made = [expert(x, p) * (weights * (ids == i)).sum(-1, keepdim=True) for i, p in enumerate(of)]
    return sum(made[1:], made[0])


def in_static_shapes(expert: Expert, x: Tensor, weights: Tensor, ids: Tensor, of: list[Parameters]) -> Tensor:
    """Returns the same as an exported graph has it: gathered where that reads less than all experts do."""
    are_tensors = all(isinstance(one, Tensor) for one in of[0].values())
    one_form = by_slot if are_tensors and ids.numel() <= len(of) else by_mask
    return one_form(expert, x, weights, ids, of)


def parameters_of(parameters: Parameters, prefix: str, n: int) -> list[Parameters]:
    """Returns the parameters of each expert by their own names."""
    return [subset(parameters, f"{prefix}.{i}.") for i in range(n)]
