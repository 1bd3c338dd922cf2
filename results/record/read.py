"""Rows from whatever holds them: run folders, journals, CSV files, results folders.

In a store a run's folder has the run's id as its name, and a folder that has not is left out: so a half-copied run does
not count. A path named on the command line may be called anything: each row has the id of its run.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from results.record.csvfile import header_of, parse_csv, read_csv
from results.record.dialect import SUFFIXES, is_csv, plain_bytes
from results.record.files import ResultsError
from results.record.journal import JOURNAL_NAME, RUN_ID
from results.record.row import Row, cell_of, describe_cell
from results.record.run import Run, parse_run, read_run
from results.record.schema import DERIVED

CSV_NAME = "results.csv"

OnRun = Callable[[Run], None]
"""Is shown each run whose journal is read, for what a row does not hold: a journal is large, and read once."""


def read_rows(*paths: Path, on_run: OnRun | None = None) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Returns the rows that the paths hold, and what was forgiven or left out on the way.

    A path is a run folder, a journal, a CSV of results or a folder with runs in it at any depth, whatever it is called;
    in a folder that holds no run by its name they are copies of runs, and CSVs alone. A row that is there twice (in
    a run and its CSV) is one row. Raises ResultsError for a path that holds no results, and where two rows of one cell
    of one run differ. In a results folder a run that cannot be read is left out.
    """
    rows: list[Row] = []
    of_cell: dict[tuple[object, ...], tuple[Row, Path]] = {}
    problems: list[str] = []
    for path in paths:
        of_path, forgiven = _read(path, on_run)
        problems += forgiven
        for row in of_path:
            cell = (row["run_id"], *cell_of(row))
            if row["run_id"] is not None and cell in of_cell:
                earlier, source = of_cell[cell]
                if _as_measured(earlier) != _as_measured(row):
                    raise ResultsError(
                        f"{source} and {path} say different things of one cell of run {row['run_id']}"
                        f" ({describe_cell(row)}); give the one to believe"
                    )
                continue
            of_cell[cell] = row, path
            rows.append(row)
    return tuple(rows), tuple(problems)


def _as_measured(row: Row) -> Row:
    """Returns the row without what is made when a run is read, by a table of peaks that may have grown since."""
    return {name: value for name, value in row.items() if name not in DERIVED}


def run_folders(store: Path) -> tuple[Path, ...]:
    """Returns the folders of all runs below the store, the oldest first; raises ResultsError where it is no folder.

    A run that was copied to two places is there once: the first by path.
    """
    if not store.is_dir():
        raise ResultsError(f"{store} is no folder; expected one with runs in it, at any depth")
    runs: dict[str, Path] = {}
    for folder in every_run(store):
        runs.setdefault(folder.name, folder)
    return tuple(runs[name] for name in sorted(runs))


def every_run(folder: Path) -> Iterator[Path]:
    """Yields the folders of all runs below the folder, by path; a run that was copied is there more than once."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        path = Path(place)
        if RUN_ID.fullmatch(path.name) and not {JOURNAL_NAME, CSV_NAME}.isdisjoint(files):
            folders.clear()
            yield path


def unnamed_results(folder: Path) -> tuple[Path, ...]:
    """Returns what holds results in a folder without being called as its run, at any depth: copies of runs, and CSVs.

    Such folders are what an artifact of CI is unpacked into. A CSV that is none of ours is no result.
    """
    results: list[Path] = []
    for place, folders, files in os.walk(folder):
        folders.sort()
        path = Path(place)
        if not {JOURNAL_NAME, CSV_NAME}.isdisjoint(files):
            results.append(path)
            folders.clear()
            continue
        named_csv = (path / name for name in sorted(files) if not {*Path(name.lower()).suffixes}.isdisjoint(SUFFIXES))
        results += [file for file in named_csv if _is_ours(file)]
    return tuple(results)


def _is_ours(path: Path) -> bool:
    try:
        header_of(path)
    except ResultsError:
        return False
    return True


def read_folder(
    folder: Path, on_run: OnRun | None = None, csv_first: bool = False
) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Returns the rows of a run's journal, or of its CSV where only that was kept, and what was forgiven.

    With `csv_first` of its CSV where there is one: a hundredth of the journal, and the same but for samples. Raises
    ResultsError with the file and the line where they cannot be read, and where the folder is a store's and called
    otherwise than the run in it.
    """
    rows, problems, run = _contents(folder, csv_first)
    if others := {str(row["run_id"]) for row in rows} - {folder.name}:
        file = folder / CSV_NAME if run is None else f"{folder / JOURNAL_NAME}, line 1"
        raise ResultsError(f"{file}: it is of run {', '.join(sorted(others))}; expected {folder.name}")
    if run is not None and on_run is not None:
        on_run(run)
    return rows, problems


def _contents(folder: Path, csv_first: bool = False) -> tuple[tuple[Row, ...], tuple[str, ...], Run | None]:
    """Returns the rows in a run's folder, what was forgiven, and the run where its journal was read."""
    if (csv_first and (folder / CSV_NAME).is_file()) or not (folder / JOURNAL_NAME).is_file():
        return read_csv(folder / CSV_NAME), (), None
    run = read_run(folder)
    return run.rows, run.problems, run


def read_folders(
    folders: Iterable[Path], on_run: OnRun | None = None, csv_first: bool = False
) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Returns the rows of runs' folders, and what was forgiven; a run that cannot be read is left out, with a note."""
    rows: list[Row] = []
    problems: list[str] = []
    for folder in folders:
        try:
            of_run, forgiven = read_folder(folder, on_run, csv_first)
        except ResultsError as error:
            problems.append(f"left out: {error}")
        else:
            rows += of_run
            problems += forgiven
    return tuple(rows), tuple(problems)


def _read(path: Path, on_run: OnRun | None) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Returns the rows of a path that somebody named, and what was forgiven."""
    if not path.exists():
        raise ResultsError(f"{path} does not exist; expected a run's folder, a journal or a CSV of results")
    if path.is_dir() and not is_run(path):
        return _read_store(path, on_run)
    if path.is_dir():
        rows, problems, run = _contents(path)
    else:
        content = plain_bytes(path)  # once: a pipe has it no second time
        if is_csv(path, content):
            return parse_csv(content, path), ()
        run = parse_run(content, path)
        rows, problems = run.rows, run.problems
    if run is not None and on_run is not None:
        on_run(run)
    return rows, problems


def _read_store(path: Path, on_run: OnRun | None) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Returns the rows of the runs in a folder; where none is there by its name, of whatever else holds results."""
    if folders := run_folders(path):
        rows, problems = read_folders(folders, on_run)
        if not rows and problems:
            raise ResultsError(f"{path} holds no run that can be read: {'; '.join(problems)}")
        return rows, problems
    unnamed = unnamed_results(path)
    if not unnamed:
        raise ResultsError(f"{path} holds no run; expected {JOURNAL_NAME} in it, or in folders of runs in it")
    return read_rows(*unnamed, on_run=on_run)


def is_run(folder: Path) -> bool:
    """Returns whether the folder is that of a run: it has a journal, or the CSV alone."""
    return any((folder / name).is_file() for name in (JOURNAL_NAME, CSV_NAME))
