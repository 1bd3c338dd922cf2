"""Where the time of a step goes, by kind of operator, for all backends beside each other."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.record.files import write_atomic
from results.record.human import in_time_unit, significant, time_unit
from results.record.row import Row, cell_of
from results.record.run import Run
from results.record.schema import CELL_COLUMNS
from results.record.text import LINE_END, protect
from results.show.layout import Cell, hanging, side_by_side

CSV_COLUMNS = ("run_id", *CELL_COLUMNS, "kind", "name", "seconds_per_step", "calls_per_step", "share", "latency_p50_s")
NOTE = (
    "Times are of one step under the runtime's own profiler, which slows it; the share is of the sum. What a runtime"
    " fuses counts whole, as the heaviest kind in it; what it splits counts as its parts: attention may be matmul and"
    " softmax, the update of the optimizer elementwise. Operators that ran beside each other add up to more than a"
    " step."
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

    def by_kind(self) -> dict[str, float]:
        """Returns seconds of a step by kind, the largest first."""
        found: defaultdict[str, float] = defaultdict(float)
        for _, kind, seconds, _ in self.listed:
            found[kind] += seconds
        return dict(sorted(found.items(), key=lambda item: -item[1]))


def operators_of(run: Run) -> tuple[Operators, ...]:
    """Returns the operators of each cell whose row is `ok`: means over the launches behind its numbers."""
    launches: defaultdict[tuple[object, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for record in run.launches:
        if record.get("status") == "ok" and record["columns"].get("quality") != "invalid" and "operators" in record:
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
    found = [(name, kind, seconds, calls) for (name, kind), (seconds, calls) in sums.items()]
    return tuple(sorted(found, key=lambda operator: -operator[2]))


def render_operators(run: Run, names: int = 0, width: int = 120) -> str:
    """Returns a table for each workload and phase of the run, with the `names` slowest operators of each backend."""
    found = operators_of(run)
    groups: defaultdict[tuple[object, ...], list[Operators]] = defaultdict(list)
    for one in found:
        if one.listed:
            groups[_position(one.row)].append(one)
    blocks = [block for group in groups.values() for block in (_table(group, width), _names(group, names, width))]
    if not groups:
        blocks.append(
            f"Run {run.header['run_id']} has no time by operator: ask for it with `pytest bench --operators`."
        )
    else:
        blocks.append(hanging([[]], [NOTE], width))
    return "\n\n".join(block for block in (*blocks, _without(found, width)) if block)


def _position(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in CELL_COLUMNS if name not in ("backend", "device_index"))


def _title(row: Row) -> str:
    shape = f"batch {row['batch']}" + ("" if row["sequence"] is None else f", sequence {row['sequence']}")
    return f"{row['workload']} {row['size']} {row['phase']}, {shape}, {row['precision']}, {row['threads']} threads"


def _table(group: Sequence[Operators], width: int) -> str:
    kinds = dict.fromkeys(kind for one in group for kind in one.by_kind())
    totals = {kind: sum(one.by_kind().get(kind, 0.0) / one.sum_s for one in group) for kind in kinds}
    kinds = dict.fromkeys(sorted(kinds, key=lambda kind: (kind == "other", -totals[kind])))
    latencies = [one.latency_s for one in group]
    unit = time_unit([*(one.sum_s for one in group), *latencies])
    columns = {}
    for one, latency_s in zip(group, latencies, strict=True):
        by_kind = one.by_kind()
        columns[str(one.row["backend"])] = [
            *(_cell(by_kind.get(kind), one.sum_s, unit) for kind in kinds),
            Cell(in_time_unit(one.sum_s, unit), "100 %"),
            Cell(in_time_unit(latency_s, unit)),
            Cell(_percent(1 - one.sum_s / latency_s)),
        ]
    lines = [[kind] for kind in (*kinds, "sum", "step, not profiled", "of it in no operator")]
    return f"{_title(group[0].row)}: time of a step by kind of operator\n" + side_by_side(
        ["kind"], lines, columns, width
    )


def _cell(seconds: float | None, sum_s: float, unit: str) -> Cell:
    return Cell(word="-") if seconds is None else Cell(in_time_unit(seconds, unit), _percent(seconds / sum_s))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _names(group: Sequence[Operators], names: int, width: int) -> str:
    """Returns the slowest operators of each backend by the runtime's own names."""
    shown = [(one, operator) for one in group for operator in one.listed[:names]]
    if not shown:
        return ""
    columns = [
        [
            str(one.row["backend"]),
            kind,
            in_time_unit(s, time_unit([s])),
            _percent(s / one.sum_s),
            f"{significant(calls)}x",
        ]
        for one, (_, kind, s, calls) in shown
    ]
    return "By the runtimes' own names:\n" + hanging(columns, [name for _, (name, *_) in shown], width)


def _without(found: Iterable[Operators], width: int) -> str:
    """Returns which backends have no operators, and why."""
    reasons: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for one in found:
        if not one.listed and (reason := one.row["operators_reason"]):
            reasons[str(one.row["backend"]), str(reason)].append(f"{one.row['workload']} {one.row['phase']}")
    if not reasons:
        return ""
    columns = [[backend] for backend, _ in reasons]
    texts = [f"{reason} ({', '.join(cells)})" for (_, reason), cells in reasons.items()]
    return "No time by operator:\n" + hanging(columns, texts, width)


def write_operators_csv(run: Run, path: Path) -> None:
    """Writes one line for each operator of each cell, as `results.record.csvfile` writes rows."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=LINE_END)
    writer.writerow(CSV_COLUMNS)
    for one in operators_of(run):
        place = [one.row["run_id"], *cell_of(one.row)]
        for name, kind, seconds, calls in one.listed:
            numbers = (seconds, calls, seconds / one.sum_s, one.row["latency_p50_s"])
            writer.writerow([*place, kind, protect(name), *map(repr, numbers)])
    write_atomic(path, text.getvalue())
