"""Services of two sides beside each other, and services beside verified decode steps where that was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from results.record.row import Row

SAME_WORK = ("service", "model", "kind", "scenario", "prompt_tokens_asked", "output_tokens_asked")
"""What two rows must have in common to be compared."""
METRICS = ("ttft_s_p50", "tpot_s_p50", "e2e_s_p50", "output_tokens_per_s", "requests_per_s", "highest_rate_per_s")
IS_RATE = frozenset({"output_tokens_per_s", "requests_per_s", "highest_rate_per_s"})


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

    Of rows of another tool none is compared with ours: their definitions differ. There is no interval: each side is one
    measurement.
    """
    names = [name for name in SAME_WORK if name not in across]

    def key(row: Row) -> tuple[object, ...]:
        return (_tool(row), *(row[name] for name in names))

    first = {key(row): row for row in before if row["status"] == "ok"}
    return [
        Compared(row, metric, float(was), float(now))
        for row in after
        if row["status"] == "ok" and key(row) in first
        for metric in METRICS
        if isinstance(was := first[key(row)][metric], int | float) and isinstance(now := row[metric], int | float)
        if was > 0 and now > 0
    ]


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
