"""Services among the paths of a command: those of runs come with their journals, others from `services.csv` files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from results.record.dialect import plain_bytes
from results.record.journal import JOURNAL_NAME
from results.record.row import Row
from results.record.services.csvfile import CSV_NAME, are_services, parse_services, read_services


def split_services(paths: Sequence[Path]) -> tuple[list[Path], list[Row]]:
    """Returns the paths that are no files of services, and the rows of those that are.

    The rows of a run whose journal was not kept are in the CSV beside its own. Raises ResultsError.
    """
    others: list[Path] = []
    rows: list[Row] = []
    for path in paths:
        if path.is_file() and path.name != JOURNAL_NAME and are_services(content := plain_bytes(path)):
            rows += parse_services(content, path)
            continue
        others.append(path)
        if path.is_dir() and not (path / JOURNAL_NAME).is_file() and (path / CSV_NAME).is_file():
            rows += read_services(path / CSV_NAME)
    return others, rows
