"""`vllm bench serve --save-result`: one measurement in a file (`vllm/benchmarks/serve.py`, read in November 2026).

Its TTFT ends at the first chunk with choices, be it a role without text: that is our `first_event_s`. Its TPOT is
(E2E − TTFT) / (n − 1), and its ITL the gaps between all chunks with choices: neither is a column of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from results.record.services.imports.common import NOT_TOLD, QUANTILES, Report, noted, scaled

SIGNS = ("request_throughput", "completed", "duration", "total_input_tokens")
MILLI = 1e-3
NOTES = (
    "quantiles are interpolated",
    "tokens counted by usage, else text tokenised again",
    "e2e_s ends at the last chunk",
    "only p99 unless --metric-percentiles says more",
)


def is_its(held: Mapping[str, Any]) -> bool:
    """Returns whether the report is such a one, by its keys."""
    return all(name in held for name in SIGNS)


def rows_of(report: Report) -> Iterator[dict[str, Any]]:
    """Yields its one row. Raises Unknown."""
    completed, failed = report.count("completed") or 0, report.count("failed")
    prompts = report.count("num_prompts")
    total = completed + failed if failed is not None else prompts if prompts is not None else completed
    latencies = {
        **scaled(_statistics(report, "ttft"), "first_event_s", MILLI),
        **scaled(_statistics(report, "e2el"), "e2e_s", MILLI),
    }
    tpot, itl = (report.number(f"median_{name}_ms") for name in ("tpot", "itl"))
    foreign = [
        ("TPOT", tpot and MILLI * tpot, "(E2E − TTFT) / (n − 1)"),
        ("ITL", itl and MILLI * itl, "gaps between chunks with choices, be they empty"),
    ]
    yield {
        "source": "vllm bench serve",
        "service": NOT_TOLD,
        "model": report.text("model_id") or NOT_TOLD,
        "kind": _kind(report),
        "started_utc": report.text("date"),
        **_load(report),
        "status": "ok" if completed else "broken",
        "reason": None if completed else "no request was answered whole",
        "n_requests": total,
        "n_failed": total - completed,
        "prompt_tokens_asked": _mean(report, "total_input_tokens", completed),
        "duration_s": report.number("duration"),
        "requests_per_s": report.number("request_throughput"),
        "goodput_requests_per_s": report.number("request_goodput"),
        "output_tokens_per_s": report.number("output_throughput"),
        "total_tokens_per_s": report.number("total_token_throughput"),
        **latencies,
        "notes": noted(NOTES, foreign),
    }


def _statistics(report: Report, name: str) -> dict[str, float | None]:
    by_name = {quantile: report.number(f"{quantile}_{name}_ms") for quantile in QUANTILES}
    by_name["p50"] = report.number(f"median_{name}_ms", f"p50_{name}_ms")
    return {**by_name, "mean": report.number(f"mean_{name}_ms")}


def _kind(report: Report) -> str | None:
    kind = report.text("endpoint_type", "backend") or ""
    return "chat" if "chat" in kind else "completions" if kind in ("vllm", "openai", "openai-comp") else None


def _load(report: Report) -> dict[str, Any]:
    """Returns how requests arrived: `inf` is all at once, or as fast as a limit of requests in flight lets them."""
    most, rate = report.count("max_concurrency"), report.held.get("request_rate")
    if rate in (None, "inf") or rate == float("inf"):
        return {"scenario": "offline" if most is None else f"concurrency:{most}", "in_flight": most}
    rate_per_s = report.number("request_rate")
    is_poisson = report.held.get("burstiness", 1.0) == 1.0
    limited = "" if most is None else f", at most {most} in flight"
    name = "server" if is_poisson else f"gamma arrivals, burstiness {report.held.get('burstiness')},"
    return {"scenario": f"{name}:{rate_per_s:g}{limited}", "rate_per_s": rate_per_s}


def _mean(report: Report, name: str, completed: int) -> int | None:
    """Returns tokens of a request, where each had as many."""
    total = report.count(name)
    return total // completed if total is not None and completed and total % completed == 0 else None
