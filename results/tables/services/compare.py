"""Loads of two sides beside each other, runtimes under the same load, and services beside verified decode steps.

What is verified and what is not are in no ratio with each other, unless that was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from results.record.row import Row
from results.record.services.columns import OF_STEP, PROVEN
from results.record.vocabulary import PREFERRED_BASELINE

ASKED = ("model", "kind", "scenario", "prompt_tokens_asked", "output_tokens_asked", *OF_STEP)
SAME_WORK = ("service", *ASKED)
"""What two rows must have in common to be compared, and whether they are verified (`VERIFICATION`)."""
VERIFICATION = "verification"
METRICS = ("ttft_s_p50", "tpot_s_p50", "e2e_s_p50", "output_tokens_per_s", "requests_per_s", "highest_rate_per_s")
IS_RATE = frozenset({"output_tokens_per_s", "requests_per_s", "samples_per_s", "highest_rate_per_s"})
DECISIVE = {
    "single_stream": "e2e_s_p90",
    "multi_stream": "e2e_s_p99",
    "offline": "samples_per_s",
    "concurrency": "samples_per_s",
    "server": "e2e_from_due_s_p99",
    "server:max": "highest_rate_per_s",
}
"""The metric of each scenario, MLPerf's where it has the scenario."""


@dataclass(frozen=True)
class Compared:
    """One metric of one service on two sides; `ratio` is above 1 where the second side is better."""

    row: Row
    metric: str
    before: float
    after: float

    @property
    def ratio(self) -> float:
        """How many times as fast the second side is."""
        return self.after / self.before if self.metric in IS_RATE else self.before / self.after


def compared(before: Sequence[Row], after: Sequence[Row], across: Iterable[str] = ()) -> list[Compared]:
    """Returns the metrics that both sides have, of services that are the same but for the columns of `across`.

    Of rows of another tool none is compared with ours: their definitions differ; nor what is verified with what is not,
    unless that is one of the columns. There is no interval: each side is one measurement.
    """
    across = tuple(across)
    names = [name for name in SAME_WORK if name not in across]

    def key(row: Row) -> tuple[object, ...]:
        proven = None if VERIFICATION in across else is_proven(row)
        return (_tool(row), proven, *(row[name] for name in names))

    first = {key(row): row for row in before if row["status"] == "ok"}
    return [
        Compared(row, metric, float(was), float(now))
        for row in after
        if row["status"] == "ok" and key(row) in first
        for metric in METRICS
        if isinstance(was := first[key(row)][metric], int | float) and isinstance(now := row[metric], int | float)
        if was > 0 and now > 0
    ]


def is_proven(row: Row) -> bool:
    """Returns whether the row's numbers are of a step that was verified in the process that served them."""
    return row[VERIFICATION] in PROVEN


def decisive(row: Row) -> str:
    """Returns the column of the scenario's metric."""
    scenario = str(row["scenario"])
    return DECISIVE.get(scenario) or DECISIVE[scenario.partition(":")[0]]


def times_as_fast(rows: Sequence[Row], baseline: str | None = None) -> tuple[str | None, list[float | None]]:
    """Returns the backend that ratios refer to, and how many times as good each row's metric is as that of its row.

    A row has one where it is verified, and the other one of the same work under the same load in the same run, too.
    """
    proven = [row for row in rows if is_proven(row) and row["status"] == "ok"]
    backends = [str(row["backend"]) for row in proven]
    named = baseline if baseline in backends else PREFERRED_BASELINE if PREFERRED_BASELINE in backends else None
    named = named or next(iter(backends), None)

    def key(row: Row) -> tuple[object, ...]:
        return tuple(row[name] for name in ("run_id", "machine_id", *ASKED))

    first = {key(row): row for row in proven if row["backend"] == named}
    return named, [_ratio(first.get(key(row)), row) if row in proven else None for row in rows]


def _ratio(base: Row | None, row: Row) -> float | None:
    metric = decisive(row)
    before, after = (None if one is None else one[metric] for one in (base, row))
    if not (isinstance(before, float) and isinstance(after, float) and before > 0 and after > 0):
        return None
    return after / before if metric in IS_RATE else before / after


def _tool(row: Row) -> str:
    return str(row["source"]).partition(" ")[0]


@dataclass(frozen=True)
class Beside:
    """A service's time per token beside a verified step that makes one: `ratio` is how many times as fast the step."""

    row: Row
    step: Mapping[str, object]
    ratio: float


def beside_decoding(services: Sequence[Row], rows: Iterable[Mapping[str, object]]) -> list[Beside]:
    """Returns each service with a time per token beside each verified step that has a depth, that of decoding."""
    steps = [
        (row, latency)
        for row in rows
        if row["depth"] is not None
        and row["verification"] == "passed"
        and isinstance(latency := row["latency_p50_s"], float)
    ]
    return [
        Beside(service, step, tpot / latency)
        for service in services
        if isinstance(tpot := service["tpot_s_p50"], float)
        for step, latency in steps
    ]
