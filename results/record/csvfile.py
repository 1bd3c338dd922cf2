"""Rows as CSV: the form that travels. What is read back equals what was written, and a spreadsheet runs nothing.

RFC 4180 in UTF-8: lines end in CRLF, quotes only where needed, a header always, the columns of `COLUMNS` in their
order. Empty is null; a number is the shortest text that reads back as the same float; text that a spreadsheet would
take for a formula has an apostrophe in front.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from results.record.dialect import INDEX, Values, decoded, first_bytes, plain_bytes, reader_of
from results.record.files import ResultsError, write_atomic
from results.record.row import Row, cell_of, checked, describe_cell, make_row, whole_row
from results.record.schema import COLUMN, Column
from results.record.text import LINE_END, csv_cell, restore


def write_csv(rows: Iterable[Mapping[str, object]], path: Path) -> None:
    """Writes the rows, each checked by `make_row`, as one file that is whole or absent."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=LINE_END, quoting=csv.QUOTE_MINIMAL)
    writer.writerow(COLUMN)
    for row in rows:
        complete = make_row(**row)
        writer.writerow(csv_cell(complete[name]) for name in COLUMN)
    write_atomic(path, text.getvalue())


def read_csv(path: Path) -> tuple[Row, ...]:
    """Returns the rows of a file that `write_csv` wrote, now or before some column was added, or that another tool did.

    What other tools change is read where it can be meant in one way only (`results.record.dialect`). Raises
    ResultsError, with the file and the line, for anything else, and for a cell of a run that is there twice.
    """
    return parse_csv(plain_bytes(path), path)


def parse_csv(content: bytes, path: Path) -> tuple[Row, ...]:
    """Returns the rows of the content of a CSV; `path` is what messages name. Raises as `read_csv`."""
    rows: list[Row] = []
    line_of: dict[tuple[object, ...], int] = {}
    repeated: dict[tuple[str, str], object] = {}
    line = 1
    try:
        reader, header = reader_of(decoded(content))
    except (ValueError, csv.Error) as error:
        raise ResultsError(f"{path}, line 1: {error}") from error
    try:
        columns = _columns(header)
        places = [place for place, name in enumerate(header) if name in COLUMN]
        records: list[tuple[int, list[str]]] = []
        for cells in reader:
            line = reader.line_num
            # A line without any value, as at the end of a sheet, and a second header, as where files were joined.
            if any(cells) and not _is_header(cells, header):
                if len(cells) != len(header):
                    raise ValueError(f"{len(cells)} cells; expected {len(header)}")
                records.append((line, [cells[place] for place in places]))
        line = 1
        values = Values(columns, (cells for _, cells in records), reader.dialect.delimiter)
        for line, cells in records:
            row = _row(columns, cells, values, repeated)
            key = (row["run_id"], *cell_of(row))
            # Rows without a run's id may be of several runs, so a cell may be there more than once.
            if row["run_id"] is not None and line_of.setdefault(key, line) != line:
                raise ValueError(f"the cell is there already, in line {line_of[key]}: {describe_cell(row)}")
            rows.append(row)
    except (ValueError, TypeError) as error:
        raise ResultsError(f"{path}, line {line}: {error}") from error
    except csv.Error as error:
        raise ResultsError(f"{path}, line {max(reader.line_num, 1)}: {error}") from error
    return tuple(rows)


def _is_header(cells: list[str], header: list[str]) -> bool:
    return cells[0].strip("\ufeff ") == header[0] and [cell.strip("\ufeff ") for cell in cells] == header


def header_of(path: Path) -> tuple[str, ...]:
    """Returns the names of the columns of a CSV of rows. Raises ResultsError for any other file."""
    try:
        _, header = reader_of(decoded(first_bytes(path), errors="ignore"))
        return tuple(column.name for column in _columns(header))
    except (ValueError, csv.Error) as error:
        raise ResultsError(f"{path}, line 1: {error}") from error


def _columns(header: list[str]) -> list[Column]:
    names = [name for name in header if not INDEX.fullmatch(name)]
    if unknown := [name for name in names if name not in COLUMN]:
        raise ValueError(f"unknown columns {unknown}; update samestep if a newer one wrote the file, or leave them out")
    if len(set(names)) < len(names):
        raise ValueError("a column is there twice; expected each once")
    return [COLUMN[name] for name in names]


def _row(columns: list[Column], cells: list[str], values: Values, repeated: dict[tuple[str, str], object]) -> Row:
    """Returns the row of a line. `repeated` is what lines before it held: but for numbers most of it is the same."""
    row: Row = dict.fromkeys(COLUMN)
    for column, cell in zip(columns, cells, strict=True):
        if not cell:
            continue
        if column.kind == "number":
            row[column.name] = checked(column, values.value(column, cell))
            continue
        place = column.name, cell
        if place not in repeated:
            value = _text(cell, values) if column.kind == "text" else values.value(column, cell)
            repeated[place] = checked(column, value)
        row[column.name] = repeated[place]
    return whole_row(row)


def _text(cell: str, values: Values) -> str | None:
    return None if cell in values.missing else restore(cell)
