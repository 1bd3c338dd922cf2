"""From what a launch reported to its record, and from a cell's launches to the columns of its row."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp, floor, log, sqrt
from statistics import fmean, median, stdev
from typing import Any

from backends._probes import versions
from backends.base import Adapter, Probe
from bench.cell import Cell
from bench.effort import METHOD_VERSION
from bench.parent.launch import Outcome
from bench.parent.quality import judge
from results.record.schema import MEASURED
from workloads.count import count
from workloads.workload import Workload

SERIES = ("samples_s", "throughput_samples_s", "warm_up_samples_s", "operators")
"""What a launch measured, sample by sample and operator by operator, in seconds per step: in its record, not in a row.
"""
AS_JSON = ("requested", "effective", "throughput_setting", "not_measured")
DECISIVE = ("wrong", "refused")
"""One launch that ends so makes the row so, whatever the others say."""


@dataclass(frozen=True)
class Launch:
    """One launch of a cell: the columns of a row that it alone would make, and its samples.

    `number` counts the launches of the cell from 0; `attempt` is 2 where an invalid or doubtful first one was repeated;
    `order` is its place among all launches of the run.
    """

    columns: dict[str, Any]
    series: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    number: int = 0
    attempt: int = 1
    order: int = 0

    @property
    def status(self) -> str:
        """The status of a row of this launch."""
        return str(self.columns["status"])

    @property
    def is_invalid(self) -> bool:
        """Whether it was measured, and disturbed so that its numbers enter no statistic."""
        return self.status == "ok" and self.columns.get("quality") == "invalid"

    @property
    def is_doubtful(self) -> bool:
        """Whether it was refused by the clock alone: a disturbance may have made it look as if it did not wait."""
        return self.status == "refused" and self.columns.get("reason_code") == "does_not_wait"

    @property
    def is_repeated(self) -> bool:
        """Whether the cell is launched once more in its place."""
        return self.attempt == 1 and (self.is_invalid or self.is_doubtful)

    def beside(self, machine_slower: float) -> Launch:
        """Returns the launch with what the control said of the machine before and after it, and judged anew."""
        columns = self.columns | {"machine_slower": machine_slower}
        if self.status == "ok":
            columns["quality"], flags = judge(columns)
            columns["flags"] = " ".join(flags) or None
        return replace(self, columns=columns)

    def to_record(self, cell: Cell) -> dict[str, Any]:
        """Returns all of it in a form that JSON can hold."""
        place = {"number": self.number, "attempt": self.attempt, "order": self.order}
        series = {name: list(values) for name, values in self.series.items()}
        return {**cell.columns(), "status": self.status, **place, "columns": self.columns, **series}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Launch:
        """Returns what `to_record` was called on."""
        series = {name: tuple(record[name]) for name in SERIES if name in record}
        return cls(dict(record["columns"]), series, record["number"], record["attempt"], record["order"])


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
        "weights_bytes": 4 * sum(spec.size for spec in workload.parameters + workload.buffers),
        "state_bytes": 4 * len(workload.optimizer.moments) * workload.parameter_count if phase == "train" else None,
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


def to_launch(cell: Cell, known: Mapping[str, Any], outcome: Outcome) -> Launch:
    """Returns the record of a launch: what was `known` before it, and numbers or a reason.

    Its samples are kept where it is `ok`.
    """
    result = dict(outcome.result)
    series = {name: tuple(result.pop(name)) for name in SERIES if name in result}
    columns: dict[str, Any] = {
        **known,
        **result,
        "status": outcome.status,
        "stage": outcome.stage,
        "reason_code": outcome.reason_code,
        "reason": outcome.reason,
        "launch_s": outcome.launch_s,
    }
    if "effective" in result:
        columns["precision"] = result["effective"]["precision"]
    columns |= {name: json.dumps(result[name], sort_keys=True) for name in AS_JSON if name in result}
    if outcome.status == "ok":
        columns |= latency_columns(series["samples_s"])
        columns |= throughput_columns(cell, series["throughput_samples_s"], known["tokens_per_step"])
        columns["flops_per_s"] = known["flops_per_step"] / columns["latency_p50_s"]
        steps_per_s = columns["throughput_samples_per_s"] / cell.batch
        columns["throughput_flops_per_s"] = known["flops_per_step"] * steps_per_s
        columns["throughput_bytes_per_s"] = known["minimum_bytes_per_step"] * steps_per_s
        columns["quality"], flags = judge({**columns, "threads": cell.threads})
        columns["flags"] = " ".join(flags) or None
    else:
        series = {}
    return Launch(columns, series)


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


def to_row(launches: Sequence[Launch]) -> dict[str, Any]:
    """Returns the columns of a cell's row, from all of its launches, at least one.

    A launch that is wrong or refused makes the row so; of a doubtful one that was repeated, the repetition counts. Else
    its numbers are the medians over the launches that are `ok` and not invalid; where all that were measured are
    invalid, the row is refused; where none was measured, it says what the first one says.
    """
    measured = [launch for launch in launches if launch.status == "ok"]
    good = [launch for launch in measured if not launch.is_invalid]
    counts = {
        "launches_ok": len(good),
        "launches_failed": len(launches) - len(measured),
        "launches_invalid": len(measured) - len(good),
    }
    repetitions = {launch.number for launch in launches if launch.attempt > 1}
    final = [one for one in launches if not (one.is_repeated and one.number in repetitions)]
    for status in DECISIVE:
        for launch in final:
            if launch.status == status:
                return launch.columns | counts
    if good:
        return _median_of([launch.columns for launch in good]) | counts
    if measured:
        return _disturbed(measured[-1].columns) | counts
    return final[0].columns | counts


def _disturbed(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the columns of a row whose every launch was disturbed: the flags stay, the numbers go."""
    reason = f"disturbed each time it was measured: {columns['flags']}; its samples are in the journal"
    return without_numbers(columns) | {"reason_code": "disturbed", "reason": reason}


def without_numbers(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the columns of a measured row that is refused all the same: the flags stay, the numbers go."""
    kept = {name: value for name, value in columns.items() if name not in MEASURED}
    return kept | {"status": "refused", "stage": "measure"}


_LEAST = ("latency_min_s",)
_MOST = ("latency_max_s", "peak_memory_bytes", "host_peak_memory_bytes", "error_worst", "scale_worst")
_SUMS = ("latency_n", "throughput_n")
_WORST_OF = {"error_worst": ("error_worst_of",), "scale_worst": ("scale_worst_of",)}


def _median_of(launches: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns one launch's columns with, for several, the median of each measured number."""
    first = launches[0]
    if len(launches) == 1:
        return dict(first)
    row = dict(first)
    for name, value in first.items():
        numbers: list[float] = [launch[name] for launch in launches if launch.get(name) is not None]
        if isinstance(value, float) and len(numbers) == len(launches):
            row[name] = median(numbers)
    for names, choose in ((_LEAST, min), (_MOST, max), (_SUMS, sum)):
        for name in names:
            numbers = [launch[name] for launch in launches if launch.get(name) is not None]
            if numbers:
                row[name] = choose(numbers)
    for name, beside in _WORST_OF.items():
        worst = max(launches, key=lambda launch, name=name: float(launch.get(name) or 0.0))  # type: ignore[misc]
        row |= {other: worst.get(other) for other in beside}
    medians = [launch["latency_p50_s"] for launch in launches]
    row["launch_spread"] = (max(medians) - min(medians)) / row["latency_p50_s"]
    row["latency_ci_low_s"], row["latency_ci_high_s"] = _interval(medians)
    flags = {flag for launch in launches for flag in (launch.get("flags") or "").split()}
    row["flags"] = " ".join(sorted(flags)) or None
    row["quality"] = "degraded" if "degraded" in {launch["quality"] for launch in launches} else "valid"
    return row


STUDENT_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's t at 0.975 for 1 to 9 degrees of freedom; beyond them 2.23 is on the safe side."""


def _interval(medians: Sequence[float]) -> tuple[float | None, float | None]:
    """Returns the 95 % interval of a launch's median from several launches, on a logarithmic scale; None below 3."""
    n = len(medians)
    if n < 3:
        return None, None
    logs = [log(value) for value in medians]
    t = STUDENT_975[n - 2] if n - 2 < len(STUDENT_975) else 2.23
    half = t * stdev(logs) / sqrt(n)
    return exp(fmean(logs) - half), exp(fmean(logs) + half)


def json_safe(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the columns that have a value, for pytest-benchmark's `extra_info`."""
    return {name: value for name, value in columns.items() if value is not None}
