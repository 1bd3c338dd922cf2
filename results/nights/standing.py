"""Which changes stand tonight, since when they showed, and which to believe when many series are looked at.

Each series is judged on its own last valid night, so that the alarm of a machine that is away tonight does not vanish
with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from results.nights.changepoints import LEAST_NIGHTS, Floats
from results.nights.detect import FALSE_SHARE, Change, benjamini_hochberg, same_change, standing


@dataclass(frozen=True)
class Standing:
    """A change, and the first night (column) on which it could be believed; None where it cannot be yet."""

    change: Change
    raised: int | None


def standing_changes(x: Floats, rate: float = FALSE_SHARE) -> list[Standing]:
    """Returns the changes that stand on each series' last valid night; `x` is series x nights, as `detect` has it.

    A change is believed where its p-value is among those that Benjamini and Hochberg's procedure believes of all
    series, at most `rate` of them false in the long run.
    """
    valid = ~np.isnan(x)
    with_any = np.flatnonzero(valid.any(axis=1))
    last = x.shape[1] - 1 - np.argmax(valid[:, ::-1], axis=1)
    changes: list[Change] = []
    for night in np.unique(last[with_any]):
        changes += standing(x, int(night), with_any[last[with_any] == night])
    believed = benjamini_hochberg([one.p for one in changes], len(with_any), rate)
    most = sum(believed) / max(1, len(with_any)) * rate  # where the procedure drew its line
    return [
        Standing(one, _raised(x, one, most) if is_believed else None)
        for one, is_believed in zip(changes, believed, strict=True)
    ]


def _raised(x: Floats, change: Change, most: float) -> int:
    """Returns the first night on which the change stood with a p-value that is believed tonight."""
    row = np.array([change.series])
    # A step is dated by its last two nights: what is one of today may have been one of some nights ago.
    for night in range(max(0, change.began - LEAST_NIGHTS), change.raised):
        if any(same_change(one, change) and one.p <= most for one in standing(x, night, row)):
            return night
    return change.raised
