"""What the report shows of batches: throughput at one that all have, and at each backend's best."""

from __future__ import annotations

import pandas as pd

from results.record.human import mark, rate, ratio
from results.show.numbers import plus_minus
from results.show.report.rows import Line, in_words, records
from results.tables.batches.best import RATE, best_batches


def batch_lines(frame: pd.DataFrame) -> list[Line]:
    """Returns a line per step and backend of which several batches were measured."""
    lines = []
    for row in records(best_batches(frame)):
        common, best = row[f"common_{RATE}"], row[f"best_{RATE}"]
        lines.append(
            {
                "step": in_words({**row, "batch": None, "sequence": None}) + _sequence(row),
                "label": row["label"],
                "common": "" if common is None else f"{_rate(row, 'common')} at {row['common_batch']}",
                "best": f"{_rate(row, 'best')} at {row['best_batch']}",
                "ratio": "" if not common else ratio(best / common),
                "why": row["why_no_larger"] or "",
            }
        )
    return lines


def _sequence(row: Line) -> str:
    return "" if row["sequence"] is None else f", sequence {row['sequence']}"


def _rate(row: Line, of: str) -> str:
    return rate(row[f"{of}_{RATE}"]) + mark(row[f"{of}_quality"]) + plus_minus(row[f"{of}_half_width"])
