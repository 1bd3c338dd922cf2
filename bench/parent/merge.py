"""The numbers of a cell from the launches that count: medians, extremes, sums, and what lies furthest off."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import exp, inf, log, sqrt
from statistics import fmean, median, stdev
from typing import Any

from results.record.schema import MEASURED

LEAST = ("latency_min_s",)
MOST = ("latency_max_s", "peak_memory_bytes", "host_peak_memory_bytes", "steps_per_sample")
SUMS = ("latency_n", "throughput_n")
EVENTS = (
    "compilations",
    "threads_running",
    "thermal_events",
    "swapped_pages",
    "major_faults",
    "device_other_processes",
    "device_memory_errors",
)
"""Counts behind flags: a row that has one launch's flag has that launch's count, so the most of all launches."""
BESIDE = {
    "error_worst": ("error_worst_of", "error_tolerance"),
    "scale_worst": ("scale_worst_of", "scale_tolerance"),
}
"""A deviation with its tensor and its tolerance: they are of one launch, the one nearest to its tolerance."""


def merged(launches: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the columns of one launch; of several the first one's, with the numbers of all of them.

    A number is the median, unless one of the lists above says otherwise; one that not every launch has is left out.
    `latency_ci_low_s` and `latency_ci_high_s` are of the median from launch to launch, None below three launches.
    """
    row = dict(launches[0])
    if len(launches) == 1:
        return row
    for name in dict.fromkeys(name for launch in launches for name in launch):
        values: list[Any] = [launch.get(name) for launch in launches]
        if None in values:
            row |= {name: None} if name in MEASURED else {}
        elif isinstance(row[name], float):
            row[name] = median(values)
    choices: tuple[tuple[Sequence[str], Callable[[Any], Any]], ...] = ((LEAST, min), (MOST, max), (SUMS, sum))
    for names, choose in choices:
        for name in names:
            if None not in (values := [launch.get(name) for launch in launches]):
                row[name] = choose(values)
    for name in EVENTS:
        if counts := [launch[name] for launch in launches if launch.get(name) is not None]:
            row[name] = max(counts)
    for name, beside in BESIDE.items():
        worst = max(launches, key=lambda launch, name=name: nearness(launch, name))  # type: ignore[misc]
        row |= {each: worst.get(each) for each in (name, *beside)}
    medians = [launch["latency_p50_s"] for launch in launches]
    row["launch_spread"] = (max(medians) - min(medians)) / row["latency_p50_s"]
    row["latency_ci_low_s"], row["latency_ci_high_s"] = interval(medians)
    return row


def nearness(launch: Mapping[str, Any], name: str) -> float:
    """Returns the deviation `name` of a launch as a part of its tolerance; -1 where the launch has no deviation."""
    value, tolerance = launch.get(name), launch.get(BESIDE[name][1])
    if value is None:
        return -1.0
    if tolerance == 0:
        return inf if value else 0.0
    return float(value) / (tolerance or 1.0)


STUDENT_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's t at 0.975 for 1 to 9 degrees of freedom; beyond them 2.23 is on the safe side."""


def interval(medians: Sequence[float]) -> tuple[float | None, float | None]:
    """Returns the 95 % interval of a launch's median from several launches, on a logarithmic scale; None below 3."""
    n = len(medians)
    if n < 3:
        return None, None
    logs = [log(value) for value in medians]
    t = STUDENT_975[n - 2] if n - 2 < len(STUDENT_975) else 2.23
    half = t * stdev(logs) / sqrt(n)
    return exp(fmean(logs) - half), exp(fmean(logs) + half)


def without_numbers(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the columns of a row that has no number: what only an `ok` row may carry is left out."""
    return {name: value for name, value in columns.items() if name not in MEASURED}
