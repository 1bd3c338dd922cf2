"""Rows as CSV: the form that travels. What is read back equals what was written, and a spreadsheet runs nothing.

RFC 4180 in UTF-8: lines end in CRLF, quotes only where needed, a header always, the columns of `COLUMNS` in their
order. Empty is null; a number is the shortest text that reads back as the same float; text that a spreadsheet would
take for a formula has an apostrophe in front.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from results.record.files import ResultsError, write_atomic
from results.record.row import Row, cell_of, describe_cell, make_row
from results.record.schema import COLUMN, Column
from results.record.text import LINE_END, protect, restore, shortened

REQUIRED = ("row_format", "workload", "phase", "backend", "status")
"""The columns without which a CSV is none of ours."""


_A = {"integer": "an integer", "number": "a number", "boolean": "true or false"}
# Python alone would also take 1_000, Arabic digits and spaces around for numbers: no writer of ours makes them.
_WRITTEN = {
    "integer": re.compile(r"-?[0-9]{1,19}"),
    "number": re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?"),
    "boolean": re.compile("true|false"),
}


def write_csv(rows: Iterable[Mapping[str, object]], path: Path) -> None:
    """Writes the rows, each checked by `make_row`, as one file that is whole or absent."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=LINE_END, quoting=csv.QUOTE_MINIMAL)
    writer.writerow(COLUMN)
    for row in rows:
        checked = make_row(**row)
        writer.writerow(_cell(checked[name]) for name in COLUMN)
    write_atomic(path, text.getvalue())


def read_csv(path: Path) -> tuple[Row, ...]:
    """Returns the rows of a file that `write_csv` wrote, now or before some column was added.

    Raises ResultsError, with the file and the line, for anything else, and for a cell of a run that is there twice.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(f"cannot read {path} as CSV in UTF-8: {error}") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    line_of: dict[tuple[object, ...], int] = {}
    try:
        columns = _columns(next(reader, []))
        for cells in reader:
            row = _row(columns, cells)
            key = (row["run_id"], *cell_of(row))
            # Rows of no run are of nobody knows how many.
            if row["run_id"] is not None and line_of.setdefault(key, reader.line_num) != reader.line_num:
                raise ValueError(f"the cell is there already, in line {line_of[key]}: {describe_cell(row)}")
            rows.append(row)
    except (ValueError, TypeError, csv.Error) as error:
        raise ResultsError(f"{path}, line {max(reader.line_num, 1)}: {error}") from error
    return tuple(rows)


def header_of(path: Path) -> tuple[str, ...]:
    """Returns the names of the columns of a file that `write_csv` wrote. Raises ResultsError for any other."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return tuple(column.name for column in _columns(next(csv.reader(file, strict=True), [])))
    except (OSError, ValueError, csv.Error) as error:
        raise ResultsError(f"{path}, line 1: {error}") from error


def _columns(header: list[str]) -> list[Column]:
    if any(name not in header for name in REQUIRED):
        raise ValueError(f"this is no CSV of samestep; expected a header with {', '.join(REQUIRED)}")
    unknown = [name for name in header if name not in COLUMN]
    if unknown:
        raise ValueError(f"unknown columns {unknown}; update samestep if a newer one wrote the file")
    if len(set(header)) < len(header):
        raise ValueError("a column is there twice; expected each once")
    return [COLUMN[name] for name in header]


def _row(columns: list[Column], cells: list[str]) -> Row:
    if len(cells) != len(columns):
        raise ValueError(f"{len(cells)} cells; expected {len(columns)}")
    return make_row(**{column.name: _value(column, cell) for column, cell in zip(columns, cells, strict=True)})


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return protect(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def _value(column: Column, cell: str) -> object:
    if cell == "":
        return None
    if column.kind == "text":
        return restore(cell)
    if not _WRITTEN[column.kind].fullmatch(cell):
        raise ValueError(f"{column.name} is {shortened(cell, 80)!r}; expected {_A[column.kind]}")
    if column.kind == "boolean":
        return cell == "true"
    return int(cell) if column.kind == "integer" else float(cell)
