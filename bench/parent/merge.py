"""The numbers of a cell from the launches that count: medians, extremes, sums, and what lies furthest off."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from statistics import median
from typing import Any

from results.record import rounds
from results.record.schema import MEASURED

LEAST = ("latency_min_s",)
MOST = ("latency_max_s", "peak_memory_bytes", "host_peak_memory_bytes", "step_peak_memory_bytes", "steps_per_sample")
SUMS = ("latency_n", "throughput_n", "rounds_n", "rounds_left_out")
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
ROUNDS = {
    "rounds_latency_s": ("latency_p50_s", "latency_ci_low_s", "latency_ci_high_s"),
    "rounds_samples_per_s": (
        "throughput_samples_per_s",
        "throughput_ci_low_samples_per_s",
        "throughput_ci_high_samples_per_s",
    ),
}
"""A column of rounds with the number that it makes, and the ends of its interval."""
BESIDE = {
    "error_worst": ("error_worst_of", "error_tolerance"),
    "scale_worst": ("scale_worst_of", "scale_tolerance"),
    "update_worst": ("update_worst_of", "update_tolerance"),
}
"""A deviation with its tensor and its tolerance: they are of one launch, the one nearest to its tolerance."""


def merged(launches: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the columns of one launch; of several the first one's, with the numbers of all of them.

    A number is the median, unless one of the lists above says otherwise; one that not every launch has is left out.
    Rounds of all launches are put together, and make latency, throughput and their intervals.
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
    for name in ROUNDS:
        row[name] = rounds.to_text({n: v for launch in launches for n, v in rounds.from_text(launch[name]).items()})
    row |= of_rounds(row)
    row |= arithmetic(row)
    medians = [launch["latency_p50_s"] for launch in launches]
    row["launch_spread"] = (max(medians) - min(medians)) / row["latency_p50_s"]
    return row


def of_rounds(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Returns latency and throughput with their intervals: the medians over the rounds that count.

    The interval is that of the rounds' pseudo-median (`results.record.rounds`), widened where the median lies outside.
    """
    numbers: dict[str, Any] = {}
    for name, (value, low, high) in ROUNDS.items():
        by_number = rounds.from_text(columns.get(name))
        if of_metric := list(by_number.values()):
            middle, known = _within_extremes(median(of_metric), value, columns), rounds.estimate(of_metric)
            estimate = rounds.between_processes(known, rounds.launches_of(by_number), 1)
            numbers |= {value: middle, low: None, high: None}
            if estimate.low is not None and estimate.high is not None:
                numbers |= {low: min(estimate.low, middle), high: max(estimate.high, middle)}
    if (tokens := columns.get("tokens_per_step")) is not None and "throughput_samples_per_s" in numbers:
        steps_per_s = numbers["throughput_samples_per_s"] / columns["samples_per_step"]
        numbers["throughput_tokens_per_s"] = tokens * steps_per_s
    return numbers


def arithmetic(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what latency and throughput are in FLOP/s and byte/s."""
    steps_per_s = columns["throughput_samples_per_s"] / columns["batch"]
    return {
        "flops_per_s": columns["flops_per_step"] / columns["latency_p50_s"],
        "throughput_flops_per_s": columns["flops_per_step"] * steps_per_s,
        "throughput_bytes_per_s": columns["minimum_bytes_per_step"] * steps_per_s,
    }


def _within_extremes(middle: float, name: str, columns: Mapping[str, Any]) -> float:
    """Returns the median of the rounds between the extremes of its samples: the text of a round is rounded."""
    least, most = columns.get("latency_min_s"), columns.get("latency_max_s")
    if name != "latency_p50_s" or least is None or most is None:
        return middle
    return float(min(max(middle, least), most))


def nearness(launch: Mapping[str, Any], name: str) -> float:
    """Returns the deviation `name` of a launch as a part of its tolerance; -1 where the launch has no deviation."""
    value, tolerance = launch.get(name), launch.get(BESIDE[name][1])
    if value is None:
        return -1.0
    if tolerance == 0:
        return inf if value else 0.0
    return float(value) / (tolerance or 1.0)


def without_numbers(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the columns of a row that has no number: what only an `ok` row may carry is left out."""
    return {name: value for name, value in columns.items() if name not in MEASURED}
