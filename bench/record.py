"""From what a launch reported to the columns of its cell's row."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from math import floor
from typing import Any

from backends._probes import versions
from backends.base import Adapter, Probe
from bench.cell import Cell
from bench.launch import Outcome
from bench.measure import METHOD_VERSION
from workloads.count import count
from workloads.workload import Workload


def percentile(ordered: Sequence[float], q: float) -> float | None:
    """Returns the q-quantile of sorted values by Hyndman & Fan's type 7, None unless 10 values lie above it."""
    if round(len(ordered) * (1 - q), 6) < 10:
        return None
    k = (len(ordered) - 1) * q
    low = floor(k)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (k - low) * (ordered[high] - ordered[low])


def workload_columns(workload: Workload, phase: str) -> dict[str, Any]:
    """Returns what is known of a cell before it runs, whatever comes of it."""
    counts = count(workload, phase)
    return {
        "samples_per_step": workload.batch,
        "tokens_per_step": workload.tokens_per_step,
        "parameters": workload.parameter_count,
        "flops_per_step": counts.flops,
        "minimum_bytes_per_step": counts.minimum_bytes,
        "optimizer": json.dumps(workload.optimizer.description(), sort_keys=True),
        "python_version": platform.python_version(),
        "method_version": str(METHOD_VERSION),
    }


def adapter_columns(adapter: Adapter, probe: Probe) -> dict[str, Any]:
    """Returns what a probe saw: the device, and the versions of the libraries behind the number."""
    libraries = (*adapter.distributions, "numpy")
    return {"device": probe.device or None, "library_versions": json.dumps(versions(libraries), sort_keys=True)}


def outcome_columns(cell: Cell, outcome: Outcome, flops: int, tokens: int | None) -> dict[str, Any]:
    """Returns the columns that a launch fills: numbers where it is `ok`, the reason where it is not."""
    result = dict(outcome.result)
    samples = result.pop("samples_s", None)
    queued = result.pop("throughput_samples_s", None)
    effective = result.pop("effective", None)
    columns: dict[str, Any] = result | {
        "status": outcome.status,
        "stage": outcome.stage,
        "reason_code": outcome.reason_code,
        "reason": outcome.reason,
        "launch_s": outcome.launch_s,
        "launches_ok": int(outcome.status == "ok"),
        "launches_failed": int(outcome.status != "ok"),
    }
    if effective is not None:
        columns |= {"precision": effective["precision"], "effective": json.dumps(effective, sort_keys=True)}
    if outcome.status == "ok":
        columns |= latency_columns(samples) | throughput_columns(cell, queued, tokens)
        columns["flops_per_s"] = flops / columns["latency_p50_s"]
    return columns


def latency_columns(samples: Sequence[float]) -> dict[str, Any]:
    """Returns the latency columns of samples in seconds per step."""
    ordered = sorted(samples)
    n = len(ordered)
    return {
        "latency_p50_s": (ordered[(n - 1) // 2] + ordered[n // 2]) / 2,
        "latency_mean_s": sum(ordered) / n,
        "latency_min_s": ordered[0],
        "latency_max_s": ordered[-1],
        "latency_p90_s": percentile(ordered, 0.90),
        "latency_p99_s": percentile(ordered, 0.99),
        "latency_n": n,
    }


def throughput_columns(cell: Cell, samples: Sequence[float], tokens: int | None) -> dict[str, Any]:
    """Returns the throughput columns: all steps over all seconds, so that slow steps count in full."""
    steps_per_s = len(samples) / sum(samples)
    return {
        "throughput_samples_per_s": cell.batch * steps_per_s,
        "throughput_tokens_per_s": None if tokens is None else tokens * steps_per_s,
        "throughput_n": len(samples),
    }


def json_safe(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the columns that have a value, for pytest-benchmark's `extra_info`."""
    return {name: value for name, value in columns.items() if value is not None}
