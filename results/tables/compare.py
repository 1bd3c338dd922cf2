"""Two sides compared cell by cell: how many times as fast, with an interval and a verdict in words.

A side is the rows of one run or of many, of one machine or of another. The interval of a side's number, and of the
ratio of two, is made in `results.tables.spread`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import exp
from typing import Any, NamedTuple

import pandas as pd

from results.record.cells.ladder import NOT_NEEDED
from results.record.dimensions import ACROSS, HINTS, MATCHED, WORK
from results.record.schema import COLUMN
from results.record.vocabulary import QUALITIES
from results.tables.ratio import is_rate
from results.tables.spread import Known, ratio_of, value_of
from results.tables.table import is_speed

METRICS = ("latency_p50_s", "throughput_samples_per_s")
BY = ("machine", "machine_id", "run_id", "software_id", "samestep_version", "device", *ACROSS)
"""By what sides may be told apart."""
UNLIKE_WORTH = 1.4
"""Where a side's threads were worth so much more, the hypervisor gave it another machine."""
VERDICTS = ("faster", "slower", "same", "unclear", "not comparable")
COLUMNS = (
    *MATCHED,
    "machine",
    "metric",
    "before",
    "after",
    "ratio",
    "ratio_low",
    "ratio_high",
    "verdict",
    "reason",
    "n_before",
    "n_after",
    "quality_before",
    "quality_after",
    "run_before",
    "run_after",
)
TEXTS = (
    "machine",
    "metric",
    "verdict",
    "reason",
    "quality_before",
    "quality_after",
    "run_before",
    "run_after",
)


def compare(
    before: pd.DataFrame,
    after: pd.DataFrame,
    *,
    metrics: Sequence[str] = METRICS,
    across: Sequence[str] = (),
    spread: Known | float | None = None,
) -> pd.DataFrame:
    """Returns a line per cell and metric that either side has, with the columns `COLUMNS`.

    `before` and `after` are in SI units; `ratio` is how many times as fast `after` is, with its 99 % interval.
    `verdict` is one of `VERDICTS`, and `reason` says why rows are not comparable: their `workload_digest` or
    `method_version` differs, one has no number or is not there. Throughput of a serial step is its latency again, and
    is left out. `across` names columns of `ACROSS` in which the sides may differ (where that is the batch, it is the
    `model_digest` that must be equal, and throughput alone that is compared); `spread` is the standard deviation
    of ln v from run to run, known or assumed (by default 3 %, and 8 % where a number is degraded, or has no interval).
    Where a side holds several machines, each is compared with itself, and rows of one machine alone have no ratio.
    Raises ValueError for an unknown column, a metric that is neither time nor rate, a spread that is not positive, and
    several machines of which the sides share none.
    """
    if unknown := [name for name in across if name not in ACROSS]:
        raise ValueError(f"cannot compare across {', '.join(unknown)}; expected some of: {', '.join(ACROSS)}")
    for metric in metrics:
        if metric not in before.columns or not is_speed(metric):
            raise ValueError(f"{metric} is neither a time nor a rate of a row, so nothing is so many times as fast")
    if isinstance(spread, float | int) and not 0 < spread < 1:
        raise ValueError(f"spread is {spread}; expected a share between 0 and 1, such as 0.02")
    if not set(WORK).isdisjoint(across):
        metrics = [metric for metric in metrics if is_rate(metric)]
        if not metrics:
            raise ValueError("across batch sizes only rates per sample compare; expected a metric per second")
    keys = [*_machine_key(before, after), *(name for name in MATCHED if name not in across)]
    sides = [_by_cell(side, keys) for side in (before, after)]
    hints = [_by_hint(side, keys) for side in sides]
    lines: list[dict[str, object]] = []
    for key in sorted({*sides[0], *sides[1]}, key=_order):
        rows = [side.get(key) for side in sides]
        cell = dict(zip(keys, key, strict=True))
        absent = [_why_absent(cell, name, of_side) for name, of_side in zip(("before", "after"), hints, strict=True)]
        lines += _lines(cell, rows, absent, metrics, across, spread)
    frame = pd.DataFrame(lines, columns=list(COLUMNS))
    for name in ("before", "after", "ratio", "ratio_low", "ratio_high"):
        frame[name] = frame[name].astype("Float64")
    for name in ("n_before", "n_after"):
        frame[name] = frame[name].astype("Int64")
    for name in MATCHED:
        if COLUMN[name].kind == "integer":
            frame[name] = frame[name].astype("string" if name in across else "Int64")
    for name in TEXTS:
        frame[name] = frame[name].astype("string")
    return frame


def _machine_key(before: pd.DataFrame, after: pd.DataFrame) -> list[str]:
    """Returns the columns that tell machines apart, where a side holds several; nothing where each holds one.

    That is the hardware, since names change, and the name too where two of one kind are on a side.
    """
    sides = [
        {_Machine(*pair) for pair in side[["machine_id", "machine"]].dropna().itertuples(index=False)}
        for side in (before, after)
    ]
    if max(map(len, sides)) < 2:
        return []
    if {machine.id for machine in sides[0]}.isdisjoint(machine.id for machine in sides[1]):
        names = [", ".join(sorted(machine.name for machine in side)) or "none" for side in sides]
        raise ValueError(
            f"the sides hold several machines and share none ({names[0]} before, {names[1]} after); expected one on"
            " each, or the same ones: `--by machine` sets machines beside each other"
        )
    alike = any(len({machine.id for machine in side}) < len(side) for side in sides)
    return ["machine_id", "machine"] if alike else ["machine_id"]


class _Machine(NamedTuple):
    id: str
    name: str


def _hint(cell: Mapping[str, Hashable]) -> tuple[Hashable, ...]:
    return tuple(value for name, value in cell.items() if name not in HINTS)


def _by_hint(side: Iterable[tuple[Hashable, ...]], keys: Sequence[str]) -> dict[tuple[Hashable, ...], list[Any]]:
    """Returns the cells of a side, as mappings, by what they are without `HINTS`."""
    cells: dict[tuple[Hashable, ...], list[Any]] = {}
    for key in side:
        cell = dict(zip(keys, key, strict=True))
        cells.setdefault(_hint(cell), []).append(cell)
    return cells


def _why_absent(cell: Mapping[str, Any], name: str, of_side: Mapping[tuple[Hashable, ...], list[Any]]) -> str:
    """Returns why a side has no such cell: it has one that differs in `HINTS`, or none."""
    for other in of_side.get(_hint(cell), ()):
        differs = [column for column in HINTS if column in cell and cell[column] != other[column]]
        if differs:
            values = ", ".join(f"{column} {other[column]}" for column in differs)
            return f"{name}: there with {values}; `--across {','.join(differs)}` compares them"
    return f"not there {name}"


def _order(key: tuple[Hashable, ...]) -> tuple[tuple[bool, str, float], ...]:
    """Returns what sorts cells: text by text, numbers by size, nothing first."""
    numbers = [float(v) if isinstance(v, (int, float)) else 0.0 for v in key]
    return tuple((v is not None, str(v) if isinstance(v, str) else "", n) for v, n in zip(key, numbers, strict=True))


def _by_cell(side: pd.DataFrame, keys: list[str]) -> dict[tuple[Hashable, ...], pd.DataFrame]:
    """Returns a side's rows by their cell; without those that compute nothing, which enter no ratio, and A/Bs."""
    kept = side[(side["verification"] != "not applicable").fillna(True) & side["variant"].isna()]
    kept = kept.assign(precision=kept["precision"].fillna(kept["precision_requested"]))
    plain = kept[keys].astype(object).where(kept[keys].notna(), None)
    groups: dict[tuple[Hashable, ...], list[int]] = {}
    for position, key in enumerate(plain.itertuples(index=False, name=None)):
        groups.setdefault(key, []).append(position)
    return {key: kept.iloc[positions] for key, positions in groups.items()}


def _lines(
    cell: dict[str, Any],
    rows: Sequence[pd.DataFrame | None],
    absent: Sequence[str],
    metrics: Sequence[str],
    across: Sequence[str],
    spread: Known | float | None,
) -> list[dict[str, object]]:
    """Returns the lines of one cell, one per metric; a single one where the sides are not comparable."""
    shown = {name: value for name, value in cell.items() if name != "machine_id"}
    shown |= {name: _both([_listed(side, name) for side in rows]) for name in across}
    shown["machine"] = _both([_listed(side, "machine") for side in rows])
    runs = {f"run_{name}": _runs(side) for name, side in zip(("before", "after"), rows, strict=True)}
    if any(side is not None and side["status"].eq(NOT_NEEDED).all() for side in rows):
        return []  # the side has its best at a smaller batch
    ok_rows = [None if side is None else side[(side["status"] == "ok").fillna(False)] for side in rows]
    if reason := _why_not(rows, ok_rows, absent, across):
        return [{**shown, **runs, "metric": metrics[0], "verdict": "not comparable", "reason": reason}]
    first, second = (side for side in ok_rows if side is not None)
    serial = all((side["throughput_mode"] == "serial").fillna(False).all() for side in (first, second))
    lines: list[dict[str, object]] = []
    for metric in metrics:
        if serial and metric.startswith("throughput_") and "latency_p50_s" in metrics:
            continue
        line: dict[str, object] = {**shown, **runs, "metric": metric}
        if any(side[metric].isna().all() for side in (first, second)):
            lines.append({**line, "verdict": "not comparable", "reason": f"a side has no {metric}"})
            continue
        a, b = (value_of(side, metric, spread) for side in (first, second))
        if any(set(first[name].dropna()) != set(second[name].dropna()) for name in ("machine_id", "threads")):
            a, b = replace(a, control=None), replace(b, control=None)  # another machine is what is asked for
        line |= {"before": exp(a.x), "after": exp(b.x), "n_before": a.n, "n_after": b.n}
        line |= {"quality_before": _worst(first), "quality_after": _worst(second)}
        is_one = _measured(first, metric) == _measured(second, metric)
        lines.append({**line, **(_ONE if is_one else ratio_of(a, b, is_rate(metric)))})
    return lines


_ONE = {"ratio": 1.0, "ratio_low": 1.0, "ratio_high": 1.0, "verdict": "same", "reason": "one measurement, in both"}
"""Of what bounds the chip, which the later run took over from the earlier."""


def _measured(side: pd.DataFrame, metric: str) -> set[tuple[Any, ...]]:
    """Returns what of a side was measured: the runs that did it, with their numbers."""
    return set(zip(side["measured_in"].fillna(side["run_id"]).fillna("unknown"), side[metric], strict=True))


def _worst(side: pd.DataFrame) -> str | None:
    """Returns the worst quality of a side's numbers."""
    return max(side["quality"].dropna(), key=QUALITIES.index, default=None)


def _listed(side: pd.DataFrame | None, name: str) -> str:
    return "-" if side is None else ", ".join(sorted({str(value) for value in side[name].dropna()})) or "-"


def _both(words: Sequence[str]) -> str:
    return words[0] if words[0] == words[1] else f"{words[0]} → {words[1]}"


def _runs(side: pd.DataFrame | None) -> str | None:
    """Returns the run whose number it is, or the last of several and their count: what a number links to."""
    if side is None or side["run_id"].dropna().empty:
        return None
    runs = sorted(side["run_id"].dropna().unique())
    return str(runs[-1]) if len(runs) == 1 else f"{runs[-1]} and {len(runs) - 1} more"


def _why_not(
    rows: Sequence[pd.DataFrame | None],
    ok_rows: Sequence[pd.DataFrame | None],
    absent: Sequence[str],
    across: Sequence[str],
) -> str:
    """Returns why the sides have no ratio, or nothing."""
    for name, side, verified, why in zip(("before", "after"), rows, ok_rows, absent, strict=True):
        if side is None:
            return why
        if verified is None or verified.empty:
            last = side.sort_values("run_id", kind="stable", na_position="first").iloc[-1]
            return f"{name}: {last['status']}: {last['reason']}"
        if not (verified["verification"] == "passed").fillna(False).all():
            return f"{name}: not verified"
        several = [column for column in across if verified[column].nunique(dropna=False) > 1]
        if several:
            return (
                f"{name}: several {' and '.join(several)} ({_listed(verified, several[0])}); expected one on each side"
            )
    both = pd.concat([side for side in ok_rows if side is not None])
    digest = "workload_digest" if set(WORK).isdisjoint(across) else "model_digest"
    for name, words in ((digest, "other work"), ("method_version", "measured by another method")):
        if both[name].nunique(dropna=False) > 1 or (name == "model_digest" and both[name].isna().any()):
            return f"{words}: {name} {' and '.join(sorted(both[name].fillna('none').unique()))}"
    one_machine = both["machine_id"].nunique(dropna=False) == 1 and "threads" not in across
    return _unlike_worth([side for side in ok_rows if side is not None]) if one_machine else ""


def _unlike_worth(sides: Sequence[pd.DataFrame]) -> str:
    """Returns that one side's threads were worth much more than the other's, or nothing."""
    before, after = (float(side["threads_worth"].astype(float).median()) for side in sides)
    if max(before, after) > UNLIKE_WORTH * min(before, after):  # never of NaN
        return f"its threads together were worth {before:.1f} before and {after:.1f} after, beside one alone"
    return ""


def sides_of(frame: pd.DataFrame, by: str, baseline: str | None = None) -> tuple[str, dict[str, pd.DataFrame]]:
    """Returns the baseline's value of column `by` (one of `BY`), and the rows by each value, the baseline's first.

    Raises ValueError for a column that has one value only, or an unknown baseline.
    """
    if by not in BY:
        raise ValueError(f"cannot compare by {by!r}; expected one of: {', '.join(BY)}")
    values = sorted(frame[by].dropna().unique(), key=lambda value: (isinstance(value, str), value))
    names = {str(value): value for value in values}
    if len(names) < 2:
        raise ValueError(f"nothing to compare: every row has {by} {', '.join(names) or 'empty'}; expected two or more")
    chosen = next(iter(names)) if baseline is None else baseline
    if chosen not in names:
        raise ValueError(f"no row has {by} {chosen!r}; expected one of: {', '.join(names)}")
    ordered = [chosen, *(name for name in names if name != chosen)]
    return chosen, {name: frame[(frame[by] == names[name]).fillna(False)] for name in ordered}
