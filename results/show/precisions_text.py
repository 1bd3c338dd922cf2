"""What a person reads of precisions: a line per cell in another one, beside the fp32 cell of the same backend."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from results.record.dimensions import PLAIN_PRECISION
from results.record.human import EMULATED, mark, ratio, time_in_words
from results.show.layout import wrapped
from results.show.numbers import UNPAIRED, plus_minus, positions
from results.show.terminal import columns_text
from results.tables.precisions import STEP
from results.tables.table import to_rows

NOTHING = f"No verified cell in another precision than {PLAIN_PRECISION} in these rows."
LEGEND = (
    f"as fast: times as fast as {PLAIN_PRECISION} on the same backend at the same step, with its 95 % interval. "
    "error: the worst relative error of a verified tensor from the float64 reference of that precision. SQNR, top-1: "
    f"in 8 bits, where the model itself is another one, how near its outputs lie to those of {PLAIN_PRECISION}: energy "
    "over that of the difference, and how many of its output vectors have the same largest element. ran in: what "
    f"products ran in, as the runtime says of the prepared step; {EMULATED}: in a wider type than was asked for, since "
    "chip or runtime has none of its own (samestep backends says which)."
)


def precisions_text(found: pd.DataFrame, width: int = 120) -> str:
    """Returns the frame of `precisions` for a terminal."""
    rows = to_rows(found)
    if not rows:
        return NOTHING
    levels = found[[*STEP, "machine"]].rename(columns={"precision_requested": "precision"})
    names, places, caption = positions(levels)
    is_approximate = bool(found["kl_nats"].notna().any())
    header = [*names, "backend", "precision", PLAIN_PRECISION, "time", "as fast", "error", "ran in"]
    header += ["SQNR", "top-1"] if is_approximate else []
    agreements = [_agreement(row) if is_approximate else [] for row in rows]
    lines = [[*p, *_cells(row), *agreed] for p, row, agreed in zip(places, rows, agreements, strict=True)]
    title = f"What a lower precision brings here{caption}"
    table = columns_text(header, lines, len(names) + 2, width)
    return "\n".join([wrapped([title], width), table, "", wrapped([LEGEND], width)])


def _cells(row: Mapping[str, Any]) -> list[str]:
    times, half = row["times_as_fast"], None
    if times is not None and row["times_low"] is not None:
        half = max(row["times_high"] / times, times / row["times_low"]) - 1
    unpaired = "" if times is None or row["is_paired"] else UNPAIRED
    emulated = EMULATED if row["is_emulated"] else ""
    return [
        str(row["backend"]),
        f"{row['precision']}{emulated}",
        _time(row["plain_latency_s"]),
        _time(row["latency_s"]) + mark(row["quality"]),
        "-" if times is None else ratio(times) + unpaired + plus_minus(half),
        "-" if row["error"] is None else f"{row['error']:.1e}",
        str(row["arithmetic"] or "-"),
    ]


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else time_in_words(seconds)


def _agreement(row: Mapping[str, Any]) -> list[str]:
    return [
        "-" if row["sqnr_db"] is None else f"{row['sqnr_db']:.0f} dB",
        "-" if row["top1_agreement"] is None else f"{100 * row['top1_agreement']:.1f} % of {row['agreement_n']}",
    ]
