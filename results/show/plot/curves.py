"""Curves of what generates, for a README or a paper: a panel per model, a line per backend, logarithmic axes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from results.record.dimensions import PLAIN_PRECISION
from results.record.files import ResultsError
from results.show.plot.places import places
from results.show.plot.style import COLOURS, FONT_PT, GRID, HOLLOW, INK, LETTER_INCH, MARKERS, drawing
from results.show.plot.ticks import LINES_PER_TICK, log_ends, rate_tick, ticks_of, time_tick
from results.show.tokens.curves import BATCH, DEPTH, INTERACTIVITY, Chart, Point, charts
from results.tables.table import is_verified, placed, to_rows

TITLES = {
    DEPTH: "Time per token over the depth of the cache",
    BATCH: "Time per token over the batch",
    INTERACTIVITY: "Throughput against interactivity, from batch to batch",
}
AXES = {
    DEPTH: ("tokens in the cache", "time per token"),
    BATCH: ("sequences in the batch", "time per token"),
    INTERACTIVITY: ("tokens/s of one user", "tokens/s of all"),
}
NOTES = {
    DEPTH: "Each sequence of the batch gets a token in that time.",
    BATCH: "Each sequence of the batch gets a token in that time.",
    INTERACTIVITY: "Numbers: the batch. Up: more tokens from the device. Right: more for each user.",
}
LINES = "Lines: 95 % intervals, where they are wider than the marker."
BEST = "best possible"
BEST_NOTE = "Best possible: weights and cache once at the memory's bandwidth."
PANEL_INCH, PER_ROW, NARROWEST_INCH = 2.3, 2, 3.0
LINE_INCH = 1.5 * FONT_PT / 72


def plot_curves(frame: pd.DataFrame, path: Path, show: str, width_inch: float) -> str:
    """Draws the newest verified steps that generate into `path`, and returns what it shows, in a line.

    `show` is `depth`, `batch` or `interactivity`. Raises ValueError for a width that is too small, ResultsError where
    no backend has two points of one curve, for another ending and where matplotlib is not installed.
    """
    found = charts(frame, show)
    if not found:
        over = DEPTH if show == DEPTH else BATCH
        raise ResultsError(f"no curve: no backend has verified decode steps at two values of {over}; run --{over} A,B")
    if not width_inch >= NARROWEST_INCH:
        raise ValueError(f"cannot draw curves {width_inch:g} inch wide; expected {NARROWEST_INCH:g} or more")
    _draw(found, frame, path, show, width_inch)
    points = sum(len(curve.points) for chart in found for curve in chart.curves)
    left_out = sum(chart.left_out for chart in found)
    without = f"; of other work, and left out: {left_out}" if left_out else ""
    return f"{points} numbers in {sum(len(chart.curves) for chart in found)} curves{without}: {path}"


def _draw(found: Sequence[Chart], frame: pd.DataFrame, path: Path, show: str, width_inch: float) -> None:
    per_row = min(PER_ROW if width_inch >= PER_ROW * NARROWEST_INCH else 1, len(found))
    n_rows = math.ceil(len(found) / per_row)
    names = sorted({curve.label for chart in found for curve in chart.curves})
    styles = {name: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(names)}
    letters = int(width_inch / LETTER_INCH)
    notes = [part for note in _notes(found, frame, show) for part in textwrap.wrap(note, letters)]
    is_roofed = any(chart.best for chart in found)
    legend_rows = math.ceil((len(names) + is_roofed) / max(1, int(width_inch / 1.6)))
    height_inch = PANEL_INCH * n_rows + LINE_INCH * (len(notes) + legend_rows + 3)
    with drawing(path, (width_inch, height_inch), font_pt=FONT_PT, dpi=220) as figure:
        grid = figure.subplots(n_rows, per_row, squeeze=False)
        panel_inch = (width_inch / per_row - 0.7, PANEL_INCH - 0.7)
        for axes, chart in zip(grid.flat, found, strict=False):
            _panel(axes, chart, styles, panel_inch)
        for axes in grid.flat[len(found) :]:
            axes.set_axis_off()
        handles = [_handle(grid.flat[0], *styles[name], name) for name in names]
        if is_roofed:
            handles += grid.flat[0].plot([], [], "--", color=INK, lw=0.9, label=BEST)
        columns = math.ceil(len(handles) / legend_rows)
        # A title of the figure would lie on a legend outside of it: the layout knows of one of them only.
        heading = {"size": FONT_PT + 1, "weight": "bold"}
        look = {"frameon": False, "alignment": "left", "title_fontproperties": heading}
        figure.legend(handles=handles, loc="outside upper left", ncols=columns, title=TITLES[show], **look)
        figure.supxlabel("\n".join(notes), x=0.01, ha="left", fontsize=FONT_PT, color=INK, parse_math=False)


def _handle(axes: Any, colour: str, marker: str, name: str) -> Any:
    return axes.plot([], [], marker=marker, color=colour, mec=colour, mfc=colour, ms=4, lw=1.2, label=name)[0]


def _panel(axes: Any, chart: Chart, styles: dict[str, tuple[str, str]], inch: tuple[float, float]) -> None:
    points = [point for curve in chart.curves for point in curve.points]
    axes.set_title(chart.title, loc="left", fontsize=FONT_PT, pad=3, parse_math=False)
    axes.set_xscale("log")
    axes.set_yscale("log")
    x_name, y_name = AXES[chart.show]
    axes.set_xlabel(x_name, labelpad=2)
    axes.set_ylabel(y_name, labelpad=2)
    y_limits = log_ends([*(end for point in points for end in (point.y, *point.y_ends)), *(y for _, y in chart.best)])
    x_limits = log_ends([end for point in points for end in (point.x, *point.x_ends)])
    axes.set_xlim(*x_limits)
    axes.set_ylim(*y_limits)
    axes.minorticks_off()
    _ticks(axes, chart, points, x_limits, y_limits, inch)
    axes.tick_params(length=0, pad=2)
    axes.grid(True, color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_color(GRID)
    if chart.best:
        axes.plot(*zip(*chart.best, strict=True), "--", color=INK, lw=0.9)
    for curve in chart.curves:
        _curve(axes, curve.points, *styles[curve.label])


def _ticks(
    axes: Any,
    chart: Chart,
    points: Sequence[Point],
    x_limits: tuple[float, float],
    y_limits: tuple[float, float],
    inch: tuple[float, float],
) -> None:
    says = rate_tick if chart.show == INTERACTIVITY else time_tick
    y_ticks = ticks_of(*y_limits, inch[1] * LINES_PER_TICK)
    axes.set_yticks(y_ticks, [says(tick) for tick in y_ticks])
    if chart.show == INTERACTIVITY:
        x_ticks = ticks_of(*x_limits, inch[0])
        axes.set_xticks(x_ticks, [rate_tick(tick) for tick in x_ticks])
        return
    measured = sorted({point.x for point in points})
    shown = [place for number, place in enumerate(measured) if number % math.ceil(len(measured) / 8) == 0]
    axes.set_xticks(shown, [f"{place:g}" for place in shown])


def _curve(axes: Any, points: Sequence[Point], colour: str, marker: str) -> None:
    axes.plot([point.x for point in points], [point.y for point in points], "-", color=colour, lw=1.2)
    for point in points:
        if None not in point.y_ends:
            axes.plot([point.x, point.x], point.y_ends, "-", color=colour, lw=1.0, solid_capstyle="butt")
        if None not in point.x_ends:
            axes.plot(point.x_ends, [point.y, point.y], "-", color=colour, lw=1.0, solid_capstyle="butt")
        face = "white" if point.degraded else colour
        axes.plot([point.x], [point.y], marker, mec=colour, mfc=face, ms=4, mew=1)
        if point.name:
            place = {"xytext": (4, 3), "textcoords": "offset points"}
            axes.annotate(point.name, (point.x, point.y), color=INK, fontsize=FONT_PT - 1, **place)


def _notes(found: Sequence[Chart], frame: pd.DataFrame, show: str) -> list[str]:
    points = [point for chart in found for curve in chart.curves for point in curve.points]
    rows = placed(frame)
    lines = to_rows(rows[is_verified(rows) & rows["depth"].notna()].assign(is_verified=True))
    plain = f"; {PLAIN_PRECISION} where no other precision is named"
    said = [NOTES[show], LINES if any(None not in point.y_ends for point in points) else ""]
    said += [BEST_NOTE if any(chart.best for chart in found) else "", HOLLOW if any(p.degraded for p in points) else ""]
    return [" ".join(filter(None, said)), f"Measured on {'; '.join(places(lines))}{plain}."]
