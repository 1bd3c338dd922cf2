"""The numbers of runs as a figure for a README or a paper: a panel per cell, a row per backend, logarithmic axes."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from results.record.dimensions import PLAIN_PRECISION
from results.record.files import ResultsError
from results.show.plot.curves import plot_curves
from results.show.plot.dots import Dot, Panel, Shown, dots_of
from results.show.plot.places import places
from results.show.plot.style import COLOURS, FONT_PT, GRID, HOLLOW, INK, LETTER_INCH, MARKERS, PAGE_INCH, drawing
from results.show.plot.ticks import rate_tick, ratio_tick, ticks_of, time_tick
from results.show.tokens.curves import SHOWN

TITLES = {
    "latency": "Latency: median time of one step, with one step in flight",
    "throughput": "Throughput: samples per second with the device kept full",
    "phases": "Training / inference: time of a sample, with the device kept full",
    "precisions": "What a lower precision brings: times as fast as fp32 on the same backend",
}
NOTES = {
    "latency": "Line: 95 % interval of the median, where it is wider than the marker.",
    "throughput": "",
    "phases": "3x: a sample takes three times as long in training.",
    "precisions": (
        "Line: 95 % interval. Left of 1x: slower than fp32. e: computed in a wider type. dB: how near the outputs of a "
        "model in 8 bits lie to fp32's."
    ),
}
SCALE = "Equal distances are equal ratios, in all panels."
TICKS = {"latency": time_tick, "throughput": rate_tick, "phases": ratio_tick, "precisions": ratio_tick}

LINE_INCH = 1.5 * FONT_PT / 72
ROW_INCH, PANEL_INCH = 0.16, 0.42
"""Height of a backend's row, and of what a panel has beside its rows and its title."""
NARROWEST_INCH, LEAST_INCH, MOST_INCH = 1.9, 1.2, 40.0
"""Panels that would be narrower than the first are set under each other; none is narrower than the second."""
LEAST_RATIO = 1.6
"""An axis spans no less, so that 1 % does not look like a difference."""
MARGIN = 0.16
"""Of an axis, beyond its numbers, on both sides together."""


def plot(frame: pd.DataFrame, path: Path, show: str = "latency", width_inch: float = PAGE_INCH) -> str:
    """Draws the newest verified numbers into `path`, an .svg or .png, and returns what it shows, in a line.

    `show` is `latency` (s), `throughput` (samples/s), `phases` (time in training / in inference), `precisions`
    (times as fast as fp32), or one of the curves of `results.show.tokens.curves`: `depth`, `batch` and
    `interactivity`; `width_inch` is the width on paper (inch, 0.0254 m) at which letters have 7 points. A number
    that was disturbed is hollow; a cell without a number has a word in its place; backends that nothing here could
    run are named below.

    Raises ValueError for another `show` and for a width that is too small or too large; ResultsError where there is no
    verified number, for a name with another ending, and where matplotlib is not installed.
    """
    if show in SHOWN:
        return plot_curves(frame, path, show, width_inch)
    shown = dots_of(frame, show)
    dots = [dot for cell in shown.panels for panel in cell for dot in panel.dots]
    numbers = [dot for dot in dots if dot.value is not None]
    if not numbers:
        raise ResultsError(f"no verified number to show in {len(frame)} rows: samestep table RUN says why")
    labels_inch = LETTER_INCH * max(len(dot.label) for dot in dots)
    least = math.ceil(10 * (labels_inch + LEAST_INCH)) / 10
    if not least <= width_inch <= MOST_INCH:
        raise ValueError(f"cannot draw these names {width_inch:g} inch wide; expected {least:g} to {MOST_INCH:g}")
    _draw(shown, show, path, width_inch, width_inch - labels_inch)
    words = [f"{len(numbers)} numbers"]
    if missing := len(dots) - len(numbers):
        words.append(f"cells without one: {missing}")
    if shown.absent:
        words.append(f"backends that could not run here: {len(shown.absent)}")
    return f"{'; '.join(words)}: {path}"


def _draw(shown: Shown, show: str, path: Path, width_inch: float, room_inch: float) -> None:
    rows = _arranged(shown.panels, room_inch)
    panels = [panel for row in rows for panel in row if panel]
    panel_inch = room_inch / len(rows[0])
    titles = {panel: _wrapped(panel.title, int(panel_inch / LETTER_INCH)) for panel in panels}
    limits = _limits(panels, shared=show in ("phases", "precisions"))
    styles = _styles(panels)
    heading = textwrap.wrap(TITLES[show], int(width_inch / (1.3 * LETTER_INCH)))
    notes = _notes(shown, show, int(width_inch / LETTER_INCH))
    most = [max(len(panel.dots) for panel in row if panel) for row in rows]
    titled = sum(max(len(titles[panel]) for panel in row if panel) for row in rows)
    height_inch = ROW_INCH * sum(most) + PANEL_INCH * len(rows) + LINE_INCH * (titled + len(heading) + len(notes))
    with drawing(path, (width_inch, height_inch), font_pt=FONT_PT, dpi=220) as figure:
        grid = figure.subplots(len(rows), len(rows[0]), squeeze=False, height_ratios=most)
        for of_row, row in zip(grid, rows, strict=True):
            for axes, panel in zip(of_row, row, strict=True):
                if panel is None:
                    axes.set_axis_off()
                    continue
                axes.set_title("\n".join(titles[panel]), loc="left", fontsize=FONT_PT, pad=3, parse_math=False)
                _axes(axes, limits[panel])
                if show == "precisions":
                    axes.axvline(1, color=INK, lw=0.8, zorder=0.5)
                ticks = ticks_of(*limits[panel], panel_inch)
                axes.set_xticks(ticks, [TICKS[show](tick) for tick in ticks])
                # Panels beside each other have the same backends, which are named once.
                named = axes is of_row[0]
                labels = [dot.label if named else "" for dot in panel.dots]
                axes.set_yticks(range(len(labels)), labels, parse_math=False)
                axes.set_ylim(len(labels) - 0.5, -0.5)
                for place, dot in enumerate(panel.dots):
                    _dot(axes, place, dot, *styles[dot.backend])
        figure.suptitle("\n".join(heading), x=0.01, ha="left", fontsize=FONT_PT + 1, fontweight="bold")
        figure.supxlabel("\n".join(notes), x=0.01, ha="left", fontsize=FONT_PT, color=INK, parse_math=False)


def _arranged(cells: Sequence[Sequence[Panel]], room_inch: float) -> list[list[Panel | None]]:
    """Returns the panels in rows: a cell's phases beside each other where there is room, else under each other.

    Cells that have fewer phases than others share a row where they have the same backends, which are named once in it.
    """
    columns = max(len(cell) for cell in cells)
    if room_inch / columns < NARROWEST_INCH:
        return [[panel] for cell in cells for panel in cell]
    rows: list[list[Panel]] = []
    for cell in cells:
        fits = bool(rows) and len(rows[-1]) + len(cell) <= columns
        if fits and _names(rows[-1][0]) == _names(cell[0]):
            rows[-1] += cell
        else:
            rows.append(list(cell))
    return [[*row, *[None] * (columns - len(row))] for row in rows]


def _names(panel: Panel) -> list[str]:
    return [dot.label for dot in panel.dots]


def _limits(panels: Sequence[Panel], *, shared: bool) -> dict[Panel, tuple[float, float]]:
    """Returns the ends of each panel's axis: of one ratio in all panels, and the same ends if `shared`."""
    ends = {panel: [end for dot in panel.dots for end in (dot.value, dot.low, dot.high) if end] for panel in panels}
    every = [end for of_panel in ends.values() for end in of_panel]
    # A panel of words alone has the axis of all.
    chosen = {panel: every if shared or not of_panel else of_panel for panel, of_panel in ends.items()}
    ratios = [max(of_panel) / min(of_panel) for panel, of_panel in chosen.items() if shared or ends[panel]]
    half = max(LEAST_RATIO, *ratios) ** ((1 + MARGIN) / 2)
    middles = {panel: math.sqrt(min(of_panel) * max(of_panel)) for panel, of_panel in chosen.items()}
    return {panel: (middle / half, middle * half) for panel, middle in middles.items()}


def _styles(panels: Sequence[Panel]) -> dict[str, tuple[str, str]]:
    """Returns the colour and the marker of each backend."""
    backends = sorted({dot.backend for panel in panels for dot in panel.dots})
    pairs = ((COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]) for number in range(len(backends)))
    return dict(zip(backends, pairs, strict=True))


def _axes(axes: Any, limits: tuple[float, float]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    axes.minorticks_off()
    axes.tick_params(length=0, pad=2)
    axes.grid(True, color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_color(GRID)


def _dot(axes: Any, place: int, dot: Dot, colour: str, marker: str) -> None:
    """Draws a number with its interval, or the word in its place."""
    if dot.value is None:
        behind = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.text(
            0.02,
            place,
            dot.word,
            transform=axes.get_yaxis_transform(),
            va="center",
            style="italic",
            color=INK,
            bbox=behind,
        )
        return
    if dot.low and dot.high:
        axes.plot([dot.low, dot.high], [place, place], "-", color=colour, lw=1.4, solid_capstyle="butt")
    face = "white" if dot.degraded else colour
    axes.plot([dot.value], [place], marker, mec=colour, mfc=face, ms=5, mew=1)


def _wrapped(title: str, letters: int) -> list[str]:
    """Returns the lines of a title; a batch keeps its sequence."""
    lines = textwrap.wrap(title.replace(" × ", "\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}"), letters)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def _notes(shown: Shown, show: str, letters: int) -> list[str]:
    """Returns how to read the figure, what it leaves out and where its numbers are from, in lines."""
    is_hollow = any(dot.degraded and dot.value for cell in shown.panels for panel in cell for dot in panel.dots)
    is_plain = any(row["precision"] == PLAIN_PRECISION for row in shown.rows)
    precision = f"; {PLAIN_PRECISION} where no other precision is named" if is_plain else ""
    notes = [
        " ".join(filter(None, (NOTES[show], SCALE, HOLLOW if is_hollow else ""))),
        f"Could not run here: {', '.join(shown.absent)}." if shown.absent else "",
        f"Measured on {'; '.join(places(shown.rows))}{precision}.",
    ]
    return [part for note in notes for part in textwrap.wrap(note, letters)]
