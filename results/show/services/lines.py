"""Loads as lines of the report: words that its template puts into cells."""

from __future__ import annotations

from collections.abc import Iterable

from results.record.row import Row
from results.record.services.columns import BACKEND, VERIFICATION

TIMES = ("ttft_s_p50", "ttft_s_p99", "tpot_s_p50", "e2e_s_p50", "e2e_s_p99")
RATES = ("output_tokens_per_s", "requests_per_s")


def service_lines(rows: Iterable[Row]) -> list[dict[str, str]]:
    """Returns a line for each service and load: what was asked, numbers as text, and what a reader must know."""
    return [
        {
            "model": " ".join(str(row[name]) for name in _naming(row)),
            "service": str(row["service"]),
            "scenario": str(row["scenario"]),
            "tokens": _size(row),
            "source": str(row["source"]),
            "status": str(row["status"]),
            **{name: _milliseconds(row[name]) for name in TIMES},
            **{name: f"{row[name]:.4g}" if isinstance(row[name], float) else "" for name in RATES},
            "requests": f"{_or(row['n_requests'], '')}",
            "failed": str(row["failures"] or row["n_failed"] or ""),
            "remarks": "; ".join(str(row[name]) for name in _remarked(row) if row[name]),
        }
        for row in rows
    ]


def _naming(row: Row) -> tuple[str, ...]:
    return ("model",) if row["backend"] == BACKEND else ("model", "kind", "precision")


def _size(row: Row) -> str:
    """Returns how large a request is: in tokens; of steps that generate none, in samples."""
    if row["backend"] != BACKEND and row["output_tokens_asked"] is None:
        return f"batch {row['batch']}"
    return f"{_or(row['prompt_tokens_asked'], '?')}+{_or(row['output_tokens_asked'], '?')}"


def _remarked(row: Row) -> tuple[str, ...]:
    verification = () if row["verification"] == VERIFICATION or row["status"] != "ok" else ("verification",)
    return ("reason", *verification, "early_stopping", "notes")


def _or(value: object, otherwise: str) -> str:
    return otherwise if value is None else str(value)


def _milliseconds(value: object) -> str:
    return f"{1e3 * value:.4g} ms" if isinstance(value, float) else ""
