"""What the commands that read runs share: runs in, tables out, and the exit status."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from results.record.files import NO_ROOM, ResultsError, write_atomic
from results.record.read import OnRun, read_rows
from results.record.row import Row
from results.record.run import latest_run
from results.record.services.read import split_services

if TYPE_CHECKING:
    import pandas as pd

    from results.nights.history import History

RUNS = Path(__file__).resolve().parent.parent / "runs"
"""Where `samestep run` keeps its runs."""
RUNS_NAME = "results/runs/ of the checkout"
FORMS = ("csv", "json", "markdown")
RUN_HELP = f"a run's folder, a journal, a CSV of results, or a folder of runs (default: the newest in {RUNS_NAME})"


class FailOnMet(Exception):
    """`--fail-on` names something that is in the results: the text is printed as any other, the exit status is 1."""


def add_runs(parser: argparse.ArgumentParser, text: str = RUN_HELP) -> None:
    """Adds RUN…, which `rows_of` reads."""
    parser.add_argument("runs", metavar="RUN", nargs="*", type=Path, help=text)


def rows_of(paths: Sequence[Path], on_run: OnRun | None = None) -> tuple[Row, ...]:
    """Returns the rows of the paths, of the newest run where there are none, after saying what was forgiven.

    `on_run` is shown each run whose journal is read.
    """
    rows, problems = read_rows(*(paths or [latest_run(RUNS)]), on_run=on_run)
    note(problems)
    return rows


def rows_and_services(paths: Sequence[Path]) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Returns the rows of the paths and those of services, which are in runs and in files of their own.

    Of the newest run where there are none, after saying what was forgiven.
    """
    others, services = split_services(paths)
    rows = rows_of(others, on_run=lambda run: services.extend(run.services)) if others or not paths else ()
    return rows, tuple(services)


def add_nights(parser: argparse.ArgumentParser) -> None:
    """Adds which nights of a store to look at, and the lists kept by hand beside it, which `nights_of` reads."""
    parser.add_argument("--window", metavar="N", type=int, default=90, help="how many nights to look at (default: 90)")
    parser.add_argument(
        "--until", metavar="DAY", type=date.fromisoformat, help="the last of them (default: the newest)"
    )
    parser.add_argument("--acknowledged", metavar="FILE", type=Path, help="default: acknowledged.csv in the store")
    parser.add_argument(
        "--machines", metavar="FILE", type=Path, help="expected ones; default: machines.txt in the store"
    )


def nights_of(store: Path | str, options: argparse.Namespace) -> History:
    """Returns the history of the store's nights that were asked for, after saying what was left out."""
    from results.nights.history import history

    nights = history(store, options.window, options.until, options.acknowledged, options.machines)
    note(nights.problems)
    return nights


def note(problems: Sequence[str]) -> None:
    """Says on stderr what was forgiven, or left out."""
    for problem in problems:
        print(f"note: {problem}", file=sys.stderr)


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Adds --csv, --json and --markdown, which `write_outputs` serves."""
    for form in FORMS:
        parser.add_argument(f"--{form}", metavar="FILE", type=Path, help=f"also write the table as {form.upper()}")


def write_outputs(frame: pd.DataFrame, options: argparse.Namespace) -> None:
    """Writes the frame, tidy and in SI units, into the files that were asked for."""
    from results.tables.frames import to_csv, to_json, to_markdown

    for form, made in zip(FORMS, (to_csv, to_json, to_markdown), strict=True):
        path = getattr(options, form)
        if path is not None:
            save(path, made(frame), options)


def save(path: Path, content: str, options: argparse.Namespace) -> None:
    """Writes a file beside what the command prints. One for which there is no room costs neither that nor the others.

    `raise_unwritten` says it in the end. Raises OSError for any other reason.
    """
    try:
        write_atomic(path, content)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        note_unwritten(f"cannot write {path}: {error.strerror}", options)


def note_unwritten(reason: str, options: argparse.Namespace) -> None:
    """Keeps why a file of the command is missing until its text is printed: `raise_unwritten` says it then."""
    options.unwritten = [*getattr(options, "unwritten", ()), reason]


def raise_unwritten(options: argparse.Namespace) -> None:
    """Raises ResultsError where a file of the command could not be made: a full disk, or nothing to draw."""
    if reasons := getattr(options, "unwritten", ()):
        raise ResultsError("; ".join(reasons))


def width() -> int:
    """Returns how many characters a line has."""
    return shutil.get_terminal_size((120, 40)).columns
