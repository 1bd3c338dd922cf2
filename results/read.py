"""Rows from whatever holds them: run folders, journals, CSV files, results folders."""

from pathlib import Path

from results.csvfile import read_csv
from results.files import ResultsError
from results.journal import JOURNAL_NAME
from results.row import DERIVED, Row, cell_of, describe_cell
from results.run import Run, find_runs, read_run


def read_rows(*paths: Path) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Returns the rows that the paths hold, and what was forgiven or left out on the way.

    A path is a run folder, a journal, a CSV of results or a results folder with runs in it. The same row given
    twice (a run and its CSV) is one row. Raises ResultsError for a path that holds no results, and where two rows
    of one cell of one run differ. In a results folder a run that cannot be read is left out.
    """
    rows: list[Row] = []
    of_cell: dict[tuple[object, ...], tuple[Row, Path]] = {}
    problems: list[str] = []
    for path in paths:
        found, forgiven = _read(path)
        problems += forgiven
        for row in found:
            cell = (row["run_id"], *cell_of(row))
            if row["run_id"] is not None and cell in of_cell:
                known, source = of_cell[cell]
                if _as_measured(known) != _as_measured(row):
                    raise ResultsError(
                        f"{source} and {path} say different things of one cell of run {row['run_id']}"
                        f" ({describe_cell(row)}); give the one to believe"
                    )
                continue
            of_cell[cell] = row, path
            rows.append(row)
    return tuple(rows), tuple(problems)


def read_runs(path: Path) -> tuple[tuple[Run, ...], tuple[str, ...]]:
    """Returns the runs of a run folder, a journal or a results folder, and what was forgiven or left out.

    A run that was named raises ResultsError where it cannot be read. In a results folder, which anybody may have
    copied something into, such a run is left out, and so is one whose journal is that of another folder; where none
    is left, that is an error too.
    """
    if path.is_file() or (path / JOURNAL_NAME).exists():
        run = read_run(path)
        return (run,), run.problems
    runs: list[Run] = []
    problems: list[str] = []
    for folder in find_runs(path):
        try:
            run = read_run(folder)
            if run.header["run_id"] != folder.name:
                raise ResultsError(
                    f"{folder / JOURNAL_NAME}, line 1: it is of run {run.header['run_id']}; expected {folder.name}"
                )
        except ResultsError as error:
            problems.append(f"{error}; this run is left out")
        else:
            runs.append(run)
            problems += run.problems
    if not runs and problems:
        raise ResultsError(f"{path} holds no run that can be read: {'; '.join(problems)}")
    if not runs:
        raise ResultsError(f"{path} holds no run; expected {JOURNAL_NAME} in it, or in folders of runs in it")
    return tuple(runs), tuple(problems)


def _as_measured(row: Row) -> Row:
    """Returns the row without what is made when a run is read, by a table of peaks that may have grown since."""
    return {name: value for name, value in row.items() if name not in DERIVED}


def _read(path: Path) -> tuple[list[Row], list[str]]:
    if not path.exists():
        raise ResultsError(f"{path} does not exist; expected a run's folder, a journal or a CSV of results")
    if path.is_file() and path.suffix == ".csv":
        return list(read_csv(path)), []
    runs, problems = read_runs(path)
    return [row for run in runs for row in run.rows], list(problems)
