"""Where the time of a step goes: the operators of each cell with their kinds, as the runtimes' own profilers say."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from results.record.dimensions import CELL_COLUMNS
from results.record.row import Row, cell_of
from results.record.run import Run, is_counted

OPERATOR_COLUMNS = (
    "run_id",
    *CELL_COLUMNS,
    "kind",
    "name",
    "seconds_per_step",
    "calls_per_step",
    "share",
    "latency_p50_s",
)


@dataclass(frozen=True)
class Operators:
    """One cell's operators, the slowest first: (name, kind, seconds of a step, calls in a step)."""

    row: Row
    listed: tuple[tuple[str, str, float, float], ...]

    @property
    def sum_s(self) -> float:
        return sum(seconds for _, _, seconds, _ in self.listed)

    @property
    def latency_s(self) -> float:
        """The step as it was measured, without a profiler."""
        latency = self.row["latency_p50_s"]
        assert isinstance(latency, float), "a row that is ok has a latency"
        return latency

    def share_of(self, seconds: float) -> float | None:
        """Returns how much of all operators' time that is; None where the profiler's clock saw none at all."""
        return seconds / self.sum_s if self.sum_s else None

    def by_kind(self) -> dict[str, float]:
        """Returns seconds of a step by kind, the largest first."""
        seconds_of: defaultdict[str, float] = defaultdict(float)
        for _, kind, seconds, _ in self.listed:
            seconds_of[kind] += seconds
        return dict(sorted(seconds_of.items(), key=lambda item: -item[1]))


def operators_of(run: Run) -> tuple[Operators, ...]:
    """Returns the operators of each cell whose row is `ok`: means over the launches behind its numbers."""
    launches: defaultdict[tuple[object, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for record in run.launches:
        if is_counted(record) and "operators" in record:
            launches[cell_of(record)].append(record)
    return tuple(
        Operators(row, _means([record["operators"] for record in launches[cell_of(row)]]))
        for row in sorted(run.rows, key=lambda row: (str(row["workload"]), str(row["phase"]), str(row["backend"])))
        if row["status"] == "ok"
    )


def _means(launches: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[tuple[str, str, float, float], ...]:
    sums: defaultdict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for one in (operator for launch in launches for operator in launch):
        for place, value in enumerate((one["seconds_per_step"], one["calls_per_step"])):
            sums[one["name"], one["kind"]][place] += value / len(launches)
    means = [(name, kind, seconds, calls) for (name, kind), (seconds, calls) in sums.items()]
    return tuple(sorted(means, key=lambda operator: -operator[2]))


def operators_frame(run: Run) -> pd.DataFrame:
    """Returns a row for each operator of each cell of the run, with the columns `OPERATOR_COLUMNS`."""
    lines = []
    for one in operators_of(run):
        place = (one.row["run_id"], *cell_of(one.row))
        for name, kind, seconds, calls in one.listed:
            lines.append([*place, kind, name, seconds, calls, one.share_of(seconds), one.row["latency_p50_s"]])
    return pd.DataFrame(lines, columns=list(OPERATOR_COLUMNS), dtype=object)
