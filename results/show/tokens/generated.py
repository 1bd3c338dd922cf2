"""What generations felt like: the first token, each further one, the whole; and how far their tokens are proven."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from results.record.dimensions import POSITION
from results.record.human import mark, time_in_words
from results.show.layout import wrapped
from results.show.numbers import positions
from results.show.terminal import columns_text
from results.tables.table import is_verified, to_rows

HEADER = ["backend", "first\ntoken", "per\ntoken", "gap\np90", "whole", "as the\nreference", "ties"]
FIRST = "ttft_p50_s"
LEGEND = (
    "Medians with one request in flight: time to first token, time per token behind it, 90th percentile of the gaps "
    "between tokens (of 100 or more), and prompt to last token. Tokens as the reference's, of those compared; at a tie "
    "either choice is right."
)


def generated(rows: pd.DataFrame, width: int) -> str:
    """Returns a line for each backend that generated, under what it generated; nothing where none did."""
    found = rows[is_verified(rows) & rows[FIRST].notna()].sort_values([*POSITION, "label"])
    if found.empty:
        return ""
    header, left, caption = positions(found[list(POSITION)])
    lines = [[*place, *_cells(row)] for place, row in zip(left, to_rows(found), strict=True)]
    title = wrapped([f"Generations, token by token{caption}"], width)
    table = columns_text([*header, *HEADER], lines, len(header) + 1, width)
    distinct = int(found["tokens_distinct"].min())
    proof = f"Texts consist of at least {distinct} different tokens{'' if distinct > 1 else ': they prove little'}."
    return "\n".join([title, table, wrapped([LEGEND, proof], width)])


def _cells(row: Mapping[str, Any]) -> list[str]:
    def time(name: str) -> str:
        return "-" if row[name] is None else time_in_words(row[name]) + mark(row["quality"])

    return [
        row["label"],
        *(time(name) for name in (FIRST, "tpot_p50_s", "itl_p90_s", "latency_p50_s")),
        f"{row['tokens_equal']} of {row['tokens_compared']}",
        str(row["tokens_tied"]),
    ]
