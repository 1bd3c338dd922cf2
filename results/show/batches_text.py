"""What a person reads of batches: throughput at one that all have, and at each backend's best."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from results.record.human import mark, rate, ratio
from results.show.layout import Cell, side_by_side, wrapped
from results.show.numbers import plus_minus, positions
from results.tables.batches.best import OF_STEP, RATE, best_batches
from results.tables.table import to_rows

TITLE = "Batches: samples per second at the smallest batch that all have, and at each backend's best"
BEST = "best"
LEGEND = "Best: the most samples/s; a larger batch only where it gains 5 %. Its ratio is to the common one."


def batches_text(frame: pd.DataFrame, baseline: str | None, width: int) -> str:
    """Returns a table of what several batches gave, two lines for each step; nothing where each has one batch.

    The column of the `baseline` comes first.
    """
    found = best_batches(frame)
    if found.empty:
        return ""
    steps: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in to_rows(found):
        steps.setdefault(tuple(row[name] for name in OF_STEP), {})[str(row["label"])] = row
    header, left, caption = positions(found[list(OF_STEP)].drop_duplicates())
    lines = [[*at, batch] for at, of_step in zip(left, steps.values(), strict=True) for batch in _batches(of_step)]
    columns = {
        label: [cell for of_step in steps.values() for cell in _cells(of_step.get(label))]
        for label in sorted(
            {label for of_step in steps.values() for label in of_step}, key=lambda one: (one != baseline, one)
        )
    }
    table = side_by_side([*header, "batch"], lines, columns, width)
    return "\n".join([wrapped([f"{TITLE}{caption}"], width), table, wrapped([LEGEND], width)])


def _batches(of_step: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    common = next(iter(of_step.values()))["common_batch"]
    return "-" if common is None else str(common), BEST


def _cells(row: Mapping[str, Any] | None) -> tuple[Cell, Cell]:
    if row is None:
        return Cell(word="-"), Cell(word="-")
    common, best = row[f"common_{RATE}"], row[f"best_{RATE}"]
    at = f" at {row['best_batch']}"
    return (
        Cell(word="-") if common is None else Cell(_rate(row, "common") + " " * len(at)),
        Cell(_rate(row, BEST) + at, "" if not common else ratio(best / common)),
    )


def _rate(row: Mapping[str, Any], of: str) -> str:
    return rate(row[f"{of}_{RATE}"]) + mark(row[f"{of}_quality"]) + plus_minus(row[f"{of}_half_width"])
