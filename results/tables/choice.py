"""A choice between numbers: the least of them, and which others are as good."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from results.record.human import mark

NEAR = 1.05
"""A number that is more by this factor at most is as good: `compare` takes a disturbed one for so far off."""
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


def as_good(rows: Sequence[dict[str, Any]], chosen: Mapping[str, Any], column: str) -> list[dict[str, Any]]:
    """Returns the other rows whose number is within 5 % of the chosen one's, the lowest first."""
    limit = NEAR * chosen[column]
    others = [row for row in rows if row is not chosen and row[column] is not None and row[column] <= limit]
    return sorted(others, key=lambda row: (row[column], row["backend"]))


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
