"""Geometric means of ratios: over the cells that both sides have, with their count and the missing ones by name.

Only a geometric mean of ratios does not depend on which side is the baseline (Fleming & Wallace 1986, "How not to lie
with statistics"); a mean of times over different sets of cells says nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from math import exp, log, sqrt
from typing import Any

import pandas as pd

from results.record.dimensions import IN_ORDER, POSITION
from results.record.rounds import Estimate
from results.tables.batches.rungs import of_one_batch
from results.tables.table import (
    default_baseline,
    estimates_of_ratios,
    idle_labels,
    is_control,
    is_limit,
    is_verified,
    label_of,
    placed,
    to_rows,
)

SEVERAL = 2
SHAPE = tuple(d.column for d in IN_ORDER if d.is_work and not d.is_name)
COLUMNS = ("label", "phase", "metric", "ratio", "ratio_low", "ratio_high", "cells", "missing", "missing_cells")


def geometric_mean(ratios: Sequence[Estimate], *, together: bool = False) -> tuple[float, float | None, float | None]:
    """Returns the mean of ratios and its interval, at the confidence of theirs; None where one of them has none.

    The interval says how well the ratios are known, not how much depends on which cells were chosen: each by itself, so
    that halves add up by their squares, or `together`, where what is wrong with one may be wrong with all. Raises
    ValueError without any ratio.
    """
    if not ratios:
        raise ValueError("no ratio to take the mean of; expected at least one")
    mean = sum(log(one.value) for one in ratios) / len(ratios)
    below = [log(one.value / one.low) for one in ratios if one.low is not None]
    above = [log(one.high / one.value) for one in ratios if one.high is not None]
    if not len(below) == len(above) == len(ratios):
        return exp(mean), None, None
    low, high = (sum(parts) if together else sqrt(sum(part**2 for part in parts)) for parts in (below, above))
    low, high = low / len(ratios), high / len(ratios)
    return exp(mean), exp(mean - low), exp(mean + high)


def wider_half(mean: Mapping[Hashable, Any]) -> float | None:
    """Returns the wider half of a line's interval as a part of its ratio, None where it has none."""
    value, low, high = (mean[name] for name in ("ratio", "ratio_low", "ratio_high"))
    return None if pd.isna(low) or pd.isna(high) else max(value / low, high / value) - 1


def means_of_ratios(frame: pd.DataFrame, metric: str = "latency_p50_s", baseline: str | None = None) -> pd.DataFrame:
    """Returns, for each backend (label of `results.tables.table.placed`) and phase, the geometric mean of `ratios`.

    A line has the columns `COLUMNS`: `phase` has the precision behind it where rows are of several, since no mean goes
    over two; `cells` are those with a ratio, `missing_cells` the others of which either side
    has a row, in words. The baseline itself, and what computes nothing, have none. The control, and what measures
    limits, enter no mean; of a step that was measured at several batches one does, the smallest of those at which most
    backends have a ratio. There is no line where the baseline has verified limits alone.
    """
    everything = placed(frame)
    frame = frame[~is_control(frame) & ~is_limit(frame)]
    rows = placed(frame)
    if baseline is not None:
        wanted = label_of(everything, baseline)
        if wanted in _verified_labels(everything) and wanted not in _verified_labels(rows):
            return pd.DataFrame(columns=list(COLUMNS)).astype({"ratio": "Float64"})
    of_labels = _of_one_batch(estimates_of_ratios(frame, metric, baseline), idle_labels(rows))
    lines: list[dict[str, object]] = []
    for label in of_labels.columns[1:]:
        if label in idle_labels(rows):
            continue
        levels = of_labels.index.get_level_values("precision")
        for place, column in of_labels[label].groupby(level=["phase", "precision"]):
            at: Any = place
            phase = _phase(at[0], at[1], levels)
            missing = [_named(position) for position in column.index[column.isna()]]
            known = column.dropna().tolist()
            lines.append({"label": label, "phase": phase, "metric": metric, **_mean(known, missing)})
    return pd.DataFrame(lines, columns=list(COLUMNS)).astype({"ratio": "Float64"})


def _of_one_batch(of_labels: pd.DataFrame, idle: set[str]) -> pd.DataFrame:
    """Returns the estimates at one batch of each step: a ladder of batches is no set of workloads."""
    known = of_labels.drop(columns=[*idle]).notna().sum(axis=1)
    return of_labels[of_one_batch(of_labels.index.to_frame(), known)]


def _verified_labels(rows: pd.DataFrame) -> set[object]:
    return set(rows.loc[is_verified(rows), "label"])


def means_by_machine(frame: pd.DataFrame, metric: str = "latency_p50_s", baseline: str | None = None) -> pd.DataFrame:
    """Returns `means_of_ratios` of each machine by itself, with its `machine` and the `baseline` there.

    That is the backend of the given label where it has a verified number on the machine, else its default.
    """
    means = []
    work = frame[~is_control(frame) & ~is_limit(frame)]
    for machine, of_machine in work.groupby(work["machine"].fillna("unknown"), sort=True):
        rows = placed(of_machine)
        labels = set(rows.loc[is_verified(rows), "label"])
        wanted = None if baseline is None else baseline.partition("@")[0]
        chosen = wanted if wanted in labels else default_baseline(of_machine)
        if chosen is not None:
            means.append(means_of_ratios(of_machine, metric, chosen).assign(machine=machine, baseline=chosen))
    columns = [*COLUMNS, "machine", "baseline"]
    return pd.concat(means, ignore_index=True) if means else pd.DataFrame(columns=columns)


def _mean(of_cells: Sequence[Estimate], missing: Sequence[str], *, together: bool = False) -> dict[str, object]:
    """Returns the numbers of a line: mean and interval, how many cells, and those without a ratio."""
    mean = geometric_mean(of_cells, together=together) if of_cells else (None, None, None)
    numbers = dict(zip(("ratio", "ratio_low", "ratio_high"), mean, strict=True))
    return {**numbers, "cells": len(of_cells), "missing": len(missing), "missing_cells": ", ".join(missing) or None}


def means_of_comparison(compared: pd.DataFrame) -> pd.DataFrame:
    """Returns the geometric means of what `results.tables.compare.compare` returned, by phase and metric.

    A line has `COLUMNS` without `label`; the interval is of 99 %, as theirs are. The control and limits enter no mean,
    and of a step's batches one, as in `means_of_ratios`.
    """
    lines = []
    compared = compared[~is_control(compared) & ~is_limit(compared)]
    places = compared[[*POSITION]]
    answered = compared["ratio"].notna().groupby([places[name] for name in POSITION], dropna=False).transform("sum")
    compared = compared[of_one_batch(places, answered)]
    for (phase, precision, metric), group in compared.groupby(["phase", "precision", "metric"], sort=True):
        missing = [_words(row) for row in to_rows(group[group["ratio"].isna()])]
        known = group[group["ratio"].notna()]
        sides = zip(known["ratio"], known["ratio_low"], known["ratio_high"], known["n_after"], strict=True)
        # A run that was slow was slow in all of its cells.
        mean = _mean([Estimate(*of_cell) for of_cell in sides], missing, together=True)
        lines.append({"phase": _phase(phase, precision, compared["precision"]), "metric": metric, **mean})
    return pd.DataFrame(lines, columns=[name for name in COLUMNS if name != "label"]).astype({"ratio": "Float64"})


def _phase(phase: object, precision: object, all_precisions: Iterable[object]) -> str:
    """Returns the phase, with its precision where there are several."""
    return str(phase) if len({*all_precisions}) < SEVERAL else f"{phase} {precision}"


def _named(position: tuple[object, ...]) -> str:
    """Returns a cell's workload and size, and its shape, in words."""
    return _words(dict(zip(POSITION, position, strict=True)))


def _words(cell: dict[str, object]) -> str:
    words = [str(cell["workload"]), str(cell["size"])]
    words += [str(cell["backend"])] if "backend" in cell else []
    words += [f"{name} {cell[name]}" for name in SHAPE if pd.notna(cell[name])]  # type: ignore[call-overload]
    return " ".join(words)
