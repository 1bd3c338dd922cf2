"""The raw samples of runs: what lies behind a row's latency, where the journal was kept."""

import sys
from array import array
from collections.abc import Mapping, Sequence

from results.files import ResultsError
from results.row import cell_of, describe_cell
from results.run import Run

Samples = Mapping[tuple[object, ...], Sequence[float]]
"""Seconds per step, of all launches that count, by run and cell: `(run_id, *cell_of(row))`."""

LONGEST_S = sys.float_info.max
"""Of what a float can hold; JSON's integers know no end."""


def samples_of(run: Run) -> Samples:
    """Returns the latency samples in seconds per step by run and cell, of the launches that count: ok and not invalid.

    Raises ResultsError where one is no time.
    """
    found: dict[tuple[object, ...], array[float]] = {}
    for launch in run.launches:
        columns = launch.get("columns")
        quality = columns.get("quality") if isinstance(columns, dict) else None
        if launch.get("status") != "ok" or quality == "invalid":
            continue
        samples = launch.get("samples_s", [])
        if not isinstance(samples, list):
            raise ResultsError(f"{run.path}: a launch of {describe_cell(launch)} has {samples!r} as its samples")
        for sample in samples:
            if isinstance(sample, bool) or not isinstance(sample, int | float) or not 0 < sample <= LONGEST_S:
                raise ResultsError(f"{run.path}: a launch of {describe_cell(launch)} has {sample!r} as a time in s")
        if samples:
            found.setdefault((run.header["run_id"], *cell_of(launch)), array("d")).extend(samples)
    return found
