"""What a step consists of, measured part by part: the rows that have it, and why numbers are missing in them."""

import json

import pandas as pd

from results.record.dimensions import POSITION
from results.tables.table import idle_labels, is_control, placed


def measured_steps(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """Returns the `ok` rows of backends that compute, by step (`POSITION`): one frame each, sorted by label."""
    rows = placed(frame[~is_control(frame)])
    rows = rows[(rows["status"] == "ok").fillna(False) & ~rows["label"].isin(idle_labels(rows))]
    return [group.sort_values("label") for _, group in rows.groupby(list(POSITION), dropna=False, sort=True)]


def missing_parts(rows: pd.DataFrame) -> dict[tuple[str, str], list[str]]:
    """Returns the labels by what is missing in their rows (a column, or `parts` for all of them) and why."""
    labels_of: dict[tuple[str, str], list[str]] = {}
    for label, reasons in zip(rows["label"], rows["not_measured"], strict=True):
        for name, reason in json.loads(reasons).items() if pd.notna(reasons) else ():
            labels_of.setdefault((name, reason), []).append(label)
    return labels_of
