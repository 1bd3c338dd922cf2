"""The batch that all backends of a step have, and the one at which each of them does most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from results.record.cells.ladder import NOT_NEEDED, best_batch
from results.record.dimensions import POSITION
from results.record.schema import COLUMN
from results.tables.ratio import half_width
from results.tables.table import DTYPES, is_control, is_limit, is_verified, placed, to_rows

RATE, TOKENS = "throughput_samples_per_s", "throughput_tokens_per_s"
OF_STEP = tuple(name for name in POSITION if name != "batch")
"""What batches of one step have in common."""
_NUMBERS = (RATE, TOKENS, "quality", "half_width")


def best_batches(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns a row per step and backend of which several batches were measured: at a common batch, and at its best.

    common_batch        the smallest batch that all backends of the step have a verified number at; NA where none is
    best_batch          the batch with the most samples/s, larger ones only where they gain 5 % at least
    common_*, best_*    samples/s and tokens/s there, quality, and the half of the interval as a part of the number
    largest             the largest batch with a verified number; `why_no_larger` says why no larger one was tried

    A step is what `OF_STEP` says. `label` is that of `placed`. No row of a step that has one batch everywhere.
    """
    rows = placed(frame)
    rows = rows[~is_control(rows) & ~is_limit(rows)]
    verified = to_rows(rows[is_verified(rows) & rows[RATE].notna()].sort_values(list(POSITION), kind="stable"))
    ended = {_place(row): str(row["reason"]) for row in to_rows(rows[(rows["status"] == NOT_NEEDED).fillna(False)])}
    found = [
        line
        for of_step in grouped(verified, OF_STEP).values()
        if len({row["batch"] for row in of_step}) > 1
        for line in _lines(of_step, ended)
    ]
    return pd.DataFrame(
        {name: pd.Series([line[name] for line in found], dtype=dtype) for name, dtype in _COLUMNS.items()}
    )


def best_of(rows: Iterable[dict[str, Any]], rate: str = RATE) -> dict[str, Any]:
    """Returns the row of the best batch, of rows of one step on one backend, at least one with a number."""
    by_batch = {row["batch"]: row for row in rows if row[rate] is not None}
    return by_batch[best_batch({batch: row[rate] for batch, row in by_batch.items()})]


def common_batch(batches: Iterable[Iterable[int]]) -> int | None:
    """Returns the smallest batch that all of them have; None where there is none."""
    return min(set.intersection(*map(set, batches)), default=None)


def _lines(of_step: Sequence[dict[str, Any]], ended: Mapping[tuple[Any, ...], str]) -> list[dict[str, Any]]:
    by_label = grouped(of_step, ("label",))
    common = common_batch([row["batch"] for row in rows] for rows in by_label.values())
    lines = []
    for (label,), rows in sorted(by_label.items()):
        at = {row["batch"]: row for row in rows}
        line = {name: rows[0][name] for name in OF_STEP} | {"label": label, "common_batch": common}
        for of, row in (("common", at.get(common)), ("best", best_of(rows))):
            line |= {f"{of}_{name}": _number(row, name) for name in _NUMBERS}
        line |= {"best_batch": best_of(rows)["batch"], "largest": max(at)}
        lines.append(line | {"why_no_larger": ended.get(_place(rows[0]))})
    return lines


def _number(row: dict[str, Any] | None, name: str) -> Any:
    if row is None:
        return None
    return half_width(row, RATE) if name == "half_width" else row[name]


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in (*OF_STEP, "label"))


def grouped(rows: Iterable[dict[str, Any]], names: Sequence[str]) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Returns the rows in groups of those that are alike in the named columns, in their order."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups


_COLUMNS = {
    **{name: DTYPES[COLUMN[name].kind] for name in OF_STEP},
    "label": "string",
    **{f"{of}_{name}": "string" if name == "quality" else "Float64" for of in ("common", "best") for name in _NUMBERS},
    **dict.fromkeys(("common_batch", "best_batch", "largest"), "Int64"),
    "why_no_larger": "string",
}
