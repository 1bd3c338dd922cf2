"""What a person reads at the end of a run: numbers beside each other, and why some are missing."""

import textwrap
from collections.abc import Sequence

import pandas as pd

from results.layout import Cell, Line, laid_out
from results.human import in_time_unit, prefixed, ratio, significant, time_unit
from results.row import COLUMN, STATUSES
from results.table import POSITION, comparison, default_baseline, more_is_better, placed, ratios

METRICS = ("latency_p50_s", "throughput_samples_per_s")
TITLES = {"latency_p50_s": "Latency", "throughput_samples_per_s": "Throughput"}

BY_URGENCY = (*STATUSES[STATUSES.index("wrong") :], "known_failure", "unsupported", "unavailable")


def render(
    frame: pd.DataFrame,
    baseline: str | None = None,
    metrics: Sequence[str] = METRICS,
    width: int = 120,
) -> str:
    """Return the rows as text: a table per metric, what has no number and why, and what the ratios mean.

    `baseline` is a backend (or a label of `results.table.placed`); by default `default_baseline`.
    """
    if frame.empty:
        return "No cells: nothing was planned."
    rows = placed(frame)
    chosen = baseline or default_baseline(frame)
    tables = [_table(frame, rows, metric, chosen, width) for metric in metrics]
    blocks = [_heading(frame, rows), *tables, _without_number(rows, width), _legend(frame, rows, chosen)]
    return "\n\n".join(block for block in blocks if block)
