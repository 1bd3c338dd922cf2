"""Which experts a router chooses where two are nearly as likely: there correct code may choose either of them.

A choice jumps, so that a few samples of the noise may all miss what another choice makes. By how much the logits of two
experts must differ is taken from the samples themselves: from what the noise makes of such differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

WITHIN = 10.0
"""A choice is open where the last expert chosen and the next one differ by less than so many times the median of what
noise makes of such differences: 6.7 standard deviations of normal noise."""

Routed = Sequence[tuple["Tensor", int]]
"""For each call of `Ops.route` the logits (N, experts) and how many experts were chosen."""


def open_choices(exact: Routed, noisy: Sequence[Routed]) -> list[Tensor]:
    """Returns for each call of which rows (N) the choice is open, from the reference's logits and those of samples."""
    import torch

    found = []
    for i, (logits, k) in enumerate(exact):
        last, following = logits.topk(k + 1).indices[:, k - 1 :].unbind(-1)

        def apart(x: Tensor, last: Tensor = last, following: Tensor = following) -> Tensor:
            return (x.gather(1, last[:, None]) - x.gather(1, following[:, None]))[:, 0].double()

        margin = apart(logits)
        moved = torch.stack([(apart(routed[i][0]) - margin).abs() for routed in noisy])
        found.append(margin < WITHIN * moved.median())
    return found


def turned(is_open: Sequence[Tensor], seed: int) -> tuple[list[Tensor], int]:
    """Returns a random half of the open choices, call by call, and how many they are; one of them at least."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    chosen = [rows & (torch.rand(rows.shape, generator=generator) < 0.5) for rows in is_open]
    if not any(bool(rows.any()) for rows in chosen):
        chosen = list(is_open)
    return chosen, sum(int(rows.sum()) for rows in chosen)
