"""What a person reads at the end of a run: numbers beside each other, and why some are missing."""

from collections.abc import Sequence

import pandas as pd

from results.human import in_time_unit, prefixed, ratio, significant, time_unit
from results.layout import Cell, hanging, side_by_side
from results.row import COLUMN, STATUSES
from results.table import (
    POSITION,
    comparison,
    default_baseline,
    has_direction,
    idle_labels,
    is_verified,
    label_of,
    placed,
    ratios,
)

METRICS = ("latency_p50_s", "throughput_samples_per_s")
TITLES = {"latency_p50_s": "Latency", "throughput_samples_per_s": "Throughput"}
TOKENS = "throughput_tokens_per_s"

BY_URGENCY = (*STATUSES[STATUSES.index("wrong") :], "known_failure", "unsupported", "unavailable")


def render(frame: pd.DataFrame, baseline: str | None = None, metrics: Sequence[str] = METRICS, width: int = 120) -> str:
    """Return the rows as text: a table per metric, what has no number and why, and what the ratios mean.

    `baseline` is a backend (or a label of `results.table.placed`); by default `default_baseline`. Raises ValueError
    for a baseline or a metric that is not there.
    """
    if frame.empty:
        return "No cells: nothing was planned."
    rows = placed(frame)
    chosen = default_baseline(frame) if baseline is None else label_of(rows, baseline)
    blocks = [
        _heading(frame, rows),
        *(_table(frame, rows, metric, chosen, width) for metric in metrics),
        _without_number(rows, width),
        _legend(rows, chosen),
    ]
    return "\n\n".join(block for block in blocks if block)


def _heading(frame: pd.DataFrame, rows: pd.DataFrame) -> str:
    counts = rows["status"].value_counts()
    statuses = ", ".join(f"{counts[status]} {status}" for status in STATUSES if status in counts.index)
    runs, machines = rows["run_id"].dropna().unique(), rows["machine"].dropna().unique()
    of_runs = f"Run {runs[0]}" if len(runs) == 1 else f"{len(runs)} runs"
    lines = [f"{of_runs} on {', '.join(machines) or 'an unknown machine'}: {_plural(len(rows), 'cell')}, {statuses}"]
    if len(frame) > len(rows):
        lines.append(f"Not shown: {_plural(len(frame) - len(rows), 'row')} of the same cells in older runs")
    return "\n".join(lines)


def _table(frame: pd.DataFrame, rows: pd.DataFrame, metric: str, baseline: str | None, width: int) -> str:
    """Return the table of one metric; empty if no cell has a number in it."""
    numbers = comparison(frame, metric, baseline)
    if not numbers.notna().any(axis=None):
        return ""
    nothing = numbers.mask(numbers.notna())
    beside = ratios(frame, metric, baseline) if has_direction(metric) else nothing
    tokens = comparison(frame, TOKENS, baseline) if metric == "throughput_samples_per_s" else nothing
    statuses = rows.pivot(index=list(POSITION), columns="label", values="status").reindex_like(numbers)
    header, left, caption = _positions(numbers.index.to_frame(index=False))
    idle = idle_labels(rows)

    lines: list[list[str]] = []
    cells: list[list[Cell]] = []
    for number, position in enumerate(left):
        words = ["-" if status == "ok" else "" if pd.isna(status) else status for status in statuses.iloc[number]]
        lines.append(position)
        cells.append(_cells(numbers.iloc[number], beside.iloc[number], words, COLUMN[metric].unit, idle))
        if tokens.iloc[number].notna().any():
            lines.append([""] * len(position))
            blank = [""] * len(words)
            cells.append(_cells(tokens.iloc[number], nothing.iloc[number], blank, COLUMN[TOKENS].unit, idle))
    shown = [label for label in numbers.columns if not (statuses[label].dropna() == "unavailable").all()]
    columns = {
        label: list(column)
        for label, column in zip(numbers.columns, zip(*cells, strict=True), strict=True)
        if label in shown
    }
    description = COLUMN[metric].description.rstrip(".")
    title = f"{TITLES.get(metric, metric)}: {description[0].lower()}{description[1:]}{caption}"
    return title + "\n" + side_by_side(header, lines, columns, width)


def _positions(levels: pd.DataFrame) -> tuple[list[str], list[list[str]], str]:
    """Return the header and the cells of the levels in which lines differ, and the others in words."""
    texts = levels.astype("string").fillna("")
    shown = [name for name in texts if name in ("workload", "phase") or texts[name].nunique() > 1]
    same = [f"{name} {texts[name].iloc[0]}" for name in texts if name not in shown and texts[name].iloc[0]]
    caption = f" ({', '.join(same)})" if same else ""
    return [str(name) for name in shown], texts[shown].to_numpy().tolist(), caption


def _cells(numbers: pd.Series, beside: pd.Series, words: Sequence[str], unit: str, idle: set[str]) -> list[Cell]:
    """Return one line's cells: the number with its unit and ratio, or the word."""
    known = numbers.dropna()
    common = time_unit(known.drop(labels=list(idle & set(known.index)))) if unit == "s" else ""
    return [
        Cell(word=word)
        if pd.isna(value)
        else Cell(_readable(value, unit, common), "" if pd.isna(times) else ratio(times))
        for value, times, word in zip(numbers, beside, words, strict=True)
    ]


def _readable(value: float, unit: str, common: str) -> str:
    if unit == "s":
        return in_time_unit(value, common)
    if unit in ("samples/s", "tokens/s"):
        return f"{significant(value)} {unit}"
    if unit == "1":
        return f"{value:,.0f}" if value == int(value) else f"{value:.3g}"
    return prefixed(value, unit.replace("byte", "B"))


def _without_number(rows: pd.DataFrame, width: int) -> str:
    """Return a line for each backend and reason for which cells have no number, the most urgent first."""
    missing = rows[rows["status"] != "ok"]
    if missing.empty:
        return ""
    _, positions, _ = _positions(rows[list(POSITION)])
    position_of = dict(zip(rows.index, positions, strict=True))
    of_label = rows["label"].value_counts()
    groups = []
    for (label, status, reason), group in missing.groupby(["label", "status", "reason"], sort=False):
        if len(group) == 1:
            cells = " ".join(filter(None, position_of[group.index[0]]))
        else:
            cells = f"{'all ' if len(group) == of_label[label] else ''}{len(group)} cells"
        groups.append((BY_URGENCY.index(status), [label, status, cells], reason))
    groups.sort(key=lambda group: group[0])
    columns, reasons = [group[1] for group in groups], [group[2] for group in groups]
    return "Without a number:\n" + hanging(columns, reasons, width)


def _legend(rows: pd.DataFrame, baseline: str | None) -> str:
    """Return what the tables' ratios mean, and what the numbers that need it are to be read with."""
    verified = rows[is_verified(rows)]
    if baseline is None:
        return "No ratios: no cell was verified and timed."
    lines = [f"Baseline {baseline}: 1.39x is 1.39 times as fast as {baseline} at the same step."]
    lines.append(_worst_error(verified))
    for label in sorted(idle_labels(rows)):
        lines.append(f"{label} computes nothing: its numbers are the harness's own cost and enter no ratio.")
    serial = verified[verified["throughput_mode"] == "serial"]
    if not serial.empty:
        cases = (serial["label"] + " " + serial["phase"]).drop_duplicates()
        lines.append(f"Serial (steps cannot overlap, so throughput is of the latency's samples): {', '.join(cases)}.")
    partly = rows[(rows["status"] == "ok") & (rows["launches_failed"].fillna(0) > 0)]
    if not partly.empty:
        lines.append(f"With a number from fewer launches, because some failed: {', '.join(partly['label'].unique())}.")
    return "\n".join(lines)


def _worst_error(verified: pd.DataFrame) -> str:
    """Return the verification error that came nearest to its tolerance."""
    known = verified[verified["error_worst"].notna()]
    count = f"Verified against the reference: {_plural(len(verified), 'cell')}"
    if known.empty:
        return count + "."
    share = (known["error_worst"] / known["error_tolerance"]).astype("float64")
    worst = known.loc[(share if share.notna().any() else known["error_worst"].astype("float64")).idxmax()]
    tolerance = "" if pd.isna(worst["error_tolerance"]) else f" of {worst['error_tolerance']:.2g} tolerated"
    tensor = "" if pd.isna(worst["error_worst_of"]) else f" in {worst['error_worst_of']}"
    where = f"{worst['label']} {worst['workload']} {worst['phase']}"
    return f"{count}; worst error {worst['error_worst']:.2g}{tolerance} ({where}{tensor})."


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
