"""Whether a measurement can be believed: named flags, each with its limit and what it does to the number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

QUALITIES = ("valid", "degraded", "invalid")


@dataclass(frozen=True)
class Flag:
    """Raised where `column` of a launch is over `limit`, or under it where `below`; `per` scales the limit.

    A `note` leaves the quality as it is; `invalid` has the launch repeated, and its number is used nowhere.
    """

    name: str
    effect: Literal["note", "degraded", "invalid"]
    column: str
    limit: float
    meaning: str
    per: Literal["", "threads", "watched_s"] = ""
    below: bool = False

    def is_raised(self, columns: Mapping[str, Any]) -> bool:
        """Returns whether a launch with these columns has it; a column that is not known raises nothing."""
        value = columns.get(self.column)
        if value is None:
            return False
        limit = self.limit * columns[self.per] if self.per else self.limit
        return bool(value < limit if self.below else value > limit)


FLAGS: tuple[Flag, ...] = (
    Flag("short_window", "degraded", "watched_s", 1.0, "counters of 10 ms say little of under 1 s", below=True),
    Flag("not_steady", "degraded", "is_steady", 0.5, "still changing when the warm-up's time was spent", below=True),
    Flag("drift", "degraded", "has_drifted", 0.5, "moved by over 1 % from begin to end, and not by chance"),
    Flag("recompiled", "invalid", "compilations", 0, "something was compiled while it was timed"),
    Flag("little_violation", "degraded", "little_excess", 0.05, "throughput x latency is not the number in flight"),
    Flag("overhead_high", "degraded", "overhead_share", 0.01, "the timing loop takes more than 1 % of a step"),
    Flag("host_bound", "note", "device_share", 0.5, "the device works for less than half of a step", below=True),
    Flag("parts_too_small", "note", "parts_ratio", 0.97, "the parts add up to less than the whole step", below=True),
    Flag("other_load", "degraded", "other_load_cores", 0.03, "others took over 3 % of the cell's cores", "threads"),
    Flag("overloaded", "invalid", "other_load_cores", 0.25, "others took over 25 % of the cell's cores", "threads"),
    Flag("steal", "degraded", "steal_cores", 0.005, "the hypervisor took over 0.5 % of the cell's cores", "threads"),
    Flag("starved", "invalid", "steal_cores", 0.25, "the hypervisor took over 25 % of the cell's cores", "threads"),
    Flag("slow_machine", "degraded", "machine_slower", 0.05, "the control beside it was over 5 % slower than usual"),
    Flag("suspicious", "degraded", "times_bound", 1.1, "over 1.1 times the highest peak known (Winograd may do it)"),
    Flag("oversubscribed", "degraded", "threads_beyond", 2, "more than two threads beyond the cell's ran"),
    Flag("cpu_pressure", "note", "cpu_pressure_share", 0.10, "some task waited for a CPU over 10 % of the time"),
    Flag("memory_pressure", "degraded", "memory_pressure_share", 0.001, "some task waited for memory"),
    Flag("swapped", "degraded", "swapped_pages", 0, "pages were swapped in or out"),
    Flag("throttled_briefly", "degraded", "throttled_share", 0, "a CPU quota stopped the process for a moment"),
    Flag("throttled", "invalid", "throttled_share", 0.05, "a CPU quota stopped the process over 5 % of the time"),
    Flag("cpu_thermal", "degraded", "thermal_events", 0, "a core slowed down for heat"),
    Flag("frequency_drop", "degraded", "cpu_frequency_change", -0.05, "the CPUs slowed by over 5 %", below=True),
    Flag("device_throttled", "invalid", "device_throttled_s", 0, "heat or the hardware slowed the device"),
    Flag(
        "power_capped", "degraded", "device_power_capped_s", 0.05, "power limited it over 5 % of the time", "watched_s"
    ),
    Flag("device_clock_drop", "degraded", "device_clock_change", -0.1, "its clock fell by over 10 %", below=True),
    Flag("device_shared", "invalid", "device_other_processes", 0, "another process computed on the device"),
    Flag("device_memory_errors", "invalid", "device_memory_errors", 0, "the device's memory had errors"),
)


def judge(columns: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Returns (quality, names of the raised flags) of a launch with these columns, `threads` among them."""
    known = {**columns, **_derived(columns)}
    raised = [flag for flag in FLAGS if flag.is_raised(known)]
    effects = {flag.effect for flag in raised}
    quality = next((q for q in ("invalid", "degraded") if q in effects), "valid")
    return quality, tuple(flag.name for flag in raised)


def _derived(columns: Mapping[str, Any]) -> dict[str, float]:
    """Returns what the limits are on, where it is not a column itself."""
    found = {}
    if (little := columns.get("little_ratio")) is not None:
        found["little_excess"] = abs(little - 1)
    if (running := columns.get("threads_running")) is not None:
        found["threads_beyond"] = running - columns["threads"]
    if (on_device := columns.get("device_time_p50_s")) is not None and columns.get("latency_p50_s"):
        found["device_share"] = on_device / columns["latency_p50_s"]
    return found
