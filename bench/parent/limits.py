"""What bounds the chip, measured once a day: rows of an earlier run of the same machine, software and settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bench.cell import Cell
from bench.effort import METHOD_VERSION
from results.record.files import ResultsError
from results.record.row import cell_of, make_row
from results.record.run import find_runs, read_run
from results.record.schema import DERIVED
from workloads.catalog import LIMITS

FRESH = timedelta(days=1)
SAME = ("machine_id", "installation_id", "software_id", "samestep_version", "preset")
"""Columns in which the earlier row must be as this run's rows are."""


def of_today(cells: Iterable[Cell], results_dir: Path, common: Mapping[str, Any]) -> dict[Cell, dict[str, Any]]:
    """Returns the columns of the limits that a run of the last 24 hours has measured, by cell: the newest of each.

    `common` are the columns that all rows of this run share.
    """
    wanted = {
        cell_of(make_row(**cell.columns(), status="not_run", reason="planned")): cell
        for cell in cells
        if cell.workload in LIMITS
    }
    measured: dict[Cell, dict[str, Any]] = {}
    now = datetime.fromisoformat(common["started_utc"])
    for folder in reversed(find_runs(results_dir) if wanted and results_dir.is_dir() else ()):
        try:
            run = read_run(folder)
        except ResultsError:
            continue  # it is its own reader's to complain
        if not timedelta() <= now - datetime.fromisoformat(run.header["started_utc"]) <= FRESH:
            continue
        for row in run.rows:
            cell = wanted.get(cell_of(row))
            if (
                cell is None
                or cell in measured
                or row["status"] != "ok"
                or row["method_version"] != str(METHOD_VERSION)
            ):
                continue
            if all(row[name] == common.get(name) for name in SAME):
                kept = {name: value for name, value in row.items() if value is not None and name not in DERIVED}
                measured[cell] = kept | {"measured_in": row["measured_in"] or row["run_id"]}
    return measured
