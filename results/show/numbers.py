"""The table of one metric: a line per step, a column per backend, and a ratio beside each number."""

import math
from collections.abc import Sequence

import pandas as pd

from results.record.dimensions import POSITION
from results.record.human import EMULATED, in_time_unit, mark, prefixed, rate, ratio, time_unit
from results.record.rounds import Estimate
from results.record.schema import COLUMN
from results.show.layout import Cell, plural, side_by_side, wrapped
from results.tables.ratio import half_width
from results.tables.table import comparison, estimates_of_ratios, idle_labels, is_speed, is_verified

SAMPLES = "throughput_samples_per_s"
TOKENS = "throughput_tokens_per_s"
METRICS = ("latency_p50_s", SAMPLES, "mfu")
TITLES = {"latency_p50_s": "Latency", SAMPLES: "Throughput", "mfu": "MFU"}
SHARES = ("mfu", "bandwidth_utilisation", "published_mfu", "published_bandwidth_utilisation")
"""Shown in per cent."""
UNPAIRED = "'"
"""Stands behind a ratio whose sides were not measured side by side."""
JOINED = (("model", ("workload", "size"), " "), ("shape", ("batch", "sequence"), "×"))
"""Levels that share a column where both differ: `gpt2 124m`, `2×128`."""
CANNOT_RUN = {"unavailable", "unsupported", ""}
"""The statuses of cells that this machine or this runtime cannot have, and of those that were not planned."""


def metric_table(
    frame: pd.DataFrame, rows: pd.DataFrame, metric: str, baseline: str | None, width: int, *, with_idle: bool
) -> str:
    """Returns the table of one metric; empty if no cell has a number in it.

    The baseline has no ratios beside its numbers: each would be 1. Backends that compute nothing have a column where
    `with_idle` says so, or nobody else has a number.
    """
    numbers = comparison(frame, metric, baseline)
    if not numbers.notna().any(axis=None):
        return ""
    nothing = pd.DataFrame(None, index=numbers.index, columns=numbers.columns, dtype=object)
    beside = estimates_of_ratios(frame, metric, baseline) if baseline and is_speed(metric) else nothing
    labels = _labels(numbers, rows, with_idle=with_idle and metric not in SHARES)
    header, left, caption = positions(numbers.index.to_frame(index=False))
    others = beside.assign(**{baseline: None}) if baseline else beside
    lines, cells = _lines(numbers, others, rows, metric, left)
    if metric == SAMPLES:
        tokens = comparison(frame, TOKENS, baseline)
        lines, cells = _with_tokens(lines, cells, tokens, rows, header)
    columns = {
        label: list(column)
        for label, column in zip(numbers.columns, zip(*cells, strict=True), strict=True)
        if label in labels
    }
    description = COLUMN[metric].description.rstrip(".")
    below = "; below, tokens per second" if len(lines) > len(left) else ""
    title = f"{TITLES.get(metric, metric)}: {description[0].lower()}{description[1:]}{below}{caption}"
    notes = _other_work(numbers, beside, rows, baseline) if baseline and is_speed(metric) else []
    return "\n".join([wrapped([title], width), side_by_side(header, lines, columns, width), *notes])


def _labels(numbers: pd.DataFrame, rows: pd.DataFrame, *, with_idle: bool) -> list[str]:
    """Returns the labels that have a column: not those of which no cell could run here, or can at all."""
    statuses = rows["status"].groupby(rows["label"]).agg(set)
    labels = [label for label in numbers.columns if not statuses[label] <= CANNOT_RUN]
    idle = idle_labels(rows)
    busy = [label for label in labels if label not in idle]
    return busy if not with_idle and numbers[busy].notna().any(axis=None) else labels


def _lines(
    numbers: pd.DataFrame, beside: pd.DataFrame, rows: pd.DataFrame, metric: str, left: Sequence[list[str]]
) -> tuple[list[list[str]], list[list[Cell]]]:
    """Returns the left side and the cells of each line."""
    of_rows = rows.pivot(index=list(POSITION), columns="label", values=["status", "quality"])
    statuses, qualities = (of_rows[name][numbers.columns].fillna("") for name in ("status", "quality"))
    emulated = rows.assign(e=rows["is_emulated"].fillna(False)).pivot(index=list(POSITION), columns="label", values="e")
    wider = emulated[numbers.columns].fillna(False).astype(bool)
    halves = pd.Series([half_width(row, metric) for row in rows.to_dict("records")], rows.index, dtype=float)
    widths = rows.assign(half=halves).pivot(index=list(POSITION), columns="label", values="half")[numbers.columns]
    unit = "%" if metric in SHARES else COLUMN[metric].unit
    idle = idle_labels(rows)
    cells = []
    for number in range(len(left)):
        words = ["-" if status == "ok" else status for status in statuses.iloc[number]]
        marks = [
            (f" {EMULATED}" if is_wider else "") + mark(quality) + plus_minus(half)
            for quality, half, is_wider in zip(
                qualities.iloc[number], widths.iloc[number], wider.iloc[number], strict=True
            )
        ]
        cells.append(_cells(numbers.iloc[number], beside.iloc[number], words, unit, idle, marks))
    return list(left), cells


def _with_tokens(
    lines: Sequence[list[str]], cells: Sequence[list[Cell]], tokens: pd.DataFrame, rows: pd.DataFrame, header: list[str]
) -> tuple[list[list[str]], list[list[Cell]]]:
    """Returns the lines, each with one for its tokens below it where it has any: named where its phase would stand."""
    blank = ["" for _ in tokens.columns]
    named = ["tokens" if name == "phase" else "" for name in header]
    nothing = pd.DataFrame(None, index=tokens.index, columns=tokens.columns, dtype=object)
    idle = idle_labels(rows)
    all_lines, all_cells = [], []
    for number, (line, of_line) in enumerate(zip(lines, cells, strict=True)):
        all_lines.append(line)
        all_cells.append(of_line)
        if tokens.iloc[number].notna().any():
            all_lines.append(named)
            unit = COLUMN[TOKENS].unit
            all_cells.append(_cells(tokens.iloc[number], nothing.iloc[number], blank, unit, idle, blank))
    return all_lines, all_cells


def _other_work(numbers: pd.DataFrame, beside: pd.DataFrame, rows: pd.DataFrame, baseline: str) -> list[str]:
    """Returns a line if there are verified numbers that are not of the baseline's work, and so have no ratio."""
    proven = rows.assign(proven=is_verified(rows)).pivot(index=list(POSITION), columns="label", values="proven")
    verified = numbers.drop(columns=list(idle_labels(rows)))
    verified = verified.where(proven[verified.columns].fillna(False).astype(bool))
    alone = verified.notna() & beside[verified.columns].isna()
    count = int(alone[verified[baseline].notna()].to_numpy().sum())
    return [f"{plural(count, 'number')} without a ratio: not of {baseline}'s workload digest."] if count else []


def positions(levels: pd.DataFrame) -> tuple[list[str], list[list[str]], str]:
    """Returns the header and the cells of the levels in which lines differ, and the others in words."""
    texts = levels.astype("string").fillna("")
    shown = [name for name in texts if name in ("workload", "phase") or texts[name].nunique() > 1]
    same = [f"{name} {texts[name].iloc[0]}" for name in texts if name not in shown and texts[name].iloc[0]]
    caption = f" ({', '.join(same)})" if same else ""
    for title, names, between in JOINED:  # narrow together, wide apart
        if all(name in shown for name in names):
            texts[title] = [between.join(filter(None, words)) for words in texts[list(names)].to_numpy().tolist()]
            shown = [title if name == names[0] else name for name in shown if name not in names[1:]]
    return [str(name) for name in shown], texts[shown].to_numpy().tolist(), caption


def _cells(
    numbers: pd.Series, beside: pd.Series, words: Sequence[str], unit: str, idle: set[str], marks: Sequence[str]
) -> list[Cell]:
    """Returns one line's cells: the number with its unit, mark and ratio, or the word."""
    common = time_unit(numbers.drop(labels=list(idle & set(numbers.index))).dropna()) if unit == "s" else ""
    return [
        Cell(word=word)
        if pd.isna(value)
        else Cell(_readable(value, unit, common) + behind, _times(times) if isinstance(times, Estimate) else "")
        for value, times, word, behind in zip(numbers, beside, words, marks, strict=True)
    ]


def _times(estimate: Estimate) -> str:
    """Returns the ratio, marked where its sides were not measured side by side."""
    return ratio(estimate.value) + ("" if estimate.is_paired or not estimate.n else UNPAIRED)


def plus_minus(half: object) -> str:
    """Returns the half of an interval as ` ±4%`, nothing where it is not known."""
    if not isinstance(half, float) or math.isnan(half):
        return ""
    percent = 100 * half
    return f" ±{percent:.1f}%" if percent < 0.95 else f" ±{percent:.0f}%"


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
