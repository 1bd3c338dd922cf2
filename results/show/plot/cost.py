"""Cumulative cost over days of serving: the training as a step at day 0, the serving as a line, where they meet."""

import textwrap
from pathlib import Path
from typing import Any

import pandas as pd

from results.record.dimensions import SETTINGS
from results.record.files import ResultsError
from results.show.cost_text import NEVER, day_words, demand_words
from results.show.phases_text import mark, marks, step_words
from results.show.plot.style import COLOURS, GRID, INK, drawing
from results.tables.cost import HORIZON_DAYS, Demand
from results.tables.phases import STEP
from results.tables.table import to_rows

SOURCE_WIDTH = 150
"""Characters of the small print in a line."""
MARGIN = 1.25
"""Days shown, relative to the latest break-even."""
QUALITIES = ("train_quality", "infer_quality")


def plot_costs(costed: pd.DataFrame, demand: Demand, path: Path) -> str:
    """Draws the costs of one step into `path`, an .svg or .png, and returns what it shows, in a line.

    Raises ResultsError where several steps meet, where no backend has both costs, and where matplotlib is missing.
    """
    rows = [row for row in to_rows(costed) if row["breakeven_days"] is not None]
    if not rows:
        raise ResultsError("no backend has the cost of both training and serving: nothing to draw; the table says why")
    # Machines have different numbers of threads; beside each other they say how many.
    for name in SETTINGS:
        if len({row[name] for row in rows}) > 1:
            rows = [row | {name: None, "backend": f"{row['backend']}, {name} {row[name]}"} for row in rows]
    steps = {tuple(row[name] for name in STEP) for row in rows}
    if len(steps) > 1:
        names = "; ".join(sorted({step_words(row) for row in rows}))
        raise ResultsError(f"expected one step, got {names}: choose by --workload, --size, --precision or --batch")
    with drawing(path, (10, 6.5)) as figure:
        axes = figure.subplots()
        _lines(axes, rows)
        axes.set_title(f"{step_words(rows[0])}\n{demand_words(demand)}", fontsize=10)
        axes.set_xlabel("days of serving")
        axes.set_ylabel("cumulative cost, USD")
        axes.grid(True, color=GRID)
        axes.set_axisbelow(True)
        axes.legend(loc="upper left", fontsize=9)
        cited = dict.fromkeys(
            f"{row['price']}, {row['usd_per_hour']:.4g} USD per hour of one device: {row['price_source']}, "
            f"read {row['price_retrieved']} ({row['price_confidence']})"
            for row in rows
        )
        lines = [part for line in cited for part in textwrap.wrap(line, SOURCE_WIDTH)]
        lines += marks([mark(row, *QUALITIES) for row in rows], SOURCE_WIDTH).splitlines()
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7, color=INK, parse_math=False)
    left_out = len(costed) - len(rows)
    without = f" (without both costs, and left out: {left_out})" if left_out else ""
    return f"{len(rows)} backends, serving against training{without}: {path}"


def _lines(axes: Any, rows: list[Any]) -> None:
    """Draws, for each backend, the training dashed, the serving solid, and a point with the day where they meet."""
    last = min(MARGIN * max(row["breakeven_days"] for row in rows), HORIZON_DAYS)
    for number, row in enumerate(rows):
        colour = COLOURS[number % len(COLOURS)]
        train, per_day, days = row["train_usd"], row["serving_usd_per_day"], row["breakeven_days"]
        axes.plot([0, 0, last], [0, train, train], "--", color=colour, lw=1.2)
        is_never = row["breakeven_day"] is None
        label = row["backend"] + mark(row, *QUALITIES) + (f", {NEVER}" if is_never else "")
        axes.plot([0, last], [0, per_day * last], "-", color=colour, lw=1.8, label=label)
        if is_never:
            continue
        axes.plot([days], [train], "o", color=colour, ms=6)
        axes.annotate(
            f"day {day_words(row, *QUALITIES)}",
            (days, train),
            xytext=(4, -11),
            textcoords="offset points",
            fontsize=9,
            color=INK,
        )
    axes.plot([], [], "--", color="#555555", label="training, once")
    axes.plot([], [], "-", color="#555555", label="serving")
    axes.set_xlim(0, last)
    axes.set_ylim(0, None)
