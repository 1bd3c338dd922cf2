"""The command that draws the numbers of runs: plot."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from results.cli.common import add_runs, rows_of
from results.show.plot.style import PAGE_INCH


def add_commands(commands: Any) -> None:
    """Adds the command to a parser's subparsers."""
    parser = commands.add_parser("plot", help="latency, throughput, phases, precisions, curves: an SVG or PNG")
    parser.set_defaults(made_by=_plot)
    add_runs(parser)
    parser.add_argument("--output", metavar="FILE", type=Path, required=True, help="an .svg or .png (extra: reports)")
    parser.add_argument(
        "--show",
        metavar="WHAT",
        default="latency",
        help="latency, throughput, phases, precisions; depth, batch or interactivity of decode (default: latency)",
    )
    parser.add_argument(
        "--width",
        metavar="INCHES",
        type=float,
        default=PAGE_INCH,
        help=f"on paper, where letters have 7 points (default: {PAGE_INCH:g})",
    )


def _plot(options: argparse.Namespace) -> str:
    """Draws the plot and returns what it shows."""
    rows = rows_of(options.runs)

    from results.show.plot.figure import plot
    from results.tables.table import to_frame

    return plot(to_frame(rows), options.output, options.show, options.width)
