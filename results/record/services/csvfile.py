"""Rows of services as CSV, `services.csv` beside `results.csv` of a run; the form is that of `record.csvfile`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from results.record.dialect import decoded, plain_bytes
from results.record.files import ResultsError, write_atomic
from results.record.row import Row
from results.record.schema import Column
from results.record.services.columns import COLUMN
from results.record.services.row import make_service_row
from results.record.text import LINE_END, csv_cell, restore

CSV_NAME = "services.csv"
SIGNS = ("service_format", "service", "scenario")
"""Columns by which such a file is known."""


def services_csv(rows: Iterable[Mapping[str, object]]) -> str:
    """Returns the text of the file, each row checked."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=LINE_END, quoting=csv.QUOTE_MINIMAL)
    writer.writerow(COLUMN)
    for row in rows:
        complete = make_service_row(**row)
        writer.writerow(csv_cell(complete[name]) for name in COLUMN)
    return text.getvalue()


def write_services(rows: Iterable[Mapping[str, object]], path: Path) -> None:
    """Writes the rows as one file that is whole or absent."""
    write_atomic(path, services_csv(rows))


def read_services(path: Path) -> tuple[Row, ...]:
    """Returns the rows of such a file. Raises ResultsError with the file and the line."""
    return parse_services(plain_bytes(path), path)


def are_services(content: bytes) -> bool:
    """Returns whether the content is that of such a file, by its first line."""
    first = content.partition(b"\n")[0].decode(errors="replace").lstrip("\ufeff").strip()
    return {*SIGNS} <= {name.strip('"') for name in first.replace(";", ",").split(",")}


def parse_services(content: bytes, path: Path) -> tuple[Row, ...]:
    """Returns the rows of the content; `path` is what messages name. Raises ResultsError."""
    rows, line = [], 1
    try:
        reader = csv.reader(io.StringIO(decoded(content), newline=""), strict=True)
        header = next(reader, [])
        if unknown := [name for name in header if name not in COLUMN]:
            raise ValueError(f"unknown columns {unknown}; update samestep if a newer one wrote the file")
        for cells in reader:
            line = reader.line_num
            if not any(cells):
                continue
            if len(cells) != len(header):
                raise ValueError(f"{len(cells)} cells; expected {len(header)}")
            named = zip(header, cells, strict=True)
            rows.append(make_service_row(**{name: _value(COLUMN[name], cell) for name, cell in named if cell}))
    except (ValueError, TypeError, csv.Error) as error:
        raise ResultsError(f"{path}, line {line}: {error}") from error
    return tuple(rows)


def _value(column: Column, cell: str) -> object:
    if column.kind == "text":
        return restore(cell)
    try:
        return int(cell) if column.kind == "integer" else float(cell)
    except ValueError:
        raise ValueError(f"{column.name} is {cell!r}; expected a number") from None
