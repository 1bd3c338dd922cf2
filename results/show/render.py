"""What a person reads at the end of a run: numbers beside each other, and why some are missing."""

import textwrap
from collections.abc import Sequence

import pandas as pd

from results.record.dimensions import DIMENSIONS, POSITION
from results.record.human import DEGRADED, in_time_unit, prefixed, rate, ratio, time_unit
from results.record.limits import BYTE_LIMITS
from results.record.schema import COLUMN
from results.record.vocabulary import STATUSES
from results.show.layout import GAP, Cell, hanging, side_by_side
from results.tables.means import means_of_ratios
from results.tables.table import (
    CONTROL_PREFIX,
    comparison,
    default_baseline,
    idle_labels,
    is_control,
    is_limit,
    is_speed,
    is_verified,
    label_of,
    placed,
    ratios,
)

SAMPLES = "throughput_samples_per_s"
TOKENS = "throughput_tokens_per_s"
METRICS = ("latency_p50_s", SAMPLES, "mfu")
TITLES = {"latency_p50_s": "Latency", SAMPLES: "Throughput", "mfu": "MFU"}
SHARES = ("mfu", "bandwidth_utilisation", "published_mfu", "published_bandwidth_utilisation")
"""Shown in per cent."""

NAMELESS = tuple(d.column for d in DIMENSIONS if d.is_name)
"""Levels whose values say by themselves what they are."""


BY_URGENCY = (*STATUSES[STATUSES.index("wrong") :], "known_failure", "unsupported", "unavailable")


def render(frame: pd.DataFrame, baseline: str | None = None, metrics: Sequence[str] = METRICS, width: int = 120) -> str:
    """Returns the rows as text: a table per metric, what has no number and why, and what the ratios mean.

    `baseline` is a backend (or a label of `placed`); by default `default_baseline`. Where it has no
    verified number there are no ratios, and the text says so. Raises ValueError for an unknown metric.
    """
    if frame.empty:
        return "No cells: nothing was planned."
    everything = placed(frame)
    work = frame[~(is_control(frame) | is_limit(frame))]
    frame = frame if work.empty else work
    rows = placed(frame)
    chosen, no_ratios = _baseline(frame, rows, baseline)
    blocks = [
        _heading(frame, everything, width),
        *(_table(frame, rows, metric, chosen, width) for metric in metrics),
        _means(frame, metrics, chosen, width),
        _limits(everything, width),
        _without_number(everything, width),
        _legend(rows, chosen, no_ratios, width),
        _control(everything, width),
    ]
    return "\n\n".join(block for block in blocks if block)


def mark(quality: object) -> str:
    """Returns the mark of a disturbed number."""
    return DEGRADED if quality == "degraded" else ""


def _means(frame: pd.DataFrame, metrics: Sequence[str], baseline: str | None, width: int) -> str:
    """Returns the geometric means of the ratios, by phase; empty where no backend has two cells with one."""
    speeds = [metric for metric in metrics if is_speed(metric)] if baseline else []
    found = [means_of_ratios(frame, metric, baseline) for metric in speeds]
    lines = [line for means in found for line in means[means["cells"] > 1].to_dict("records")]
    if not lines:
        return ""
    left = sorted({(line["phase"], line["metric"]) for line in lines})
    cells = {(line["label"], line["phase"], line["metric"]): line for line in lines}
    labels = sorted({line["label"] for line in lines})
    columns = {
        label: [
            Cell(ratio(line["ratio"]), f"of {line['cells']}")
            if (line := cells.get((label, *place)))
            else Cell(word="-")
            for place in left
        ]
        for label in labels
    }
    named = [[phase, TITLES.get(metric, metric).lower()] for phase, metric in left]
    missing = sorted({f"{line['label']} {line['phase']}: {line['missing_cells']}" for line in lines if line["missing"]})
    title = f"Geometric mean of the ratios to {baseline}, over the cells that both have"
    notes = [_wrapped([f"Without: {'; '.join(missing)}."], width)] if missing else []
    return "\n".join([_wrapped([title], width), side_by_side(("phase", "metric"), named, columns, width), *notes])


def _limits(rows: pd.DataFrame, width: int) -> str:
    """Returns a table of what each backend reached of the chip's FLOP/s and byte/s; empty where none was measured."""
    found = rows[is_limit(rows) & is_verified(rows)]
    if found.empty:
        return ""
    reached = found[["flops_per_s", "throughput_flops_per_s"]].max(axis=1)
    moved = found["workload"].isin(BYTE_LIMITS)
    found = found.assign(reached=reached.mask(moved, found["throughput_bytes_per_s"]))
    levels = [name for name in POSITION if name != "phase"]
    numbers = found.pivot(index=levels, columns="label", values="reached")
    marks = found.pivot(index=levels, columns="label", values="quality")
    header, left, caption = _positions(numbers.index.to_frame(index=False))
    units = ["B/s" if name in BYTE_LIMITS else "FLOP/s" for name in numbers.index.get_level_values("workload")]
    columns = {
        label: [
            Cell(word="-") if pd.isna(value) else Cell(prefixed(value, unit) + (DEGRADED if mark == "degraded" else ""))
            for value, unit, mark in zip(numbers[label], units, marks[label].fillna(""), strict=True)
        ]
        for label in numbers.columns
    }
    title = f"What bounds the chip: the most that each backend reached{caption}"
    return "\n".join([_wrapped([title], width), side_by_side(header, left, columns, width)])


def _control(rows: pd.DataFrame, width: int) -> str:
    """Returns a line with the control's numbers: where they differ between two runs, the machine does."""
    found = rows[is_control(rows) & (rows["status"] == "ok").fillna(False)]
    said = []
    for row in found.to_dict("records"):
        _, at, machine = row["label"].partition("@")
        time = in_time_unit(row["latency_p50_s"], "ms") + (DEGRADED if row["quality"] == "degraded" else "")
        said.append(f"{row['workload'].removeprefix(CONTROL_PREFIX)} {time}{at and f' on {machine}'}")
    line = f"Control, plain NumPy, to tell a slow machine from a slow runtime: {', '.join(said)}."
    return _wrapped([line], width) if said else ""


def _baseline(frame: pd.DataFrame, rows: pd.DataFrame, given: str | None) -> tuple[str | None, str]:
    """Returns the baseline's label, or None and why there is none."""
    if given is None:
        chosen = default_baseline(frame)
        return chosen, "" if chosen else "no cell was verified and timed"
    try:
        chosen = label_of(rows, given)
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
    lines = [f"{of_runs} on {', '.join(machines) or 'an unknown machine'}: {_plural(len(rows), 'cell')}, {statuses}"]
    if (older := len(frame) - len(placed(frame))) > 0:
        lines.append(f"Not shown: {_plural(older, 'row')} of the same cells in older runs")
    return _wrapped(lines, width)


def _table(frame: pd.DataFrame, rows: pd.DataFrame, metric: str, baseline: str | None, width: int) -> str:
    """Returns the table of one metric; empty if no cell has a number in it."""
    numbers = comparison(frame, metric, baseline)
    if not numbers.notna().any(axis=None):
        return ""
    nothing = numbers.mask(numbers.notna())
    beside = ratios(frame, metric, baseline) if baseline and is_speed(metric) else nothing
    tokens = comparison(frame, TOKENS, baseline) if metric == SAMPLES else nothing
    statuses = rows.pivot(index=list(POSITION), columns="label", values="status")[numbers.columns].fillna("")
    qualities = rows.pivot(index=list(POSITION), columns="label", values="quality")[numbers.columns].fillna("")
    header, left, caption = _positions(numbers.index.to_frame(index=False))
    idle = idle_labels(rows)
    if metric == SAMPLES:
        header = [*header, "per s"]

    lines: list[list[str]] = []
    cells: list[list[Cell]] = []
    for number, position in enumerate(left):
        words = ["-" if status == "ok" else status for status in statuses.iloc[number]]
        lines.append([*position, "samples"] if metric == SAMPLES else position)
        marks = [DEGRADED if quality == "degraded" else "" for quality in qualities.iloc[number]]
        unit = "%" if metric in SHARES else COLUMN[metric].unit
        cells.append(_cells(numbers.iloc[number], beside.iloc[number], words, unit, idle, marks))
        if tokens.iloc[number].notna().any():
            lines.append([*("" for _ in position), "tokens"])
            blank = ["" for _ in words]
            cells.append(_cells(tokens.iloc[number], nothing.iloc[number], blank, COLUMN[TOKENS].unit, idle, blank))
    shown = [
        label
        for label in numbers.columns
        if not set(statuses[label]) <= {"unavailable", ""} and not (metric in SHARES and label in idle)
    ]
    columns = {
        label: list(column)
        for label, column in zip(numbers.columns, zip(*cells, strict=True), strict=True)
        if label in shown
    }
    description = COLUMN[metric].description.rstrip(".")
    title = f"{TITLES.get(metric, metric)}: {description[0].lower()}{description[1:]}{caption}"
    notes = _other_work(numbers, beside, rows, baseline) if baseline and is_speed(metric) else []
    return "\n".join([_wrapped([title], width), side_by_side(header, lines, columns, width), *notes])


def _other_work(numbers: pd.DataFrame, beside: pd.DataFrame, rows: pd.DataFrame, baseline: str) -> list[str]:
    """Returns a line if there are verified numbers that are not of the baseline's work, and so have no ratio."""
    verified = numbers.drop(columns=list(idle_labels(rows)))
    alone = verified.notna() & beside[verified.columns].isna()
    count = int(alone[verified[baseline].notna()].to_numpy().sum())
    return [f"{_plural(count, 'number')} without a ratio: not of {baseline}'s workload digest."] if count else []


def _positions(levels: pd.DataFrame) -> tuple[list[str], list[list[str]], str]:
    """Returns the header and the cells of the levels in which lines differ, and the others in words."""
    texts = levels.astype("string").fillna("")
    shown = [name for name in texts if name in ("workload", "phase") or texts[name].nunique() > 1]
    same = [f"{name} {texts[name].iloc[0]}" for name in texts if name not in shown and texts[name].iloc[0]]
    caption = f" ({', '.join(same)})" if same else ""
    return [str(name) for name in shown], texts[shown].to_numpy().tolist(), caption


def _cells(
    numbers: pd.Series, beside: pd.Series, words: Sequence[str], unit: str, idle: set[str], marks: Sequence[str]
) -> list[Cell]:
    """Returns one line's cells: the number with its unit, mark and ratio, or the word."""
    known = numbers.dropna()
    common = time_unit(known.drop(labels=list(idle & set(known.index)))) if unit == "s" else ""
    return [
        Cell(word=word)
        if pd.isna(value)
        else Cell(_readable(value, unit, common) + mark, "" if pd.isna(times) else ratio(times))
        for value, times, word, mark in zip(numbers, beside, words, marks, strict=True)
    ]


def _readable(value: float, unit: str, common: str) -> str:
    if unit == "s":
        return in_time_unit(value, common)
    if unit in ("samples/s", "tokens/s"):
        return rate(value)
    if unit == "%":
        return f"{100 * value:.0f} %"
    if unit == "1":
        return f"{value:,.0f}" if value == int(value) else f"{value:.3g}"
    return prefixed(value, unit.replace("byte", "B"))


def _without_number(rows: pd.DataFrame, width: int) -> str:
    """Returns a line for each backend and reason for which cells have no number, the most urgent first."""
    missing = rows[rows["status"] != "ok"].fillna({"reason": ""})
    if missing.empty:
        return ""
    varying = [name for name in POSITION if name in ("workload", "phase") or rows[name].nunique(dropna=False) > 1]
    groups: dict[tuple[str, str, str], list[str]] = {}
    for row in missing.to_dict("records"):
        words = [row[name] if name in NAMELESS else f"{name} {row[name]}" for name in varying if pd.notna(row[name])]
        groups.setdefault((row["label"], row["status"], row["reason"]), []).append(" ".join(words))
    cells_of = rows["label"].value_counts()
    columns, reasons = [], []
    for (label, status, reason), cells in sorted(groups.items(), key=lambda group: BY_URGENCY.index(group[0][1])):
        count = f"{'all ' if len(cells) == cells_of[label] else ''}{len(cells)} cells"
        columns.append([label, status, cells[0] if len(cells) == 1 else count])
        reasons.append(reason)
    return "Without a number:\n" + hanging(columns, reasons, width)


def _legend(rows: pd.DataFrame, baseline: str | None, no_ratios: str, width: int) -> str:
    """Returns what the tables' ratios mean, and what the numbers that need it are to be read with."""
    verified = rows[is_verified(rows)]
    lines = [f"No ratios: {no_ratios}."]
    if baseline is not None:
        lines = [f"Baseline {baseline}: 1.39x is 1.39 times as fast as {baseline} at the same step."]
    if not verified.empty:
        lines.append(_worst_error(verified))
    lines += [
        f"{label} computes nothing: its numbers are the harness's own cost and enter no ratio."
        for label in sorted(idle_labels(rows))
    ]
    serial = verified[verified["throughput_mode"] == "serial"]
    for phase, labels in sorted(_labels_by(serial, "phase").items()):
        lines.append(f"Serial in {phase} (overlapping is not possible, or no faster): {', '.join(labels)}.")
    lines += _flags(rows)
    partly = rows[(rows["status"] == "ok") & (rows["launches_failed"].fillna(0) > 0)]
    if not partly.empty:
        lines.append(f"Some launches failed, the numbers are of the others: {', '.join(partly['label'].unique())}.")
    return _wrapped(lines, width)


def _flags(rows: pd.DataFrame) -> list[str]:
    """Returns a line that says what the mark of degraded numbers stands for here."""
    degraded = rows[(rows["status"] == "ok") & (rows["quality"] == "degraded").fillna(False)]
    if degraded.empty:
        return []
    counts = degraded["flags"].fillna("").str.split().explode().value_counts()
    said = ", ".join(f"{name} ({count})" for name, count in counts.items())
    return [
        f"{DEGRADED} degraded, in {_plural(len(degraded), 'cell')}: {said}; docs/measuring.md says what each means."
    ]


def _labels_by(rows: pd.DataFrame, column: str) -> dict[str, list[str]]:
    groups: dict[str, set[str]] = {}
    for value, label in zip(rows[column], rows["label"], strict=True):
        groups.setdefault(value, set()).add(label)
    return {value: sorted(labels) for value, labels in groups.items()}


def _worst_error(verified: pd.DataFrame) -> str:
    """Returns the verification error that came nearest to its tolerance."""
    count = f"Verified against the reference: {_plural(len(verified), 'cell')}"
    known = [row for row in verified.to_dict("records") if pd.notna(row["error_worst"])]
    if not known:
        return count + "."
    with_tolerance = [row for row in known if pd.notna(row["error_tolerance"]) and row["error_tolerance"] > 0]
    if with_tolerance:
        worst = max(with_tolerance, key=lambda row: row["error_worst"] / row["error_tolerance"])
        error = f"{worst['error_worst']:.2g} of {worst['error_tolerance']:.2g} tolerated"
    else:
        worst = max(known, key=lambda row: row["error_worst"])
        error = f"{worst['error_worst']:.2g}"
    tensor = "" if pd.isna(worst["error_worst_of"]) else f", {worst['error_worst_of']}"
    return f"{count}; worst error {error} ({worst['label']} {worst['workload']} {worst['phase']}{tensor})."


def _wrapped(lines: Sequence[str], width: int) -> str:
    return "\n".join(part for line in lines for part in textwrap.wrap(line, width, subsequent_indent=GAP))


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
