"""The commands that read one run at a time: table, precisions, parts, ab, operators, roofline; and columns."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from results.cli.common import (
    RUNS,
    RUNS_NAME,
    add_outputs,
    add_runs,
    note,
    rows_and_services,
    rows_of,
    width,
    write_outputs,
)
from results.record.read import read_rows
from results.record.run import latest_run, read_run

ONE_RUN = f"a run's folder or journal (default: the newest in {RUNS_NAME})"


def add_commands(commands: Any) -> None:
    """Adds the commands to a parser's subparsers."""
    table = commands.add_parser("table", help="numbers beside each other, ratios, reasons")
    table.set_defaults(made_by=_table)
    add_runs(table)
    table.add_argument("--baseline", metavar="NAME", help="the backend that ratios refer to (default: torch_cpu)")
    table.add_argument(
        "--metric", metavar="COLUMN", action="append", help="a numeric column to show (default: latency, throughput)"
    )
    table.add_argument(
        "--beside-services", action="store_true", help="also set services, which are not verified, beside decode steps"
    )
    add_outputs(table)
    precisions = commands.add_parser("precisions", help="what a lower precision brings: time, error, arithmetic")
    precisions.set_defaults(made_by=_precisions)
    add_runs(precisions)
    add_outputs(precisions)
    parts = commands.add_parser("parts", help="what a step consists of, what its start takes, and what it holds")
    parts.set_defaults(made_by=_parts)
    add_runs(parts)
    ab = commands.add_parser("ab", help="two settings of one run compared, in pairs of launches")
    ab.set_defaults(made_by=_ab)
    _add_run(ab)
    add_outputs(ab)
    roofline = commands.add_parser("roofline", help="what each step reached under what its chip can do, as a plot")
    roofline.set_defaults(made_by=_roofline)
    _add_run(roofline)
    roofline.add_argument(
        "--output", metavar="FILE", type=Path, help="an .svg or .png (default: roofline.svg in the run's folder)"
    )
    operators = commands.add_parser("operators", help="where the time of a step goes, by kind of operator")
    operators.set_defaults(made_by=_operators)
    _add_run(operators)
    operators.add_argument(
        "--names", metavar="N", type=int, default=0, help="also the N slowest by the runtime's names"
    )
    add_outputs(operators)
    columns = commands.add_parser("columns", help="what each column is, as Markdown: docs/reading-the-numbers.md")
    columns.set_defaults(made_by=_columns)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", nargs="?", type=Path, help=ONE_RUN)


def _parts(options: argparse.Namespace) -> str:
    rows = rows_of(options.runs)

    from results.show.parts import render_parts
    from results.tables.table import to_frame

    return render_parts(to_frame(rows), width())


def _precisions(options: argparse.Namespace) -> str:
    """Returns the text of `precisions`, after writing its files."""
    rows = rows_of(options.runs)

    from results.show.precisions_text import precisions_text
    from results.tables.precisions import precisions
    from results.tables.table import to_frame

    found = precisions(to_frame(rows))
    write_outputs(found, options)
    return precisions_text(found, width())


def _table(options: argparse.Namespace) -> str:
    """Returns the text of `table`, after writing its files."""
    rows, services = rows_and_services(options.runs)

    from results.show.render import render
    from results.show.services.text import beside_text, services_text
    from results.tables.table import label_of, placed, to_frame

    frame = to_frame(rows)
    if options.baseline is not None and rows:
        label_of(placed(frame), options.baseline)
    text = render(frame, options.baseline, options.metric, width()) if rows or not services else ""
    write_outputs(frame, options)
    beside = beside_text(services, rows, width()) if options.beside_services else ""
    return "\n\n".join(block for block in (text, services_text(services, width(), options.baseline), beside) if block)


def _ab(options: argparse.Namespace) -> str:
    """Returns the text of `ab`, after writing its files."""
    run = read_run(options.run or latest_run(RUNS))

    from results.show.pairs import render_pairs
    from results.tables.pairs import pairs_frame, pairs_of

    comparisons = pairs_of(run)
    write_outputs(pairs_frame(comparisons), options)
    return render_pairs(comparisons, width())


def _roofline(options: argparse.Namespace) -> str:
    """Draws the plot and returns where it is."""
    path = options.run or latest_run(RUNS)
    rows, problems = read_rows(path)
    note(problems)

    from results.show.plot.roofline import plot_roofline
    from results.tables.table import to_frame

    folder = path if path.is_dir() else path.parent
    return plot_roofline(to_frame(rows), options.output or folder / "roofline.svg")


def _columns(options: argparse.Namespace) -> str:
    """Returns the page."""
    from results.show.columns import page

    return page().rstrip()


def _operators(options: argparse.Namespace) -> str:
    """Returns the text of `operators`, after writing its files."""
    run = read_run(options.run or latest_run(RUNS))
    note(run.problems)

    from results.show.operators import render_operators
    from results.tables.operators import operators_frame

    write_outputs(operators_frame(run), options)
    return render_operators(run, options.names, width())
