"""The time per token beside the best possible one, which the memory's bandwidth allows."""

from __future__ import annotations

from typing import Any

import pandas as pd

from results.record.dimensions import POSITION
from results.record.human import in_time_unit, mark, prefixed, ratio, time_in_words, time_unit
from results.record.limits import LEAST_BYTES, READING
from results.show.layout import Cell, side_by_side, wrapped
from results.show.numbers import positions
from results.tables.batches.rungs import without_rungs
from results.tables.table import is_verified

ROOF = "memory_roof_s"
SMALL = "No best possible time per token: a cache may hold all that a step reads (under 128 MiB)."
WITHOUT = (
    "No best possible time per token: the run measured no bandwidth of the memory. Add it to the workloads that you "
    "name: --workloads {},{}"
)


def roofs(rows: pd.DataFrame, width: int) -> str:
    """Returns a table of the steps with a cache: what each backend takes, and how many times the best possible that is.

    A line per step and best possible time: machines differ in it. Why there is none, where no step has one; nothing
    where none has a cache.
    """
    deep = rows[is_verified(rows) & rows["depth"].notna()]
    if deep.empty:
        return ""
    known = deep[deep[ROOF].notna() & deep["latency_p50_s"].notna()]
    if known.empty:
        large = deep[deep["minimum_bytes_per_step"] >= LEAST_BYTES]
        names = ",".join(sorted(large["workload"].unique()))
        return wrapped([SMALL if large.empty else WITHOUT.format(names, READING)], width)
    known = without_rungs(known)
    levels = [*POSITION, ROOF]
    by_line = [group for _, group in known.groupby(levels, dropna=False, sort=True)]
    heads = pd.concat([group.iloc[:1] for group in by_line])
    header, left, caption = positions(heads[list(POSITION)])
    left = [[*line, time_in_words(roof)] for line, roof in zip(left, heads[ROOF], strict=True)]
    labels = sorted(known["label"].unique())
    lines = [_line(group, labels) for group in by_line]
    columns = {label: list(cells) for label, cells in zip(labels, zip(*lines, strict=True), strict=True)}
    title = f"Time per token, and how many times the best possible it is{caption}: {_bandwidths(known)}"
    return "\n".join([wrapped([title], width), side_by_side([*header, "best"], left, columns, width)])


def _line(group: pd.DataFrame, labels: list[Any]) -> list[Cell]:
    of_label = {row["label"]: row for row in group.to_dict("records")}
    unit = time_unit(group["latency_p50_s"])
    return [_cell(of_label[label], unit) if label in of_label else Cell() for label in labels]


def _cell(row: Any, unit: str) -> Cell:
    return Cell(in_time_unit(row["latency_p50_s"], unit) + mark(row["quality"]), ratio(row["times_memory_roof"]))


def _bandwidths(known: pd.DataFrame) -> str:
    """Returns at what bandwidth, and who measured it."""
    peaks = known[["peak_bytes_per_s", "peak_bytes_of"]].drop_duplicates().itertuples(index=False, name=None)
    words = "; ".join(f"{prefixed(per_s, 'B/s')} ({of})" for per_s, of in peaks)
    return f"weights and cache once at {words}"
