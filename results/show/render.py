"""What a person reads at the end of a run: numbers beside each other, and why some are missing."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from results.record.cells.ladder import NOT_NEEDED
from results.record.dimensions import POSITION
from results.record.human import in_time_unit, mark, prefixed, ratio
from results.record.limits import BYTE_LIMITS
from results.record.vocabulary import STATUSES
from results.show.batches_text import batches_text
from results.show.layout import Cell, plural, side_by_side, wrapped
from results.show.legend import legend, without_number
from results.show.numbers import METRICS, TITLES, metric_table, plus_minus, positions
from results.show.summary import summary
from results.show.tokens.generated import generated
from results.show.tokens.roofs import roofs
from results.show.tokens.served import served
from results.tables.means import means_of_ratios, wider_half
from results.tables.table import (
    CONTROL_PREFIX,
    default_baseline,
    is_control,
    is_limit,
    is_speed,
    is_verified,
    label_of,
    placed,
)
from results.tables.tokens.kinds import is_served

LITTLE_WORTH = 0.75
"""Threads that together give less than this part of as many alone are worth a line."""


def render(
    frame: pd.DataFrame, baseline: str | None = None, metrics: Sequence[str] | None = None, width: int = 120
) -> str:
    """Returns the rows as text: a table per metric, what has no number and why, and what the ratios mean.

    `baseline` is a backend (or a label of `placed`); by default `default_baseline`. Where it has no
    verified number there are no ratios, and the text says so. Without `metrics` they are `METRICS`, in whose tables
    backends that compute nothing have no column. Raises ValueError for an unknown metric.
    """
    if frame.empty:
        return "No cells: nothing was planned."
    everything = placed(frame)
    work = frame[~(is_control(frame) | is_limit(frame))]
    frame = frame if work.empty else work
    frame = frame[(frame["status"] != NOT_NEEDED).fillna(True)]
    rows = placed(frame)
    chosen, no_ratios = _baseline(frame, rows, baseline)
    blocks = [
        _heading(frame, everything, width),
        summary(rows[~is_served(rows)], chosen, width),
        served(rows, chosen, width),
        batches_text(everything, chosen, width) if metrics is None else "",
        *(metric_table(frame, rows, metric, chosen, width, with_idle=bool(metrics)) for metric in metrics or METRICS),
        roofs(rows, width),
        generated(rows, width),
        _means(frame, metrics or METRICS, chosen, width),
        _limits(everything, width),
        without_number(everything, width),
        legend(rows, chosen, no_ratios, width),
        _control(everything, width),
        _worth(rows, width),
    ]
    return "\n\n".join(block for block in blocks if block)


def _baseline(frame: pd.DataFrame, rows: pd.DataFrame, wanted: str | None) -> tuple[str | None, str]:
    """Returns the baseline's label, or None and why there is none."""
    if wanted is None:
        chosen = default_baseline(frame)
        return chosen, "" if chosen else "no cell was verified and timed"
    try:
        chosen = label_of(rows, wanted)
    except ValueError as error:
        return None, str(error)
    if not (is_verified(rows) & (rows["label"] == chosen)).any():
        return None, f"{chosen} has no verified number"
    return chosen, ""


def _heading(frame: pd.DataFrame, rows: pd.DataFrame, width: int) -> str:
    counts = rows["status"].value_counts()
    statuses = ", ".join(f"{counts[status]} {status}" for status in STATUSES if status in counts.index)
    runs, machines = rows["run_id"].dropna().unique(), rows["machine"].dropna().unique()
    of_runs = f"Run {runs[0]}" if len(runs) == 1 else f"{len(runs)} runs"
    lines = [f"{of_runs} on {', '.join(machines) or 'an unknown machine'}: {plural(len(rows), 'cell')}, {statuses}"]
    if (older := len(frame) - len(placed(frame))) > 0:
        lines.append(f"Not shown: {plural(older, 'row')} of the same cells in older runs")
    return wrapped(lines, width)


def _means(frame: pd.DataFrame, metrics: Sequence[str], baseline: str | None, width: int) -> str:
    """Returns the geometric means of the ratios, by phase; empty where no backend has two cells with one."""
    speeds = [metric for metric in metrics if is_speed(metric)] if baseline else []
    means = [means_of_ratios(frame, metric, baseline) for metric in speeds]
    lines = [line for of_metric in means for line in of_metric[of_metric["cells"] > 1].to_dict("records")]
    if not lines:
        return ""
    left = sorted({(line["phase"], line["metric"]) for line in lines})
    cells = {(line["label"], line["phase"], line["metric"]): line for line in lines}
    labels = sorted({line["label"] for line in lines})
    columns = {label: [_mean(cells.get((label, *place))) for place in left] for label in labels}
    named = [[phase, TITLES.get(metric, metric).lower()] for phase, metric in left]
    missing = sorted({f"{line['label']} {line['phase']}: {line['missing_cells']}" for line in lines if line["missing"]})
    title = f"Geometric mean of the ratios to {baseline}, over the cells that both have"
    notes = [wrapped([f"Without: {'; '.join(missing)}."], width)] if missing else []
    return "\n".join([wrapped([title], width), side_by_side(("phase", "metric"), named, columns, width), *notes])


def _mean(line: Mapping[Hashable, Any] | None) -> Cell:
    if line is None:
        return Cell(word="-")
    return Cell(ratio(line["ratio"]) + plus_minus(wider_half(line)), f"of {line['cells']}")


def _limits(rows: pd.DataFrame, width: int) -> str:
    """Returns a table of what each backend reached of the chip's FLOP/s and byte/s; empty where none was measured."""
    limits = rows[is_limit(rows) & is_verified(rows)]
    if limits.empty:
        return ""
    flops_per_s = limits[["flops_per_s", "throughput_flops_per_s"]].max(axis=1)
    limits = limits.assign(
        reached=flops_per_s.mask(limits["workload"].isin(BYTE_LIMITS), limits["throughput_bytes_per_s"])
    )
    levels = [name for name in POSITION if name != "phase"]
    numbers = limits.pivot(index=levels, columns="label", values="reached")
    qualities = limits.pivot(index=levels, columns="label", values="quality")
    header, left, caption = positions(numbers.index.to_frame(index=False))
    units = ["B/s" if name in BYTE_LIMITS else "FLOP/s" for name in numbers.index.get_level_values("workload")]
    columns = {
        label: [
            Cell(word="-") if pd.isna(value) else Cell(prefixed(value, unit) + mark(quality))
            for value, unit, quality in zip(numbers[label], units, qualities[label].fillna(""), strict=True)
        ]
        for label in numbers.columns
    }
    title = f"What bounds the chip: the most that each backend reached{caption}"
    return "\n".join([wrapped([title], width), side_by_side(header, left, columns, width)])


def _worth(rows: pd.DataFrame, width: int) -> str:
    """Returns a line for each machine and number of threads that together were worth much less than as many."""
    known = rows[rows["threads_worth"].notna() & rows["threads"].notna()]
    lines = []
    by_machine = known.assign(machine=known["machine"].fillna("unknown")).groupby(["machine", "threads"], sort=True)
    for key, of_threads in by_machine:
        machine, threads = str(key[0]), int(str(key[1]))
        worth = float(of_threads["threads_worth"].median())
        if worth < LITTLE_WORTH * threads:
            where = f" on {machine}" if known["machine"].nunique() > 1 else ""
            meaning = "they share a core, or its time"
            lines.append(f"{threads} threads are worth {worth:.1f} here{where}, beside one alone: {meaning}.")
    return wrapped(lines, width) if lines else ""


def _control(rows: pd.DataFrame, width: int) -> str:
    """Returns a line with the control's numbers: where they differ between two runs, the machine does."""
    times = []
    for row in rows[is_control(rows) & (rows["status"] == "ok").fillna(False)].to_dict("records"):
        _, at, machine = row["label"].partition("@")
        time = in_time_unit(row["latency_p50_s"], "ms") + mark(row["quality"])
        times.append(f"{row['workload'].removeprefix(CONTROL_PREFIX)} {time}{at and f' on {machine}'}")
    line = f"Control, plain NumPy, to tell a slow machine from a slow runtime: {', '.join(times)}."
    return wrapped([line], width) if times else ""
