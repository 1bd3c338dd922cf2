"""A folder of runs as a store: from many machines over many nights, append-only, merged by copying, no server.

    STORE/…/RUN/journal.jsonl, results.csv     what was measured, never changed; at any depth
    STORE/packed/*.parquet                     the same rows in columns: made by `pack`, can be thrown away

`pack` reads each new run's `results.csv` as any command does; a run that is wrong is left out, with a note of the
file and the line. A run whose CSV is missing is read from its journal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from results.record.dialect import REQUIRED
from results.record.dimensions import CELL_COLUMNS, FILLED, IN_SERIES_BY_NAME
from results.record.files import ResultsError
from results.record.read import read_folders, run_folders
from results.record.schema import COLUMNS, Column
from results.tables.table import to_frame

if TYPE_CHECKING:
    import pandas as pd
    from duckdb import DuckDBPyConnection

PACKED = "packed"
SERIES_COLUMNS = ("machine", "machine_id", *CELL_COLUMNS, "workload_digest", "method_version")
"""What makes a series: other hardware, other work or another method is another one; new software is a mark in it."""
_BY_NAME = tuple(dimension.name for dimension in IN_SERIES_BY_NAME)
_BY_PLACE = tuple(name for name in SERIES_COLUMNS if name not in _BY_NAME)
NIGHT = "CAST(strptime(substr(run_id, 1, 8), '%Y%m%d') AS DATE)"
"""The UTC day on which a run began, as its id says."""
RUNS_AT_ONCE = 50
"""Some ten thousand rows: what a batch takes of memory."""
MEMORY = "1GiB"
TYPES = {"text": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}


@dataclass(frozen=True)
class Packed:
    """What `pack` did: runs and rows that are in now and were not before, and what was left out, with the reason."""

    runs: int
    rows: int
    problems: tuple[str, ...]


def connect() -> DuckDBPyConnection:
    """Returns a DuckDB in memory. Raises ResultsError where it is not installed."""
    try:
        import duckdb
    except ModuleNotFoundError as error:
        raise ResultsError(f"{error}: a packed store takes DuckDB: pip install -e '.[reports]'") from error
    connection = duckdb.connect()
    connection.execute(
        f"SET memory_limit = '{MEMORY}'; SET preserve_insertion_order = false; SET enable_progress_bar = false"
    )
    return connection


def open_packed(store: Path | str) -> tuple[DuckDBPyConnection | None, tuple[str, ...]]:
    """Returns a connection that sees the packed rows as `packed`, None where there are none; and what is wrong.

    Columns that came after a file was packed are empty in its rows. A file that is none, or has what no version packed,
    is left out: its runs then count as not packed.
    A store that is an address (`s3://…`) is a folder of Parquet files, as `packed` is. Raises ResultsError where DuckDB
    is missing, or cannot read the address.
    """
    if "://" in str(store):
        connection = connect()
        _show(connection, [f"{str(store).rstrip('/')}/*.parquet"])
        return connection, ()
    files = sorted((Path(store) / PACKED).glob("*.parquet"))
    if not files:
        return None, ()
    connection = connect()
    problems = {file: problem for file in files if (problem := _why_not(connection, file))}
    readable = [str(file) for file in files if file not in problems]
    if readable:
        _show(connection, readable)
    return connection if readable else None, tuple(problems.values())


def ask(connection: DuckDBPyConnection, sql: str, values: object = None) -> pd.DataFrame:
    """Returns the result of the SQL; raises ResultsError where a packed file cannot be read."""
    import duckdb

    try:
        frame: pd.DataFrame = connection.execute(sql, values).fetchdf()
    except duckdb.Error as error:
        reason = " ".join(str(error).split())[:300]
        raise ResultsError(f"cannot read what is packed: {reason}; throw that file away and `pack` again") from error
    return frame


def packed_runs(connection: DuckDBPyConnection | None) -> set[str]:
    """Returns the ids of the runs that are packed."""
    return set() if connection is None else set(ask(connection, "SELECT DISTINCT run_id FROM packed")["run_id"])


def _show(connection: DuckDBPyConnection, files: Sequence[str]) -> None:
    listed = ", ".join(f"'{_quoted(file)}'" for file in files)
    read = f"read_parquet([{listed}], union_by_name = true)"
    columns = set(ask(connection, f"DESCRIBE SELECT * FROM {read}")["column_name"])
    # A file of before some column was in the schema has it empty, a dimension of before the list had it at its default.
    filled = ", ".join(f"coalesce({_name(n)}, {_literal(FILLED[n])}) AS {_name(n)}" for n in FILLED if n in columns)
    added = "".join(f", {_typed(column)} AS {_name(column.name)}" for column in COLUMNS if column.name not in columns)
    ask(connection, f"CREATE VIEW packed AS SELECT *{f' REPLACE ({filled})' if filled else ''}{added} FROM {read}")


def _why_not(connection: DuckDBPyConnection, file: Path) -> str | None:
    """Returns why a file's rows cannot be used, None where they can."""
    expected = {"series": "VARCHAR", "night": "DATE"} | {column.name: TYPES[column.kind] for column in COLUMNS}
    try:
        columns = ask(connection, f"DESCRIBE SELECT * FROM read_parquet('{_quoted(file)}')")
    except ResultsError as error:
        return f"left out: {file}: {error}"
    kinds = dict(zip(columns["column_name"], columns["column_type"], strict=True))
    may_lack = {name: kind for name, kind in expected.items() if name not in ("series", "night", "run_id", *REQUIRED)}
    if wrong := [name for name, kind in expected.items() if kinds.get(name, may_lack.get(name)) != kind]:
        return f"left out: {file}: packed by another version (see {wrong[0]}); throw it away and `pack` again"
    return None


def pack(store: Path) -> Packed:
    """Adds the runs that are not in it yet to STORE/packed, as one Parquet file, and returns what came of it.

    Rows are sorted by series, so that one series is in few places. Raises ResultsError where DuckDB is missing.
    """
    packed, wrong = open_packed(store)
    connection = packed or connect()
    packed_before = packed_runs(packed)
    new = [folder for folder in run_folders(store) if folder.name not in packed_before]
    columns = ", ".join(f"{_name(column.name)} {TYPES[column.kind]}" for column in COLUMNS)
    connection.execute(f"CREATE TABLE packing ({columns})")
    problems = [*wrong]
    runs = rows = 0
    for start in range(0, len(new), RUNS_AT_ONCE):
        read, forgiven = read_folders(new[start : start + RUNS_AT_ONCE], csv_first=True)
        problems += forgiven
        runs, rows = runs + len({row["run_id"] for row in read}), rows + len(read)
        frame = to_frame(read)
        connection.register("batch", frame)
        connection.execute("INSERT INTO packing BY NAME SELECT * FROM batch")
        connection.unregister("batch")
    if rows:
        _write(connection, store / PACKED, [folder.name for folder in new])
    return Packed(runs, rows, tuple(problems))


def series_sql() -> str:
    """Returns the SQL that names a row's series: 16 hex digits, the same on every machine."""
    texts = [f"coalesce(CAST({_name(name)} AS VARCHAR), '')" for name in _BY_PLACE]
    for dimension in IN_SERIES_BY_NAME:
        name, default = _name(dimension.name), _literal(dimension.default)
        # concat_ws leaves out what is NULL.
        texts.append(f"CASE WHEN {name} IS DISTINCT FROM {default} THEN '{dimension.name}=' || {name} END")
    return f"substr(sha256(concat_ws(chr(31), {', '.join(texts)})), 1, 16)"


def series_of(row: dict[str, object]) -> str:
    """Returns the same for a row of Python values."""
    texts = ["" if row[name] is None else str(row[name]) for name in _BY_PLACE]
    texts += [f"{d.name}={row[d.name]}" for d in IN_SERIES_BY_NAME if d.is_shown(row[d.name])]
    return hashlib.sha256("\x1f".join(texts).encode()).hexdigest()[:16]


def _write(connection: DuckDBPyConnection, folder: Path, runs: Sequence[str]) -> None:
    """Writes the table as one file that is whole or absent, named by what is in it."""
    folder.mkdir(exist_ok=True)
    name = hashlib.sha256("\n".join(runs).encode()).hexdigest()[:12]
    temporary, final = folder / f".{name}.tmp", folder / f"{runs[0][:15]}-{name}.parquet"
    try:
        connection.execute(
            f"COPY (SELECT {series_sql()} AS series, {NIGHT} AS night, * FROM packing"
            f" ORDER BY series, night) TO '{_quoted(temporary)}' (FORMAT parquet, COMPRESSION zstd)"
        )
        temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)


def _literal(value: object) -> str:
    """Returns the SQL of a dimension's default."""
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else f"'{_quoted(str(value))}'"


def _typed(column: Column) -> str:
    """Returns the SQL of what rows of before the column have in it."""
    return f"CAST({_literal(FILLED.get(column.name))} AS {TYPES[column.kind]})"


def _name(name: str) -> str:
    return f'"{name}"'


def _quoted(path: Path | str) -> str:
    return str(path).replace("'", "''")
