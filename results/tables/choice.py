"""A choice between numbers: the least of them, and which others are as good."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from results.record.human import mark
from results.record.rounds import DECISIVE
from results.tables.ratio import times_as_fast

NEAR = 1.05
"""A number that is more by this factor at most is as good, for all that anybody acts on."""
SAMPLES = "throughput_samples_per_s"
AS_EQUAL = 1e-9
"""Relative: numbers that differ by no more are the same, but for the rounding of their sums."""


def least(rows: Sequence[dict[str, Any]], *columns: str) -> dict[str, Any] | None:
    """Returns the row whose first column is lowest; of equals by the next columns, then by label. None where none is.

    A number that is unknown (None) in the first column takes no part.
    """
    with_number = [row for row in rows if row[columns[0]] is not None]
    low = min((row[columns[0]] for row in with_number), default=0.0)
    equal = [row for row in with_number if is_equal(row[columns[0]], low)]
    return min(equal, key=lambda row: (*(row[name] for name in columns[1:]), row["backend"]), default=None)


def as_good(rows: Sequence[dict[str, Any]], chosen: Mapping[str, Any], column: str, phase: str) -> list[dict[str, Any]]:
    """Returns the other rows that are as good as the chosen one, the lowest first.

    Their number is within 5 % of its, or cannot be told from it at 99 % confidence, as the rounds of the phase's
    throughput say.
    """
    others = [row for row in rows if row is not chosen and row[column] is not None]
    good = [row for row in others if row[column] <= NEAR * chosen[column] or _may_be_less(row, chosen, column, phase)]
    return sorted(good, key=lambda row: (row[column], row["backend"]))


def _may_be_less(row: Mapping[str, Any], chosen: Mapping[str, Any], column: str, phase: str) -> bool:
    """Returns whether the row's number may be the lower one, by the interval of the two throughputs' ratio."""
    times = times_as_fast(_measured(chosen, phase), _measured(row, phase), SAMPLES, DECISIVE)
    if times.low is None:
        return False
    return bool(times.low / times.value * row[column] <= chosen[column])


def _measured(row: Mapping[str, Any], phase: str) -> dict[str, Any]:
    """Returns what the row says of one phase's throughput, by the names of a row of results."""
    group = row[f"{phase}_group"]
    return {
        "run_id": group,
        "group_id": group,
        "machine_id": row["machine_id"],
        "rounds_samples_per_s": row[f"{phase}_rounds_samples_per_s"],
        SAMPLES: 1 / row[f"{phase}_s_per_sample"],
    }


def is_equal(a: float, b: float) -> bool:
    """Returns whether two numbers are the same but for rounding."""
    return math.isclose(a, b, rel_tol=AS_EQUAL)


def names(
    rows: Sequence[Mapping[str, Any]], chosen: Mapping[str, Any], phase: str, apart: Sequence[str] = ()
) -> str | None:
    """Returns the labels of the rows, each with `~` where its phase's number is degraded; None for no row.

    In brackets stands in which of the columns `apart` a row differs from the chosen one.
    """
    return ", ".join(_name(row, chosen, phase, apart) for row in rows) or None


def _name(row: Mapping[str, Any], chosen: Mapping[str, Any], phase: str, apart: Sequence[str]) -> str:
    differs = [name for name in apart if row[name] != chosen[name]]
    words = [str(row[name]) if name == "precision" else f"{name} {row[name]}" for name in differs]
    label = f"{row['backend']}{mark(row[f'{phase}_quality'])}"
    return label + (f" ({', '.join(words)})" if words else "")
