"""The rows as the report goes through them: Python's own values, in the order of the page, in groups and in words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from results.record import human
from results.record.dimensions import PLAIN_PRECISION, POSITION, more_in_words
from results.record.human import in_time_unit, rate, time_unit
from results.show.numbers import plus_minus
from results.tables.ratio import half_width
from results.tables.table import idle_labels, is_control, is_limit, is_verified, to_rows

Line = dict[str, Any]
SAMPLES = "throughput_samples_per_s"


def numbered(placed_rows: pd.DataFrame) -> list[Line]:
    """Returns the rows in the order of the page, with Python's own values, None where there is none.

    Beside its columns each has `anchor`, its place; `cell`, in words; `plain`, its label without the machine; and
    whether it `is_verified`, `is_work` (verified, not the control's), `is_limit` (it measures what bounds the chip) and
    `is_compared` (neither the control nor idle).
    """
    rows = placed_rows.sort_values(["machine", *POSITION, "label"], kind="stable", na_position="first")
    control = is_control(rows)
    added = {
        "machine": rows["machine"].fillna("unknown"),
        "is_verified": is_verified(rows),
        "is_work": is_verified(rows) & ~control,
        "is_limit": is_limit(rows),
        "is_compared": ~control & ~rows["label"].isin(idle_labels(rows)),
    }
    return [
        {**row, "anchor": f"r{number}", "cell": in_words(row), "plain": of_backend(row["label"])}
        for number, row in enumerate(records(rows.assign(**added)))
    ]


def in_words(row: Line) -> str:
    """Returns a cell without its backend, such as `gpt2 124m infer, batch 2 × 128`."""
    shape = "" if row["batch"] is None else f", batch {row['batch']}"
    shape += "" if row["sequence"] is None else f" × {row['sequence']}"
    more = "" if row["precision"] in (PLAIN_PRECISION, None) else f", {row['precision']}"
    return f"{row['workload']} {row['size']} {row['phase']}{shape}{more}{more_in_words(row)}"


def records(frame: pd.DataFrame) -> list[Line]:
    """Returns the frame's rows with Python's own values, None where there is none."""
    return [dict(row) for row in to_rows(frame)]


def grouped(rows: Iterable[Line], *names: str) -> dict[Any, list[Line]]:
    """Returns the rows by what they have under the names, groups and rows in the order in which they come."""
    groups: dict[Any, list[Line]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups


def by_machine(rows: Iterable[Line]) -> list[tuple[str, list[Line]]]:
    """Returns each machine's rows, the machines by name."""
    return sorted((machine, members) for (machine,), members in grouped(rows, "machine").items())


def of_backend(label: str | None) -> str | None:
    """Returns a label without its machine: on each machine ratios refer to its own baseline."""
    return None if label is None else label.partition("@")[0]


def row_lines(rows: Sequence[Line]) -> list[Line]:
    """Returns the rows as they are shown, each with the anchor that numbers link to."""
    return [
        {
            "id": row["anchor"],
            "machine": row["machine"],
            "cell": row["cell"],
            "label": row["plain"],
            "status": row["status"],
            "latency": ""
            if row["latency_p50_s"] is None
            else time(row["latency_p50_s"]) + mark(row) + plus_minus(half_width(row, "latency_p50_s")),
            "rate": ""
            if row[SAMPLES] is None
            else rate(row[SAMPLES]) + mark(row) + plus_minus(half_width(row, SAMPLES)),
            "error": "" if row["error_worst"] is None else f"{row['error_worst']:.1e}",
            "quality": " ".join(str(row[name]) for name in ("quality", "flags") if row[name] is not None),
            "run": "" if row["run_id"] is None else row["run_id"],
            "software": "" if row["software_id"] is None else row["software_id"],
            "digest": "" if row["workload_digest"] is None else row["workload_digest"],
            "versions": versions(row["library_versions"]),
        }
        for row in rows
    ]


def versions(text: object) -> str:
    """Returns `torch 2.13.0, onnx 1.20` of a row's JSON; nothing where it is none."""
    if not isinstance(text, str):
        return ""
    try:
        versions = json.loads(text)
    except ValueError:
        return ""
    return ", ".join(f"{name} {version}" for name, version in versions.items()) if isinstance(versions, dict) else ""


def time(seconds: float) -> str:
    """Returns a time in the unit in which it reads best."""
    return in_time_unit(seconds, time_unit([seconds]))


def mark(row: Line) -> str:
    """Returns the marks of a row whose products ran in a wider type than was asked for, and of a disturbed one."""
    return (f" {human.EMULATED}" if row["is_emulated"] else "") + human.mark(row["quality"])
