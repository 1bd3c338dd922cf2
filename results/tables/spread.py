"""An interval for a number from the runs of a side, and for the ratio of two sides, with a verdict in words.

Each run is one number (what repeats is the run, not the step: Kalibera & Jones 2013, "Rigorous Benchmarking in
Reasonable Time"); x is their median as a logarithm. How they vary from run to run is seen in the side, and shrunk
towards what was assumed before:

    s² = (8 s0² + sum of (ln v - x)²) / (8 + n - 1)

so that one run has an interval too, and two runs that happen to agree do not look certain. The interval is Student's.
What was assumed is the mean of what runs of this machine vary by, over all its cells, and of what the cell's own rounds
say: a cell that is uneven within a run is uneven from run to run too, and the other way round.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from math import ceil, exp, log, sqrt
from statistics import NormalDist, fmean, median
from typing import Any, NamedTuple

import pandas as pd

from results.record.dimensions import MATCHED
from results.tables.ratio import INTERVALS, half_width
from results.tables.table import is_control

CONFIDENCE = 0.99
LEAST = 0.02
"""A difference under 2 % is none that anybody acts on, however certain."""
ALIKE = 0.2
"""`same` where the whole interval lies within this (two one-sided tests: Schuirmann 1987): so much would be seen."""
RESOLVED = 0.05
"""A difference for which a comparison says how many runs would tell it."""
SPREAD = 0.03
"""What is assumed from run to run before anything was seen: that of a shared virtual machine, since a row does not say
whether its machine is one. A machine of one's own has less (`spread`)."""
SPREAD_UNKNOWN = 0.08
"""The same where a number was disturbed, or has no interval of its own: as two runs of docs/measured/runs differ, a
quarter of an hour apart on one machine."""
POWER = 0.9
LEAST_SPREAD = 0.005
"""Nothing is believed to vary by less."""
LEAST_RUNS, LEAST_FREEDOM = 3, 20
"""From so many runs of a cell on, and from so many degrees of freedom, a spread is known."""
PRIOR_RUNS = 8
"""How many runs the assumption weighs."""


class Known(NamedTuple):
    """How a number varies from run to run: the standard deviation of its ln, and the degrees of freedom behind it."""

    spread: float
    freedom: int


@dataclass(frozen=True)
class Value:
    """One number of a side: x = ln of the median, the standard error of x, how many runs, how they spread.

    `freedom` is that of the error; `control` is ln of what the control took beside them, None where a run has none.
    """

    x: float
    error: float
    n: int
    spread: float = SPREAD
    freedom: int = PRIOR_RUNS
    control: float | None = None


def value_of(rows: pd.DataFrame, metric: str, spread: Known | float | None = None) -> Value:
    """Returns the metric of a side from its runs in `rows`, each with a number; `spread` is known, or assumed."""
    rows = rows[rows[metric].notna()]
    logs = [log(value) for value in rows[metric]]
    x = median(logs)
    within = [_within(row, metric) for row in rows.to_dict("records")]
    unknown = (rows["quality"] == "degraded").fillna(False).to_numpy(bool) | [one is None for one in within]
    wide = float(unknown.mean())
    known = spread if isinstance(spread, Known) else Known(spread or _assumed(wide), PRIOR_RUNS)
    own = [one for one in within if one is not None]
    assumed = (known.spread**2 + sum(own) / len(own)) / 2 if own else known.spread**2
    squares = sum((one - x) ** 2 for one in logs)
    n = len(logs)
    variance = (PRIOR_RUNS * assumed + squares) / (PRIOR_RUNS + n - 1)
    control = None if rows["control_s"].isna().any() else median(log(value) for value in rows["control_s"])
    # A median of several varies by up to pi/2 more than their mean.
    error = sqrt(variance * (1 if n < 3 else 1.571) / n)
    return Value(x, error, n, sqrt(variance), known.freedom + n - 1, control)


def _assumed(disturbed: float) -> float:
    """Returns what is assumed from run to run where such a part of the runs was disturbed, or has no interval."""
    return sqrt(disturbed * SPREAD_UNKNOWN**2 + (1 - disturbed) * SPREAD**2)


def known_spread(rows: pd.DataFrame, metric: str = "latency_p50_s") -> Known | None:
    """Returns how a number varies from run to run, None where too few runs are known.

    Pooled over cells with three verified runs or more of one machine, software and method, and not beyond what is
    assumed of runs that were disturbed: a change among them is no spread. Neither the control's cells nor what a run
    took over from another are in it. `rows` are of one machine and method.
    """
    passed = (rows["verification"] == "passed").fillna(False)
    carried = (rows["measured_in"].notna() & (rows["measured_in"] != rows["run_id"])).fillna(False)
    kept = rows[passed & rows[metric].notna() & rows["variant"].isna() & ~is_control(rows) & ~carried]
    by = ["machine_id", "machine", "software_id", "method_version", "workload_digest", *MATCHED]
    squares, freedom = 0.0, 0
    for _, cell in kept.groupby(by, dropna=False):
        if cell["run_id"].nunique() >= LEAST_RUNS:
            logs = [log(value) for value in cell[metric]]
            squares += sum((one - fmean(logs)) ** 2 for one in logs)
            freedom += len(logs) - 1
    if freedom < LEAST_FREEDOM:
        return None
    return Known(min(max(sqrt(squares / freedom), LEAST_SPREAD), SPREAD_UNKNOWN), freedom)


def _within(row: Mapping[Hashable, Any], metric: str) -> float | None:
    """Returns the variance of ln of a run's own number, as its 95 % interval says; None where it has none."""
    half = half_width(row, metric if metric in INTERVALS else "latency_p50_s")
    if half is None and row["throughput_mode"] == "serial":  # of the same samples
        half = half_width(row, "latency_p50_s")
    return None if half is None else float((log(1 + half) / 1.96) ** 2)


def ratio_of(before: Value, after: Value, rate: bool) -> dict[str, object]:
    """Returns how many times as fast `after` is: ratio, ratio_low, ratio_high, verdict; reason is empty."""
    difference = after.x - before.x if rate else before.x - after.x
    variance = before.error**2 + after.error**2
    if before.control is not None and after.control is not None:  # by so much the machine itself was another one
        variance += (before.control - after.control) ** 2
    half = student(CONFIDENCE, before.freedom + after.freedom) * sqrt(variance)
    low, high = difference - half, difference + half
    verdict = "unclear"
    if (low > 0 or high < 0) and abs(difference) >= log(1 + LEAST):
        verdict = "faster" if low > 0 else "slower"
    elif low >= -log(1 + ALIKE) and high <= log(1 + ALIKE):
        verdict = "same"
    return {
        "ratio": exp(difference),
        "ratio_low": exp(low),
        "ratio_high": exp(high),
        "verdict": verdict,
        "reason": _more_runs(before, after) if verdict == "unclear" or half > log(1 + RESOLVED) else None,
    }


def _more_runs(before: Value, after: Value) -> str | None:
    """Returns how many runs a side would tell a difference of 5 % nine times in ten; nothing where there are as many.

    ((z_0.995 + z_0.9) s / ln 1.05)^2 x 2, s the spread from run to run of the side that spreads more.
    """
    z = NormalDist().inv_cdf
    wanted = (z((1 + CONFIDENCE) / 2) + z(POWER)) * max(before.spread, after.spread) / log(1 + RESOLVED)
    needed = max(2, ceil(2 * wanted**2))
    if min(before.n, after.n) >= needed:
        return None
    have = "one run a side" if before.n == after.n == 1 else f"{before.n} and {after.n} runs"
    return f"{have}: {needed} a side would tell {RESOLVED:.0%} apart"


@cache
def student(confidence: float, freedom: int) -> float:
    """Returns Student's two-sided quantile. Raises ModuleNotFoundError, with what to install, without scipy."""
    return float(stats().t.ppf((1 + confidence) / 2, freedom))


def stats() -> Any:
    """Returns `scipy.stats`. Raises ModuleNotFoundError, with what to install, where it is missing."""
    try:
        from scipy import stats as of_scipy
    except ModuleNotFoundError as error:
        cure = "intervals and tests take scipy: pip install -e '.[reports]'"
        raise ModuleNotFoundError(f"{error}: {cure}", name="scipy") from error
    return of_scipy
