"""What another precision brings on the same backend, at the same step: time, error, and what was really computed."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from results.record.dimensions import DIMENSIONS, PLAIN_PRECISION
from results.record.schema import COLUMN
from results.tables.phases import frame_of
from results.tables.ratio import times_as_fast
from results.tables.table import DTYPES, is_control, is_verified, placed, to_rows

ASKED = "precision_requested"
AGREEMENT = ("sqnr_db", "kl_nats", "top1_agreement", "agreement_n")
STEP = tuple(d.column for d in DIMENSIONS if not (d.in_label or d.matched_as_read_back))
"""What two rows of a line have in common beside their backend."""
_COLUMNS = {
    **{name: DTYPES[COLUMN[name].kind] for name in (*STEP, "machine", "machine_id")},
    **dict.fromkeys(("backend", "precision", "arithmetic"), "string"),
    "is_emulated": "boolean",
    **dict.fromkeys(("plain_latency_s", "latency_s", "times_as_fast", "times_low", "times_high"), "Float64"),
    "is_paired": "boolean",
    **dict.fromkeys(("plain_error", "error", "sqnr_db", "kl_nats", "top1_agreement"), "Float64"),
    "agreement_n": "Int64",
    **dict.fromkeys(("error_of", "quality"), "string"),
}
"""The columns of `precisions` and their dtypes."""


def precisions(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns a row per verified cell in another precision than fp32, beside the fp32 cell of the same backend.

    `times_as_fast` is how many times as fast it is as fp32 (of latency), with its 95 % interval (`times_low`,
    `times_high`), of common rounds where `is_paired`; NA, with `plain_*`, where fp32 was not measured. `error` is the
    worst relative error of a verified tensor from the float64 reference of that precision, `error_of` says of which;
    `plain_error` that of the fp32 cell. In 8 bits, where the model is another one, `sqnr_db`, `kl_nats` and
    `top1_agreement` (of `agreement_n` output vectors) say how near its outputs lie to fp32's. `arithmetic` is what the
    products ran in. `backend` is a label of `placed`.
    """
    every = placed(frame)
    rows = to_rows(every[is_verified(every) & ~is_control(every) & every["variant"].isna()])
    plain = {_place(row): row for row in rows if row[ASKED] == PLAIN_PRECISION}
    others = [row for row in rows if row[ASKED] != PLAIN_PRECISION]
    records = [_record(row, plain.get(_place(row))) for row in others]
    return frame_of(sorted(records, key=lambda one: [(v is not None, str(v)) for v in _place(one)]), _COLUMNS)


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (*(row.get(name) for name in (*STEP, "machine", "machine_id")), row.get("label", row.get("backend")))


def _record(row: Mapping[str, Any], plain: Mapping[str, Any] | None) -> dict[str, Any]:
    times = None
    if plain is not None and plain["workload_digest"] == row["workload_digest"]:
        times = times_as_fast(row, plain, "latency_p50_s")
    return {
        **{name: row[name] for name in (*STEP, "machine", "machine_id", "arithmetic", "is_emulated", "quality")},
        **{name: row[name] for name in AGREEMENT},
        "backend": row["label"],
        "precision": row[ASKED],
        "plain_latency_s": plain and plain["latency_p50_s"],
        "latency_s": row["latency_p50_s"],
        "times_as_fast": times and times.value,
        "times_low": times and times.low,
        "times_high": times and times.high,
        "is_paired": times and times.is_paired,
        "plain_error": plain and plain["error_worst"],
        "error": row["error_worst"],
        "error_of": row["error_worst_of"],
    }
