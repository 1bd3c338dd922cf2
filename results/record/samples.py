"""The raw samples of runs: what lies behind a row's latency, where the journal was kept."""

from array import array
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

from results.record.files import ResultsError
from results.record.journal import JOURNAL_NAME
from results.record.row import Row, cell_of, describe_cell
from results.record.run import Run, is_counted, read_run

Samples = Mapping[tuple[object, ...], Sequence[float]]
"""Seconds per step, of all launches that count, by run and cell: `(run_id, *cell_of(row))`."""

SHORTEST_S, LONGEST_S = 1e-15, 1e9
"""A femtosecond and thirty years: beyond lies no step."""


class Collected:
    """The samples of the runs that it was shown, of the rows that were verified: steps that compute nothing are nine
    tenths of a journal, and no page shows how they are spread.
    """

    def __init__(self) -> None:
        self.samples: dict[tuple[object, ...], Sequence[float]] = {}
        self.problems: list[str] = []
        self.run_ids: set[str] = set()
        self.services: list[Row] = []
        """The rows of services of these runs."""

    def add(self, run: Run) -> None:
        """Takes the run's samples; what cannot be taken is one of `problems`."""
        self.run_ids.add(run.header["run_id"])
        self.services += run.services
        verified = {cell_of(row) for row in run.rows if row["verification"] == "passed"}
        try:
            self.samples |= samples_of(run, verified)
        except ResultsError as error:
            self.problems.append(f"no samples: {error}")

    def add_folder(self, folder: Path) -> None:
        """Takes the samples of a run whose rows came from elsewhere, if its journal was kept and was not read yet."""
        if folder.name not in self.run_ids and (folder / JOURNAL_NAME).is_file():
            try:
                self.add(read_run(folder))
            except ResultsError as error:
                self.problems.append(f"no samples: {error}")


def samples_of(run: Run, cells: Container[tuple[object, ...]] | None = None) -> Samples:
    """Returns the latency samples in seconds per step by run and cell, of the launches that count: ok and not invalid.

    Of all cells, or of these (`cell_of`) alone. Raises ResultsError where one is no time.
    """
    by_cell: dict[tuple[object, ...], array[float]] = {}
    for launch in run.launches:
        cell = cell_of(launch)
        if not is_counted(launch) or (cells is not None and cell not in cells):
            continue
        samples = launch.get("samples_s", [])
        if not isinstance(samples, list):
            raise ResultsError(f"{run.path}: a launch of {describe_cell(launch)} has {samples!r} as its samples")
        for sample in samples:
            if isinstance(sample, bool) or not isinstance(sample, int | float) or not SHORTEST_S <= sample <= LONGEST_S:
                raise ResultsError(f"{run.path}: a launch of {describe_cell(launch)} has {sample!r} as a time in s")
        if samples:
            by_cell.setdefault((run.header["run_id"], *cell), array("d")).extend(samples)
    return by_cell
