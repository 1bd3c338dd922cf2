"""The command that hands numbers to other tools: export."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from results.cli.common import add_runs, note, rows_of
from results.record.files import write_atomic
from results.record.row import Row
from results.record.run import Run
from results.tables.export import Exported, export_bencher, export_github
from results.tables.pytest_json import export_pytest

# The latency is a time and smaller is better; throughput is a rate.
OF_ROWS: dict[str, Callable[[Sequence[Row]], Exported]] = {
    "github-action-benchmark-smaller": partial(export_github, metric="latency_p50_s"),
    "github-action-benchmark-bigger": partial(export_github, metric="throughput_samples_per_s"),
    "bencher": export_bencher,
}
PYTEST = "pytest-benchmark"


def add_commands(commands: Any) -> None:
    """Adds the command to a parser's subparsers."""
    export = commands.add_parser("export", help="verified numbers as a file of another tool's format")
    export.set_defaults(made_by=_export)
    add_runs(export)
    export.add_argument("--format", required=True, choices=(*OF_ROWS, PYTEST), help="whose format")
    export.add_argument("--output", metavar="FILE", type=Path, required=True, help="the file to write")


def _export(options: argparse.Namespace) -> str:
    """Writes the file and returns what is in it, after saying what is not."""
    runs: list[Run] = []
    rows = rows_of(options.runs, runs.append)
    made = export_pytest(rows, runs) if options.format == PYTEST else OF_ROWS[options.format](rows)
    note(made.notes)
    write_atomic(options.output, made.text)
    return f"{options.output}: {made.benchmarks} benchmarks for {options.format}"
