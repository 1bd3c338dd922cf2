"""What a person reads of tokens: a table per model, prompt and generated tokens apart, in tokens/s, time, dollars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

import pandas as pd

from results.record.dimensions import MODEL
from results.record.human import rate, ratio, time_in_words
from results.show.layout import wrapped
from results.show.money import Sources, dollars
from results.show.numbers import plus_minus
from results.show.phases_text import gaps, mark, marks
from results.show.terminal import columns_text
from results.tables.batches.rungs import are_read
from results.tables.phases import PLACE
from results.tables.table import to_rows

HEADER = ["tokens", "batch", "backend", "tokens/s", "time", "of best", "USD a\nmillion", "price"]
LEGEND = (
    "Tokens/s with the device kept full, and the USD of a million of them. Time with one step in flight: of a prompt "
    "that to its first token, of a generated token that for each of the batch. Of best: times the shortest that the "
    "memory allows. Batch: prompts × their tokens; sequences, and the depth of their cache."
)


def rates_blocks(found: pd.DataFrame, sources: Sources, width: int = 120) -> list[str]:
    """Returns the frame of `rates` for a terminal: a table per model, and how to read them; nothing without a row."""
    by_model: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    rows = to_rows(found)
    for row in compress(rows, are_read(rows, PLACE, "throughput_tokens_per_s")):
        by_model.setdefault(tuple(row[name] for name in MODEL), []).append(row)
    tables = [_block(rows, sources, width) for rows in by_model.values()]
    return [*tables, wrapped([LEGEND], width)] if tables else []


def rates_text(found: pd.DataFrame, width: int = 120) -> str:
    """Returns `rates_blocks` with the sources of prices, and why others are missing."""
    sources = Sources()
    blocks = rates_blocks(found, sources, width)
    parts = [*blocks, wrapped(sources.lines(), width), gaps(to_rows(found), "no_price", width), marks(blocks, width)]
    return "\n\n".join(filter(None, parts))


def _block(rows: Sequence[Mapping[str, Any]], sources: Sources, width: int) -> str:
    first = rows[0]
    title = f"{first['workload']} {first['size']} {first['precision']}, threads {first['threads']}: tokens"
    return f"{title}\n{columns_text(HEADER, [_cells(row, sources) for row in rows], 3, width)}"


def _cells(row: Mapping[str, Any], sources: Sources) -> list[str]:
    shape = f"{row['batch']} × {row['sequence']}" if row["depth"] is None else f"{row['batch']}, depth {row['depth']}"
    known = mark(row, "quality") + plus_minus(row["half_width"])
    usd, best, latency = row["usd_per_million_tokens"], row["times_memory_roof"], row["latency_p50_s"]
    return [
        row["tokens"],
        shape,
        row["backend"],
        rate(row["throughput_tokens_per_s"]) + known,
        "-" if latency is None else time_in_words(latency) + mark(row, "quality"),
        "-" if best is None or row["depth"] is None else ratio(best),
        "-" if usd is None else dollars(usd) + known,
        sources.price(row),
    ]
