"""Two settings compared in pairs of launches: ratio, interval, verdict, and how many pairs it takes.

A pair is a launch of each, measured side by side in rounds, so that a slow minute strikes both; d = ln(B / A) of their
medians. The ratio is exp of the Hodges-Lehmann estimate of d, with the interval of `results.record.rounds`: one
outlying pair moves both little.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil, log, pi
from statistics import NormalDist, median

import pandas as pd

from results.record import rounds
from results.record.dimensions import DEFAULTS, SHARED
from results.record.run import Run, is_counted

CONFIDENCE = rounds.DECISIVE
RESOLUTION = 0.02
"""What a pair of settings should be told apart by, and within what they are called the same."""
POWER = 0.9
LEAST_PAIRS = rounds.LEAST_ROUNDS[CONFIDENCE]
"""With fewer nothing is said at 99 %."""


@dataclass(frozen=True)
class Ratio:
    """B's time over A's with its 99 % interval, None below 8 pairs.

    `spread` is the robust standard deviation of the pairs' d, None of one pair.
    """

    ratio: float
    low: float | None
    high: float | None
    n: int
    spread: float | None

    @property
    def pairs_needed(self) -> int | None:
        """How many pairs find a difference of 2 % with a power of 90 %, were this spread the true one.

        ((z_0.995 + z_0.9) spread / ln 1.02)^2 as for a mean, times pi/3, the relative efficiency of the estimate
        under normal noise (Hodges & Lehmann 1956), and five more, because with few pairs its interval is wider than
        that (simulated by `python -m tests.qa ab`); at least 8.
        """
        if self.spread is None:
            return None
        z = NormalDist().inv_cdf
        wanted = (z((1 + CONFIDENCE) / 2) + z(POWER)) * self.spread / log(1 + RESOLUTION)
        return max(LEAST_PAIRS, ceil(wanted**2 * pi / 3) + 5)

    @property
    def verdict(self) -> str:
        """Returns `B faster`, `B slower`, `same` (within 2 %), `unclear`, or `too few pairs`."""
        if self.low is None or self.high is None:
            return "too few pairs"
        if self.low > 1 or self.high < 1:
            return "B slower" if self.low > 1 else "B faster"
        return "same" if self.low >= 1 / (1 + RESOLUTION) and self.high <= 1 + RESOLUTION else "unclear"


def compare(pairs: Sequence[tuple[float, float]]) -> Ratio:
    """Returns how B's times relate to A's, from (A, B) of each pair, at least one. Raises ValueError without any."""
    if not pairs:
        raise ValueError("no pair to compare; expected at least one, of which neither launch was disturbed")
    ratios = [b / a for a, b in pairs]
    estimate = rounds.estimate(ratios, CONFIDENCE)
    return Ratio(estimate.value, estimate.low, estimate.high, estimate.n, rounds.spread(ratios))


@dataclass(frozen=True)
class Comparison:
    """One cell's two sides in one metric; `result` is None, and `reason` says why, where they cannot be compared."""

    cell: tuple[object, ...]
    a: str
    b: str
    metric: str
    a_s: float | None
    b_s: float | None
    result: Ratio | None
    reason: str = ""


METRICS = {"latency": "latency_p50_s", "throughput": "throughput_samples_per_s"}


def pairs_of(run: Run) -> list[Comparison]:
    """Returns what the run's A/B says of each cell: latency, and the time per sample where it is no serial step's.

    Launches that failed, or were disturbed beyond belief each time, spoil their pair alone; a side whose row is wrong,
    refused or otherwise without a number has no verdict.
    """
    sides: dict[tuple[object, ...], dict[str, list[dict[str, object]]]] = {}
    for row in run.rows:
        if row["variant"] is not None:
            sides.setdefault(tuple(row[name] for name in SHARED), {})[str(row["variant"])] = []
    for record in run.launches:
        if record.get("variant") is not None:
            sides[tuple(record.get(name, DEFAULTS.get(name)) for name in SHARED)][str(record["variant"])].append(record)
    rows = {(tuple(row[name] for name in SHARED), row["variant"]): row for row in run.rows}
    comparisons = []
    for cell, (a, b) in [(cell, sorted(both)) for cell, both in sides.items() if len(both) == 2]:
        launches = {side: _by_number(sides[cell][side]) for side in (a, b)}
        numbers = launches[a].keys() & launches[b].keys()
        columns = [(launches[a][number], launches[b][number]) for number in numbers]
        # A run that was interrupted has pairs and no rows yet.
        without = [side for side in (a, b) if rows[cell, side]["status"] not in ("ok", "not_run")]
        reasons = [f"{side[0]}: {rows[cell, side]['reason']}" for side in (a, b) if rows[cell, side]["reason"]]
        digests = {one.get("workload_digest") for pair in columns for one in pair}
        serial = all(one.get("throughput_mode") == "serial" for pair in columns for one in pair)
        for metric, name in METRICS.items():
            if metric == "throughput" and serial:
                continue
            if without or not columns or len(digests) > 1:
                different = "not comparable: the sides compute different work" if len(digests) > 1 else ""
                reason = "; ".join(reasons) or different or "no pair is whole"
                comparisons.append(Comparison(cell, a, b, metric, None, None, None, reason))
                continue
            times = [(_time(one, name), _time(other, name)) for one, other in columns]
            middle = [median(side) for side in zip(*times, strict=True)]
            comparisons.append(Comparison(cell, a, b, metric, middle[0], middle[1], compare(times)))
    return comparisons


def _by_number(records: Sequence[dict[str, object]]) -> dict[object, dict[str, object]]:
    """Returns the columns of the launches that count, by their number."""
    by_number = {}
    for record in records:
        if is_counted(record):
            columns = record["columns"]
            assert isinstance(columns, dict)
            by_number[record["number"]] = columns
    return by_number


def _time(columns: dict[str, object], name: str) -> float:
    """Returns seconds: of a step, or of a sample where it is a rate."""
    value = columns[name]
    assert isinstance(value, float)
    return value if name.endswith("_s") and not name.endswith("_per_s") else 1 / value


def pairs_frame(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """Returns a row per comparison: the cell, both sides, the times in seconds, and what came of them."""
    numbers = ("ratio", "low", "high", "n", "spread")
    names = (*SHARED, "a", "b", "metric", "a_s", "b_s", *numbers, "pairs_needed", "verdict", "reason")
    lines = []
    for one in comparisons:
        ratio = asdict(one.result) if one.result else {}
        outcome = [one.result.pairs_needed, one.result.verdict] if one.result else [None, "no verdict"]
        lines.append(
            [*one.cell, one.a, one.b, one.metric, one.a_s, one.b_s, *map(ratio.get, numbers), *outcome, one.reason]
        )
    return pd.DataFrame(lines, columns=list(names), dtype=object)
