"""samestep report: all of it as one page, and as CSV files beside it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.cli.common import RUNS, RUNS_NAME, add_nights, nights_of, note, save

if TYPE_CHECKING:
    import pandas as pd

    from results.nights.history import History
    from results.record.samples import Collected


def add_commands(commands: Any) -> None:
    """Adds the command to a parser's subparsers."""
    parser = commands.add_parser("report", help="one HTML file of runs, or of a store and its nights")
    parser.set_defaults(made_by=_report)
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="*",
        type=Path,
        help=f"a store, for its newest night and its history; or runs and CSVs (default: {RUNS_NAME})",
    )
    parser.add_argument("--output", metavar="FILE", type=Path, required=True, help="where the page goes")
    parser.add_argument("--baseline", metavar="NAME", help="the backend that ratios refer to (default: torch_cpu)")
    add_nights(parser)
    parser.add_argument("--csv-dir", metavar="DIR", type=Path, help="also the rows, ratios, alarms and what is missing")


def _report(options: argparse.Namespace) -> str:
    from results.record.samples import Collected
    from results.show.report.page import page

    collected = Collected()
    frame, past = _read(options.runs or [RUNS], options, collected)
    note(collected.problems)
    text = page(frame, past, options.baseline, collected.samples, collected.services)
    save(options.output, text, options)
    files = _write_csvs(options, frame, past) if options.csv_dir is not None else []
    beside = f" and {', '.join(files)} in {options.csv_dir}" if files else ""
    return f"{len(frame)} rows, {len(text.encode()) / 1e6:.2f} MB: {options.output}{beside}"


def _read(paths: list[Path], options: argparse.Namespace, collected: Collected) -> tuple[pd.DataFrame, History | None]:
    """Returns the rows to report, and the nights where one store was named; samples are `collected` on the way.

    Of a store they are those of its last night alone: older ones never stand in for a machine that was away, and where
    all were, there is none. Raises ValueError where runs were named, and an option that only a store can follow.
    """
    from results.nights.nights import rows_of_runs
    from results.record.read import is_run, read_rows, run_folders, unnamed_results
    from results.record.services.read import split_services
    from results.tables.table import to_frame

    is_store = len(paths) == 1 and (not paths[0].exists() or (paths[0].is_dir() and not is_run(paths[0])))
    if not is_store or (paths[0].is_dir() and not run_folders(paths[0]) and unnamed_results(paths[0])):
        for name in ("until", "acknowledged", "machines"):
            if getattr(options, name) is not None:
                raise ValueError(f"--{name} is of a store's nights; expected one folder with runs in it, got runs")
        others, services = split_services(paths)
        collected.services += services
        rows, problems = read_rows(*others, on_run=collected.add)
        note(problems)
        return to_frame(rows), None
    past = nights_of(paths[0], options)
    ran = past.nights.machines()
    tonight = ran.loc[ran["night"].dt.date == past.nights.nights[-1], "run_id"].tolist()
    frame = rows_of_runs(paths[0], tonight, on_run=collected.add)
    for folder in run_folders(paths[0]) if paths[0].is_dir() else ():  # the rows of some may have come from columns
        if folder.name in tonight:
            collected.add_folder(folder)
    return frame, past


def _write_csvs(options: argparse.Namespace, frame: pd.DataFrame, past: History | None) -> list[str]:
    """Writes the tables of the page into --csv-dir, and returns their names."""
    from results.tables.frames import to_csv
    from results.tables.means import means_by_machine
    from results.tables.phases import phases

    folder: Path = options.csv_dir
    folder.mkdir(parents=True, exist_ok=True)
    means = means_by_machine(frame, "latency_p50_s", options.baseline)
    made = {"rows": frame, "phases": phases(frame), "means": means}
    if past is not None:
        made |= {
            "alarms": past.alarms,
            "missing-machines": past.missing_machines,
            "missing-cells": past.missing_cells,
        }
    for name, table in made.items():
        save(folder / f"{name}.csv", to_csv(table), options)
    return [f"{name}.csv" for name in made]
