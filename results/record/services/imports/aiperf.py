"""`aiperf profile`: profile_export_aiperf.json, schema 1.x (docs/reference/json-export-schema.md of ai-dynamo/aiperf).

Its TTFT ends at the first chunk with content, as ours does. Its inter-token latency is one value per request, (request
latency − TTFT) / (n − 1): no column of ours. `unit` says in what a metric is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from results.record.services.imports.common import (
    NOT_TOLD,
    QUANTILES,
    Report,
    Unknown,
    noted,
    scaled,
    throughput,
    without_secrets,
)

SECONDS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "milliseconds": 1e-3, "us": 1e-6, "ns": 1e-9}
COLUMNS = {"time_to_first_token": "ttft_s", "request_latency": "e2e_s", "inter_chunk_latency": "icl_s"}
RATES = {
    "request_throughput": "requests_per_s",
    "goodput": "goodput_requests_per_s",
    "output_token_throughput": "output_tokens_per_s",
    "total_token_throughput": "total_tokens_per_s",
}
NOTES = (
    "quantiles are interpolated",
    "tokens counted by its own tokenizer or by usage",
    "e2e_s ends at the last chunk",
)


def is_its(held: Mapping[str, Any]) -> bool:
    """Returns whether the report is such a one, by its keys."""
    return isinstance(held.get("request_latency"), dict) and "unit" in held["request_latency"]


def rows_of(report: Report) -> Iterator[dict[str, Any]]:
    """Yields its one row. Raises Unknown."""
    answered = report.part("request_count").count("avg", "sum")
    failed = report.part("error_request_count").count("avg", "sum") or 0
    duration_s = _seconds(report, "benchmark_duration", ("avg",)).get("avg")
    rates = {column: report.part(name).number("avg") for name, column in RATES.items()}
    rates["requests_per_s"] = throughput(rates["requests_per_s"], answered, duration_s)
    latencies: dict[str, Any] = {}
    for name, column in COLUMNS.items():
        latencies |= scaled(_statistics(report, name), column, 1.0)
        latencies[f"{column}_n"] = report.part(name).count("count")
    itl = _statistics(report, "inter_token_latency").get("p50")
    endpoint, load = report.part("input_config", "endpoint"), report.part("input_config", "loadgen")
    yield {
        "source": f"aiperf {report.text('aiperf_version') or ''}".strip(),
        "service": without_secrets(_first(endpoint.held.get("urls")) or endpoint.text("url")),
        "model": _first(endpoint.held.get("model_names")) or NOT_TOLD,
        "kind": endpoint.text("type"),
        "started_utc": report.text("start_time"),
        **_load(load),
        "status": "ok" if answered else "broken",
        "reason": None if answered else "no request was answered whole",
        "n_requests": (answered or 0) + failed,
        "n_failed": failed,
        "prompt_tokens_asked": _same(report, "input_sequence_length"),
        "output_tokens_asked": _same(report, "output_sequence_length"),
        "duration_s": duration_s,
        **rates,
        **latencies,
        "notes": noted(NOTES, [("inter-token latency", itl, "(E2E − TTFT) / (n − 1), by request")]),
    }


def _seconds(report: Report, name: str, statistics: tuple[str, ...]) -> dict[str, float | None]:
    """Returns statistics of a metric in seconds. Raises Unknown for a unit that is no time."""
    metric = report.part(name)
    if not metric.held:
        return {}
    unit = metric.text("unit") or ""
    if unit not in SECONDS:
        raise Unknown(f"{name}.unit is {unit!r}; expected one of {', '.join(SECONDS)}")
    values = {one: metric.number(one) for one in statistics}
    return {one: None if value is None else SECONDS[unit] * value for one, value in values.items()}


def _statistics(report: Report, name: str) -> dict[str, float | None]:
    found = _seconds(report, name, ("avg", *QUANTILES))
    return {("mean" if one == "avg" else one): value for one, value in found.items()}


def _load(load: Report) -> dict[str, Any]:
    rate, most = load.number("request_rate"), load.count("concurrency")
    if rate is None:
        return {"scenario": NOT_TOLD if most is None else f"concurrency:{most}", "in_flight": most}
    mode = load.text("request_rate_mode", "arrival_pattern") or "poisson"
    limited = "" if most is None else f", at most {most} in flight"
    return {"scenario": f"{'server' if mode == 'poisson' else mode}:{rate:g}{limited}", "rate_per_s": rate}


def _first(held: object) -> str | None:
    return str(held[0]) if isinstance(held, list) and held else None


def _same(report: Report, name: str) -> int | None:
    """Returns a length that all requests had."""
    metric = report.part(name)
    least, most = metric.number("min"), metric.number("max")
    return int(least) if least is not None and least == most else None
