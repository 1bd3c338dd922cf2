"""Of several batches of one step, those that a person reads of, and the one that enters a mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from results.tables.batches.best import OF_STEP, RATE, best_of, common_batch, grouped
from results.tables.table import to_rows


def are_read(rows: Sequence[Mapping[str, Any]], backend: Sequence[str] = ("label",), rate: str = RATE) -> list[bool]:
    """Returns, for each of these verified rows, whether its batch is the common one of its step or someone's best.

    A ladder's other batches say nothing that these two do not. All are read where the backends, told apart by the
    columns `backend`, have none in common. `rate` is the column by which a batch is best.
    """
    read = {step: _batches(of_step, backend, rate) for step, of_step in grouped(map(dict, rows), OF_STEP).items()}
    return [row["batch"] in read[tuple(row[name] for name in OF_STEP)] for row in rows]


def without_rungs(verified: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows, verified and with a `label`, that `are_read`."""
    return verified[pd.Series(are_read(to_rows(verified)), index=verified.index, dtype=bool)]


def _batches(of_step: Sequence[dict[str, Any]], backend: Sequence[str], rate: str) -> set[int]:
    by_backend = grouped(of_step, backend).values()
    common = common_batch([row["batch"] for row in rows] for rows in by_backend)
    if common is None:
        return {row["batch"] for row in of_step}
    timed = [[row for row in rows if row[rate] is not None] for rows in by_backend]
    return {common, *(best_of(rows, rate)["batch"] for rows in timed if rows)}


def of_one_batch(places: pd.DataFrame, known: pd.Series[int]) -> pd.Series[bool]:
    """Returns, for each place (columns of a position), whether its batch is the one at which its step enters a mean.

    That is the batch at which most are `known`, of equals the first: a mean of steps counts each of them once, however
    many batches of it were measured.
    """
    words = places.astype("string").fillna("")
    step = [words[name] for name in OF_STEP]
    most = known == known.groupby(step).transform("max")
    return words["batch"] == words["batch"].where(most).groupby(step).transform("first")
