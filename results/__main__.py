"""python -m results table, parts, ab, operators, roofline: what comes of runs that are on disk."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from results.csvfile import write_csv
from results.files import ResultsError
from results.read import read_rows
from results.row import Row
from results.run import latest_run, read_run

RUNS = Path(__file__).resolve().parent / "runs"
"""Where `pytest bench/` keeps its runs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, or 2 after saying what is wrong."""
    options = _parser().parse_args(arguments)
    # A reason can hold any character, and a terminal may not.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    try:
        print(options.made_by(options))
    except (ResultsError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m results", description="Tables of what was measured.")
    commands = parser.add_subparsers(required=True)
    table = commands.add_parser("table", help="numbers beside each other, ratios, reasons")
    table.set_defaults(made_by=_table)
    parts = commands.add_parser("parts", help="what a step consists of, what its start takes, and what it holds")
    parts.set_defaults(made_by=_parts)
    for command in (table, parts):
        command.add_argument(
            "runs",
            metavar="RUN",
            nargs="*",
            type=Path,
            help=f"a run's folder, a journal, a CSV of results, or a folder of runs "
            f"(default: the newest in {RUNS.name}/)",
        )
    table.add_argument("--baseline", metavar="NAME", help="the backend that ratios refer to (default: torch_cpu)")
    table.add_argument(
        "--metric", metavar="COLUMN", action="append", help="a numeric column to show (default: latency, throughput)"
    )
    table.add_argument("--csv", metavar="FILE", type=Path, help="also write the rows as CSV")
    ab = commands.add_parser("ab", help="two settings of one run held against each other, in pairs of launches")
    ab.set_defaults(made_by=_ab)
    ab.add_argument("run", metavar="RUN", nargs="?", type=Path, help="a run's folder or journal (default: the newest)")
    ab.add_argument("--csv", metavar="FILE", type=Path, help="also write each comparison as a line of CSV")
    roofline = commands.add_parser("roofline", help="what each step reached under what its chip can do, as a plot")
    roofline.set_defaults(made_by=_roofline)
    roofline.add_argument("run", metavar="RUN", nargs="?", type=Path, help="a run's folder (default: the newest)")
    roofline.add_argument(
        "--output", metavar="FILE", type=Path, help="an .svg or .png (default: roofline.svg in the run's folder)"
    )
    columns = commands.add_parser("columns", help="what each column is, as Markdown: docs/reading-the-numbers.md")
    columns.set_defaults(made_by=_columns)
    operators = commands.add_parser("operators", help="where the time of a step goes, by kind of operator")
    operators.set_defaults(made_by=_operators)
    operators.add_argument(
        "run",
        metavar="RUN",
        nargs="?",
        type=Path,
        help=f"a run's folder or journal (default: the newest in {RUNS.name}/)",
    )
    operators.add_argument(
        "--names", metavar="N", type=int, default=0, help="also the N slowest by the runtime's names"
    )
    operators.add_argument("--csv", metavar="FILE", type=Path, help="also write each operator as a line of CSV")
    return parser


def _rows(options: argparse.Namespace) -> tuple[Row, ...]:
    """Returns the rows of the runs that were named, after saying what was forgiven in them."""
    rows, problems = read_rows(*(options.runs or [latest_run(RUNS)]))
    for problem in problems:
        print(f"note: {problem}", file=sys.stderr)
    return rows


def _parts(options: argparse.Namespace) -> str:
    rows = _rows(options)

    from results.parts import render_parts
    from results.table import to_frame

    return render_parts(to_frame(rows), shutil.get_terminal_size((120, 40)).columns)


def _table(options: argparse.Namespace) -> str:
    """Returns the text of `table`, after writing its CSV."""
    rows = _rows(options)

    from results.render import METRICS, render
    from results.table import label_of, placed, to_frame

    frame = to_frame(rows)
    if options.baseline is not None and rows:
        label_of(placed(frame), options.baseline)
    text = render(frame, options.baseline, options.metric or METRICS, shutil.get_terminal_size((120, 40)).columns)
    if options.csv is not None:
        write_csv(rows, options.csv)
    return text


def _ab(options: argparse.Namespace) -> str:
    """Returns the text of `ab`, after writing its CSV."""
    from results.pairs import pairs_of, render_pairs, write_pairs

    comparisons = pairs_of(read_run(options.run or latest_run(RUNS)))
    if options.csv is not None:
        write_pairs(comparisons, options.csv)
    return render_pairs(comparisons, shutil.get_terminal_size((120, 40)).columns)


def _roofline(options: argparse.Namespace) -> str:
    """Draws the plot and returns where it is."""
    from results.roofline import plot_roofline
    from results.table import to_frame

    path = options.run or latest_run(RUNS)
    rows, problems = read_rows(path)
    for problem in problems:
        print(f"note: {problem}", file=sys.stderr)
    folder = path if path.is_dir() else path.parent
    return plot_roofline(to_frame(rows), options.output or folder / "roofline.svg")


def _columns(options: argparse.Namespace) -> str:
    """Returns the page."""
    from results.columns import page

    return page().rstrip()


def _operators(options: argparse.Namespace) -> str:
    """Returns the text of `operators`, after writing its CSV."""
    from results.operators import render_operators, write_operators_csv

    run = read_run(options.run or latest_run(RUNS))
    for problem in run.problems:
        print(f"note: {problem}", file=sys.stderr)
    if options.csv is not None:
        write_operators_csv(run, options.csv)
    return render_operators(run, options.names, shutil.get_terminal_size((120, 40)).columns)


if __name__ == "__main__":
    sys.exit(main())
