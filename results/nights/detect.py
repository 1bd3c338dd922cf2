"""Which nightly series became slower: a step once a second night has it too, a small shift by its change point.

A threshold on one night cries at every spike, and a change point needs four nights; so there are both. How
well that works is measured by `python -m tests.qa detect`, which plays histories through it, night after night.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, pi, sqrt

import numpy as np

from results.nights.changepoints import (
    KNOWN_NIGHTS,
    LEAST_NIGHTS,
    NORMAL,
    Floats,
    Integers,
    LastChanges,
    last_changes,
    median,
    packed,
)
from results.tables.spread import stats

WINDOW = 90
"""Nights looked back on: a quarter of a year. What is older says nothing of tonight."""
REFERENCE = 20
"""Valid nights of the current level that a night is compared with, at most; at least `KNOWN_NIGHTS`."""
STEP_SIGMAS = 3.0
"""Each of a step's two nights; both by chance, on the same side, is one night in 500,000."""
AGREE_SIGMAS = 4.0
"""Of the distance between a step's two nights, which is 2.8 standard deviations of it. Two spikes seldom agree."""
LEAST_EFFECT = log(1.02)
"""What is smaller is no news, however certain."""
SHIFT_SIGMAS = 2.0
"""A change point's least step. Where nights scatter by 2 %, one of 3 % cannot be told from wandering."""
LEAST_SIGMA = 0.005
"""Nights are held to scatter by 0.5 % at least: what is aimed at for accelerators."""
PRIOR_NIGHTS = 20
"""What the noise of the whole window counts for beside the scatter of the reference: as much as a full one. The median
absolute deviation of 8 nights is off by 40 %; the series' own noise, of up to 90 nights, is the better guess."""


FALSE_SHARE = 0.1
"""Of the changes that are believed among many series. At 1 % a shift of 3 % shows too late (`qa detect`)."""


@dataclass(frozen=True)
class Change:
    """A series' level changed. `ratio` is the new time over the old.

    `series` is a row of x; `began` and `raised` are columns: the first night of the new level, and the first on which
    the change showed. `kind` is `step` (a night and the next valid one) or `shift` (a change point); `p` is two-sided,
    for normal noise without spikes, as of the night on which it was raised.
    """

    series: int
    began: int
    raised: int
    ratio: float
    kind: str
    p: float

    @property
    def direction(self) -> str:
        """Returns `slower` or `faster`."""
        return "slower" if self.ratio > 1 else "faster"


def alarms(x: Floats, until: int | None = None) -> list[Change]:
    """Returns what is to be alarmed on the night `until`: of its `changes` those that made a series slower."""
    return [change for change in changes(x, until) if change.direction == "slower"]


def changes(x: Floats, until: int | None = None) -> list[Change]:
    """Returns the changes that show on the night `until` (the newest if None) for the first time.

    x is series x nights of ln(time), NaN where a night has no valid value; a second run of a night may be given as a
    night of its own. Nothing later than `until` is looked at, and no state is kept: whether a change showed before is
    computed anew from the nights before. A series without a value tonight has no change tonight. Raises ValueError
    for what is no such array, IndexError for a night it does not have, ModuleNotFoundError without `ruptures`.
    """
    _check(x)
    night = x.shape[1] - 1 if until is None else until
    if not 0 <= night < x.shape[1]:
        raise IndexError(f"night {night} of {x.shape[1]}; expected 0 to {x.shape[1] - 1}")
    new = standing(x, night, np.arange(len(x)))
    for earlier in range(night - 1, -1, -1):
        open_ = sorted({change.series for change in new if change.began < earlier + LEAST_NIGHTS})
        if not open_:
            break
        before = _by_series(standing(x, earlier, np.array(open_)))
        new = [one for one in new if not any(same_change(one, other) for other in before.get(one.series, ()))]
    return new


def replay(x: Floats) -> list[Change]:
    """Returns the `changes` of every night in turn, each night computed once."""
    _check(x)
    new: list[Change] = []
    before: dict[int, list[Change]] = {}
    for night in range(x.shape[1]):
        tonight = standing(x, night, np.arange(len(x)))
        new += [one for one in tonight if not any(same_change(one, other) for other in before.get(one.series, ()))]
        for series, more in _by_series(tonight).items():
            before.setdefault(series, []).extend(more)
    return new


def benjamini_hochberg(p: Sequence[float], tests: int, rate: float = FALSE_SHARE) -> list[bool]:
    """Returns which of the p-values to believe, so that in the long run this share of the believed is false.

    `tests` is how many series were looked at, those without a change included, whose p counts as 1. Benjamini &
    Hochberg, J. R. Statist. Soc. B 57 (1995). Raises ValueError for fewer tests than p-values.
    """
    if tests < len(p):
        raise ValueError(f"{len(p)} p-values of {tests} tests; expected at least as many tests")
    if not p:
        return []
    adjusted = stats().false_discovery_control([*p, *[1.0] * (tests - len(p))])
    return [bool(one <= rate) for one in adjusted[: len(p)]]


def _check(x: Floats) -> None:
    if x.ndim != 2 or np.isinf(x).any():
        raise ValueError(f"got an array of shape {x.shape}; expected series x nights of ln(time), finite or NaN")


def _by_series(of_all: Sequence[Change]) -> dict[int, list[Change]]:
    grouped: dict[int, list[Change]] = {}
    for one in of_all:
        grouped.setdefault(one.series, []).append(one)
    return grouped


def same_change(one: Change, other: Change) -> bool:
    """Returns whether two changes of a series are one: change points cannot be nearer to each other than that."""
    return one.direction == other.direction and abs(one.began - other.began) < LEAST_NIGHTS


def standing(x: Floats, night: int, series: Integers) -> list[Change]:
    """Returns the changes of these series that show in the nights up to `night`, new or not."""
    first = max(0, night + 1 - WINDOW)
    series = series[~np.isnan(x[series, night])]
    if not len(series) or night - first < KNOWN_NIGHTS:
        return []
    values, columns = packed(x[series, first : night + 1])
    levels = last_changes(values)

    def change(row: int, column: int, step: float, kind: str, p: float) -> Change:
        return Change(int(series[row]), int(first + columns[row, column]), night, exp(step), kind, min(float(p), 1.0))

    shifts = {}
    for row in map(int, np.flatnonzero(np.abs(levels.step) >= np.maximum(LEAST_EFFECT, SHIFT_SIGMAS * levels.noise))):
        n = int(np.count_nonzero(~np.isnan(values[row])))
        # Any night may be the split.
        p = n * _two_sided(sqrt(levels.gain[row]), n / 3)
        shifts[row] = change(row, levels.start[row], levels.step[row], "shift", p)
    steps = [change(row, -2, step, "step", p) for row, step, p in _steps(values, levels)]
    of_series = {one.series: one for one in shifts.values()}
    new = [one for one in steps if one.series not in of_series or not same_change(one, of_series[one.series])]
    return [*shifts.values(), *new]


def _steps(values: Floats, levels: LastChanges) -> list[tuple[int, float, float]]:
    """Returns row, step and p of the packed series whose last two nights both left the level that they were on."""
    width = values.shape[1]
    nights = np.arange(max(0, width - 2 - REFERENCE), width - 2)
    before = np.where(nights >= levels.start[:, None], values[:, nights], np.nan)
    n = (~np.isnan(before)).sum(axis=1)
    level = median(before)
    scatter = NORMAL * median(np.abs(before - level[:, None]))
    squares = n * scatter**2 + PRIOR_NIGHTS * levels.noise**2
    sigma = np.fmax(np.sqrt(squares / (n + PRIOR_NIGHTS)), LEAST_SIGMA)
    one, two = values[:, -2] - level, values[:, -1] - level
    nearer = np.where(one * two > 0, np.minimum(np.abs(one), np.abs(two)), 0.0)
    left = (n >= KNOWN_NIGHTS) & (nearer > np.maximum(LEAST_EFFECT, STEP_SIGMAS * sigma))
    left &= np.abs(one - two) <= AGREE_SIGMAS * sigma
    steps = []
    for row in map(int, np.flatnonzero(left)):
        step = (one[row] + two[row]) / 2
        # The median of n normal nights varies like the mean of 2 n / pi.
        error = sigma[row] * sqrt(1 / 2 + pi / 2 / n[row])
        steps.append((row, float(step), _two_sided(abs(step) / error, n[row] / 3 + PRIOR_NIGHTS)))
    return steps


def _two_sided(t: float, freedom: float) -> float:
    """Returns the p-value of a t-statistic.

    A scale from the median absolute deviation of n nights is worth n / 3 degrees of freedom: its efficiency is 0.37.
    """
    return float(2 * stats().t.sf(abs(t), freedom))
