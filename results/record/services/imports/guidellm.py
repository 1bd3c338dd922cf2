"""guidellm's benchmarks.json (`src/guidellm/benchmark/schemas/` of vllm-project/guidellm, read in November 2026).

A report holds a benchmark for each rate. Its ITL is (last token − first token) / (n − 1), a value per request: that is
our `tpot_first_one_s`. Its TPOT is (last token − start) / n, with the first token in it: no column of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from results.record.services.imports.common import NOT_TOLD, QUANTILES, Report, Unknown, noted, scaled, without_secrets

MILLI = 1e-3
COLUMNS = {
    "time_to_first_token_ms": ("ttft_s", MILLI),
    "inter_token_latency_ms": ("tpot_first_one_s", MILLI),
    "request_latency": ("e2e_s", 1.0),
}
RATES = {
    "requests_per_second": "requests_per_s",
    "output_tokens_per_second": "output_tokens_per_s",
    "tokens_per_second": "total_tokens_per_s",
}
LOADS = {"synchronous": "single_stream", "throughput": "offline", "concurrent": "concurrency", "poisson": "server"}
"""Its strategies that are scenarios of ours."""
NOTES = (
    "quantiles are its own",
    "tokens counted by usage, else by chunks",
    "rates are means over its measured time",
    "tpot_first_one_s is its ITL",
)


def is_its(held: Mapping[str, Any]) -> bool:
    """Returns whether the report is such a one, by its keys."""
    found = held.get("benchmarks")
    return isinstance(found, list) and all(isinstance(one, dict) and "metrics" in one for one in found)


def rows_of(report: Report) -> Iterator[dict[str, Any]]:
    """Yields a row for each benchmark. Raises Unknown."""
    args, version = report.part("args"), report.part("metadata").text("guidellm_version")
    benchmarks = report.parts("benchmarks")
    if not benchmarks:
        raise Unknown("benchmarks is empty")
    for benchmark in benchmarks:
        metrics = benchmark.part("metrics")
        whole, failed = _counts(benchmark)
        latencies: dict[str, Any] = {}
        for name, (column, factor) in COLUMNS.items():
            latencies |= scaled(_statistics(metrics.part(name, "successful")), column, factor)
            latencies[f"{column}_n"] = metrics.part(name, "successful").count("count")
        tpot = _statistics(metrics.part("time_per_output_token_ms", "successful"))["p50"]
        yield {
            "source": f"guidellm {version or ''}".strip(),
            "service": without_secrets(args.text("target") or args.part("backend_kwargs").text("target")),
            "model": args.text("model") or benchmark.part("config", "backend").text("model") or NOT_TOLD,
            **_load(benchmark),
            "started_utc": _day(benchmark.number("start_time")),
            "status": "ok" if whole else "broken",
            "reason": None if whole else "no request was answered whole",
            "n_requests": whole + failed,
            "n_failed": failed,
            "duration_s": benchmark.number("duration"),
            **{column: metrics.part(name, "successful").number("mean") for name, column in RATES.items()},
            **latencies,
            "notes": noted(NOTES, [("TPOT", tpot and MILLI * tpot, "(last token − start) / n")]),
        }


def _counts(benchmark: Report) -> tuple[int, int]:
    """Returns how many requests were whole, and how many failed; those cut by its end are neither."""
    for place in (
        ("metrics", "request_totals"),
        ("scheduler_metrics", "requests_made"),
        ("run_stats", "requests_made"),
    ):
        totals = benchmark.part(*place)
        if totals.held:
            return totals.count("successful") or 0, totals.count("errored") or 0
    raise Unknown("metrics.request_totals is missing; expected how many requests were successful and errored")


def _statistics(found: Report) -> dict[str, float | None]:
    percentiles = found.part("percentiles")
    by_name = {name: percentiles.number(name) for name in QUANTILES}
    return {**by_name, "p50": by_name["p50"] or found.number("median"), "mean": found.number("mean")}


def _load(benchmark: Report) -> dict[str, Any]:
    strategy = benchmark.part("config", "strategy")
    if not strategy.held:
        strategy = benchmark.part("args", "strategy")
    kind = strategy.text("type_") or NOT_TOLD
    in_flight, rate = strategy.count("streams"), strategy.number("rate")
    name = LOADS.get(kind, kind)
    if name == "concurrency":
        return {"scenario": f"concurrency:{in_flight}", "in_flight": in_flight}
    return {"scenario": name if rate is None else f"{name}:{rate:g}", "rate_per_s": rate}


def _day(start_s: float | None) -> str | None:
    return None if start_s is None else datetime.fromtimestamp(start_s, UTC).isoformat(timespec="seconds")
