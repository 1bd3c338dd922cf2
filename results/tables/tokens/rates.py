"""What a prompt token and a generated one take and cost on each backend: a row per step that reads or generates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from results.record.dimensions import MODEL, POSITION
from results.record.schema import COLUMN
from results.tables.phases import PLACE, PRICED, frame_of, priced, usd_per_million
from results.tables.prices import Price, known_prices
from results.tables.ratio import half_width
from results.tables.table import DTYPES, is_verified, placed, to_rows
from results.tables.tokens.kinds import TOKENS_OF, is_served

_TAKEN = (*POSITION, "workload_digest", *PLACE, "device", "latency_p50_s", "throughput_tokens_per_s")
_COLUMNS = {
    **{name: DTYPES[COLUMN[name].kind] for name in (*_TAKEN, "memory_roof_s", "times_memory_roof", "quality")},
    "tokens": "string",
    "s_per_token": "Float64",
    "half_width": "Float64",
    "usd_per_million_tokens": "Float64",
    **PRICED,
}


def rates(frame: pd.DataFrame, prices: Sequence[Price] | None = None) -> pd.DataFrame:
    """Returns a row per verified step that reads a prompt or generates, machine and backend, prompts first.

    tokens                       `prompt` or `generated`
    s_per_token                  seconds of a device per token with the device kept full, 1 / throughput_tokens_per_s
    latency_p50_s                of a prompt the time to its first token, else the time per token, with one in flight
    usd_per_million_tokens       1e6 × s_per_token / 3600 × USD per hour of the device; NA without a price, see
                                 `no_price`; `half_width` is of both
    """
    known = known_prices() if prices is None else prices
    rows = placed(frame)
    rows = rows[is_verified(rows) & is_served(rows) & rows["throughput_tokens_per_s"].notna()]
    found = [_rate(row, known) for row in to_rows(rows.assign(backend=rows["label"]))]
    return frame_of(sorted(found, key=_order), _COLUMNS)


def _rate(row: Mapping[str, Any], prices: Sequence[Price]) -> dict[str, Any]:
    price = priced(row, prices)
    seconds = 1 / row["throughput_tokens_per_s"]
    own = {name: row[name] for name in (*_TAKEN, "memory_roof_s", "times_memory_roof", "quality")}
    return own | {
        "tokens": TOKENS_OF[row["phase"]],
        "s_per_token": seconds,
        "half_width": half_width(row, "throughput_samples_per_s"),
        "usd_per_million_tokens": usd_per_million(seconds, price["usd_per_hour"]),
        **price,
    }


def _order(row: Mapping[str, Any]) -> list[tuple[bool, Any]]:
    model = [row[name] for name in MODEL]
    place = [[*TOKENS_OF].index(row["phase"]), *(row[name] for name in (*POSITION, *PLACE))]
    return [(value is not None, value) for value in (*model, *place)]
