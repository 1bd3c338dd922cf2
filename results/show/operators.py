"""What a person reads of operators: the time of a step by kind, for all backends beside each other."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from results.record.dimensions import CELL_COLUMNS, LABEL, label_of, more_in_words
from results.record.human import in_time_unit, significant, time_unit
from results.record.row import Row
from results.record.run import Run
from results.show.layout import Cell, hanging, side_by_side
from results.tables.operators import Operators, operators_of

NOTE = (
    "Times are of one step under the runtime's own profiler, which slows it; the share is of the sum. What a runtime"
    " fuses counts whole, as the heaviest kind in it; what it splits counts as its parts: attention may be matmul and"
    " softmax, the update of the optimizer elementwise. Operators that ran beside each other add up to more than a"
    " step."
)


def render_operators(run: Run, names: int = 0, width: int = 120) -> str:
    """Returns a table for each workload and phase of the run, with the `names` slowest operators of each backend."""
    cells = operators_of(run)
    groups: defaultdict[tuple[object, ...], list[Operators]] = defaultdict(list)
    for one in cells:
        if one.listed:
            groups[_position(one.row)].append(one)
    blocks = [block for group in groups.values() for block in (_table(group, width), _names(group, names, width))]
    if not groups:
        blocks.append(
            f"Run {run.header['run_id']} has no time by operator: ask for it with `samestep run --operators`."
        )
    else:
        blocks.append(hanging([[]], [NOTE], width))
    return "\n\n".join(block for block in (*blocks, _without(cells, width)) if block)


def _position(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in CELL_COLUMNS if name not in LABEL)


def _title(row: Row) -> str:
    shape = f"batch {row['batch']}" + ("" if row["sequence"] is None else f", sequence {row['sequence']}")
    shape += f", {row['precision'] or 'the types of its file'}, {row['threads']} threads{more_in_words(row)}"
    return f"{row['workload']} {row['size']} {row['phase']}, {shape}"


def _table(group: Sequence[Operators], width: int) -> str:
    kinds = dict.fromkeys(kind for one in group for kind in one.by_kind())
    totals = {kind: sum(one.share_of(one.by_kind().get(kind, 0.0)) or 0.0 for one in group) for kind in kinds}
    kinds = dict.fromkeys(sorted(kinds, key=lambda kind: (kind == "other", -totals[kind])))
    latencies = [one.latency_s for one in group]
    unit = time_unit([*(one.sum_s for one in group), *latencies])
    columns = {}
    for one, latency_s in zip(group, latencies, strict=True):
        by_kind = one.by_kind()
        columns[label_of(one.row)] = [
            *(_cell(one, by_kind.get(kind), unit) for kind in kinds),
            Cell(in_time_unit(one.sum_s, unit), _percent(one.share_of(one.sum_s))),
            Cell(in_time_unit(latency_s, unit)),
            Cell(_percent(1 - one.sum_s / latency_s)),
        ]
    lines = [[kind] for kind in (*kinds, "sum", "step, not profiled", "of it in no operator")]
    return f"{_title(group[0].row)}: time of a step by kind of operator\n" + side_by_side(
        ["kind"], lines, columns, width
    )


def _cell(one: Operators, seconds: float | None, unit: str) -> Cell:
    return Cell(word="-") if seconds is None else Cell(in_time_unit(seconds, unit), _percent(one.share_of(seconds)))


def _percent(share: float | None) -> str:
    return "-" if share is None else "100 %" if share == 1 else f"{100 * share:.1f} %"


def _names(group: Sequence[Operators], names: int, width: int) -> str:
    """Returns the slowest operators of each backend by the runtime's own names."""
    shown = [(one, operator) for one in group for operator in one.listed[:names]]
    if not shown:
        return ""
    columns = [
        [
            label_of(one.row),
            kind,
            in_time_unit(s, time_unit([s])),
            _percent(one.share_of(s)),
            f"{significant(calls)}x",
        ]
        for one, (_, kind, s, calls) in shown
    ]
    return "By the runtimes' own names:\n" + hanging(columns, [name for _, (name, *_) in shown], width)


def _without(cells: Iterable[Operators], width: int) -> str:
    """Returns which backends have no operators, and why."""
    reasons: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for one in cells:
        if not one.listed and (reason := one.row["operators_reason"]):
            reasons[label_of(one.row), str(reason)].append(f"{one.row['workload']} {one.row['phase']}")
    if not reasons:
        return ""
    columns = [[backend] for backend, _ in reasons]
    texts = [f"{reason} ({', '.join(steps)})" for (_, reason), steps in reasons.items()]
    return "No time by operator:\n" + hanging(columns, texts, width)
