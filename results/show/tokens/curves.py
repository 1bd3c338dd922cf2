"""How the time per token goes over depth and over batch, and what throughput costs each user: a curve per backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from results.record.dimensions import POSITION, SETTINGS
from results.show.report.rows import in_words
from results.tables.table import is_verified, placed, to_rows

Line = Mapping[str, Any]
Ends = tuple[float | None, float | None]
DEPTH, BATCH, INTERACTIVITY = "depth", "batch", "interactivity"
SHOWN = (DEPTH, BATCH, INTERACTIVITY)
"""What can be shown of steps that generate."""
LEAST_POINTS = 2
"""A curve of fewer is a number, and in the tables."""


@dataclass(frozen=True)
class Point:
    """A place of a curve with its 95 % intervals, where they are known; `name` is what it is of, such as a batch."""

    x: float
    y: float
    x_ends: Ends = (None, None)
    y_ends: Ends = (None, None)
    name: str = ""
    degraded: bool = False


@dataclass(frozen=True)
class Curve:
    """The points of one backend, by x or, over interactivity, by batch."""

    label: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Chart:
    """The curves of the backends at one model, and the best possible, by x, where the machine has one."""

    show: str
    title: str
    curves: tuple[Curve, ...]
    best: tuple[tuple[float, float], ...] = ()
    left_out: int = 0
    """Rows whose work is not that of the others at their place."""


def charts(frame: pd.DataFrame, show: str) -> list[Chart]:
    """Returns the curves of the newest verified steps that generate, a chart per model and what is the same in it.

    `show` is `depth` or `batch` (time per token, s, over either) or `interactivity`: tokens/s of the whole batch over
    tokens/s of one user, 1 / time per token, from batch to batch. Backends with one point only are left out, and
    charts with none. Raises ValueError for another `show`.
    """
    if show not in SHOWN:
        raise ValueError(f"cannot show {show!r}; known: {', '.join(SHOWN)}")
    rows = placed(frame)
    lines = to_rows(rows[is_verified(rows) & rows["depth"].notna() & rows["latency_p50_s"].notna()])
    over = DEPTH if show == DEPTH else BATCH
    same = [name for name in POSITION if name not in (over, *SETTINGS)]
    groups: dict[tuple[Any, ...], list[Line]] = {}
    for line in lines:
        groups.setdefault(tuple(line[name] for name in same), []).append(line)
    ordered = sorted(groups.items(), key=lambda group: [(part is not None, part) for part in group[0]])
    found = [_chart(show, over, of_chart) for _, of_chart in ordered]
    return [chart for chart in found if chart.curves]


def _chart(show: str, over: str, lines: Sequence[Line]) -> Chart:
    kept = _of_equal_work(lines, over)
    point = _against_users if show == INTERACTIVITY else _timed
    curves = []
    for name, own in _by_name(kept).items():
        points = (point(line, over) for line in sorted(own, key=lambda line: float(line[over])))
        of_curve = tuple(one for one in points if one is not None)
        if len(of_curve) >= LEAST_POINTS:
            curves.append(Curve(name, of_curve))
    best = () if show == INTERACTIVITY else _best(kept, over)
    first = {**lines[0], **({BATCH: None} if over == BATCH else {DEPTH: None})}
    return Chart(show, in_words(first), tuple(curves), best, len(lines) - len(kept))


def _of_equal_work(lines: Sequence[Line], over: str) -> list[Line]:
    """Returns the rows without those that computed something else than most at their place, of equals the first."""
    works: dict[Any, list[Any]] = {}
    for line in lines:
        works.setdefault(line[over], []).append(line["workload_digest"])
    of_most = {place: max(dict.fromkeys(digests), key=digests.count) for place, digests in works.items()}
    return [line for line in lines if line["workload_digest"] == of_most[line[over]]]


def _by_name(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """Returns the rows by their label, with the settings in which rows of one label differ."""
    settings: dict[str, set[tuple[Any, ...]]] = {}
    for line in lines:
        settings.setdefault(line["label"], set()).add(tuple(line[name] for name in SETTINGS))
    named: dict[str, list[Line]] = {}
    for line in sorted(lines, key=lambda line: str(line["label"])):
        several = len(settings[line["label"]]) > 1
        words = "".join(f", {name} {line[name]}" for name in SETTINGS) if several else ""
        named.setdefault(f"{line['label']}{words}", []).append(line)
    return named


def _timed(line: Line, over: str) -> Point:
    ends = (line["latency_ci_low_s"], line["latency_ci_high_s"])
    return Point(float(line[over]), line["latency_p50_s"], y_ends=ends, degraded=line["quality"] == "degraded")


def _against_users(line: Line, over: str) -> Point | None:
    """Returns tokens/s of the batch over those of one user, None where throughput was not measured."""
    rate, samples = line["throughput_tokens_per_s"], line["throughput_samples_per_s"]
    if rate is None or not samples:
        return None
    low, high = line["latency_ci_low_s"], line["latency_ci_high_s"]
    of_users = (None, None) if None in (low, high) else (1 / high, 1 / low)
    ends = (line[f"throughput_ci_{end}_samples_per_s"] for end in ("low", "high"))
    of_all = tuple(None if end is None else end * rate / samples for end in ends)
    name = str(line[over])
    return Point(1 / line["latency_p50_s"], rate, of_users, (of_all[0], of_all[1]), name, line["quality"] == "degraded")


def _best(lines: Sequence[Line], over: str) -> tuple[tuple[float, float], ...]:
    """Returns the best possible time per token by place, where all machines have the same."""
    roofs: dict[float, set[float | None]] = {}
    for line in lines:
        roofs.setdefault(float(line[over]), set()).add(line["memory_roof_s"])
    known = [(place, roof) for place, (roof, *others) in sorted(roofs.items()) if roof is not None and not others]
    return tuple(known) if len(known) >= LEAST_POINTS else ()
