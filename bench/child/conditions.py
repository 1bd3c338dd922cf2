"""What happened on the machine while a child was measured: read before and after, never in between.

`read()` takes a millisecond or two and starts nothing. What a system does not tell is None, and its columns are empty.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from backends.base import DeviceReading
from host import cgroup

COARSE_S = 0.5
"""Spans shorter than this say nothing of what is counted in ticks of 10 ms."""
RUNS_SHARE = 0.05
"""A thread that ran for less than this part of the time was idle."""


@dataclass(frozen=True)
class Reading:
    """Counters of this process, of its CPUs and of its device at one moment. Times in seconds, since whenever."""

    at_s: float
    cpu_s: float
    thread_s: Mapping[str, float]
    involuntary_switches: int
    major_faults: int
    busy_s: float | None
    steal_s: float | None
    cpu_pressure_s: float | None
    memory_pressure_s: float | None
    swapped_pages: int | None
    throttled_s: float | None
    thermal_events: int | None
    frequency_hz: float | None
    device: DeviceReading | None = None


def read(
    cpus: Sequence[int], root: Path = Path("/"), device: Callable[[], DeviceReading | None] = lambda: None
) -> Reading:
    """Returns the counters now; `cpus` are the logical CPUs that this process may use."""
    ticks = _ticks(root, cpus)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Reading(
        at_s=perf_counter(),
        cpu_s=used.ru_utime + used.ru_stime,
        thread_s=_thread_seconds(root),
        involuntary_switches=used.ru_nivcsw,
        major_faults=used.ru_majflt,
        busy_s=None if ticks is None else ticks[0],
        steal_s=None if ticks is None else ticks[1],
        cpu_pressure_s=_pressure(root, "cpu"),
        memory_pressure_s=_pressure(root, "memory"),
        swapped_pages=_swapped(root),
        throttled_s=cgroup.throttled_s(root),
        thermal_events=_sum_of(root, cpus, "thermal_throttle/core_throttle_count"),
        frequency_hz=_frequency(root, cpus),
        device=device(),
    )


def _text(path: Path) -> str:
    """Returns the file's text, empty where this system has none or does not show it."""
    try:
        return path.read_text()
    except OSError:
        return ""


def _ticks(root: Path, cpus: Sequence[int]) -> tuple[float, float] | None:
    """Returns the seconds that the CPUs were busy, and that a hypervisor kept them from us (proc_stat(5))."""
    tick = 1 / os.sysconf("SC_CLK_TCK")
    busy = steal = 0.0
    wanted = {f"cpu{cpu}" for cpu in cpus}
    found = False
    for line in _text(root / "proc/stat").splitlines():
        name, *fields = line.split()
        if name in wanted:
            # user nice system idle iowait irq softirq steal; guest time is in user already
            numbers = [int(field) for field in fields[:8]]
            busy += sum(numbers[:3] + numbers[5:7]) * tick
            steal += numbers[7] * tick
            found = True
    return (busy, steal) if found else None


def _thread_seconds(root: Path) -> dict[str, float]:
    """Returns the CPU seconds of each thread of this process."""
    tick = 1 / os.sysconf("SC_CLK_TCK")
    found = {}
    tasks = root / "proc/self/task"
    for folder in tasks.iterdir() if tasks.is_dir() else ():
        fields = _text(folder / "stat").rpartition(")")[2].split()
        if len(fields) > 12:  # it may have ended while we looked
            found[folder.name] = (int(fields[11]) + int(fields[12])) * tick
    return found


def _pressure(root: Path, resource_name: str) -> float | None:
    """Returns for how long some task has waited for the resource (Documentation/accounting/psi.rst)."""
    for line in _text(root / "proc/pressure" / resource_name).splitlines():
        kind, *pairs = line.split()
        if kind == "some":
            return int(dict(pair.split("=") for pair in pairs)["total"]) * 1e-6
    return None


def _swapped(root: Path) -> int | None:
    counts = dict(line.split() for line in _text(root / "proc/vmstat").splitlines())
    return int(counts["pswpin"]) + int(counts["pswpout"]) if "pswpin" in counts else None


def _numbers(root: Path, cpus: Sequence[int], file: str) -> list[int]:
    texts = (_text(root / f"sys/devices/system/cpu/cpu{cpu}" / file).strip() for cpu in cpus)
    return [int(text) for text in texts if text.isdecimal()]


def _sum_of(root: Path, cpus: Sequence[int], file: str) -> int | None:
    found = _numbers(root, cpus, file)
    return sum(found) if found else None


def _frequency(root: Path, cpus: Sequence[int]) -> float | None:
    """Returns the mean frequency of the CPUs; sysfs says kHz."""
    found = _numbers(root, cpus, "cpufreq/scaling_cur_freq")
    return 1e3 * sum(found) / len(found) if found else None


@dataclass
class Watch:
    """Adds up what happened in the spans between `begin()` and `end()`: the time between spans does not count."""

    reader: Callable[[], Reading]
    spans: list[tuple[Reading, Reading]] = field(default_factory=list)
    _begun: Reading | None = None

    def __enter__(self) -> None:
        self._begun = self.reader()

    def __exit__(self, *failure: object) -> None:
        if self._begun is not None:
            self.spans.append((self._begun, self.reader()))

    def _sum(self, name: str) -> float | None:
        """Returns how much the counter `name` grew, None where it is not known."""
        pairs = [(getattr(a, name), getattr(b, name)) for a, b in self.spans]
        return None if any(None in pair for pair in pairs) else sum(b - a for a, b in pairs)

    def columns(self) -> dict[str, Any]:
        """Returns what happened, as columns of a row; shares are of the time that was watched."""
        wall = self._sum("at_s") or 0.0
        if wall <= 0:
            return {}
        cpu = self._sum("cpu_s") or 0.0

        def share(name: str) -> float | None:
            grown = self._sum(name)
            return None if grown is None else max(0.0, grown / wall)

        is_long = wall >= COARSE_S
        busy = self._sum("busy_s") if is_long else None
        ran: dict[str, float] = {}
        for a, b in self.spans:
            for thread, seconds in b.thread_s.items():
                ran[thread] = ran.get(thread, 0.0) + seconds - a.thread_s.get(thread, 0.0)
        return {
            "watched_s": wall,
            "cpu_cores_used": cpu / wall,
            "threads_running": sum(seconds > RUNS_SHARE * wall for seconds in ran.values()),
            "involuntary_switches_per_s": (self._sum("involuntary_switches") or 0) / wall,
            "steal_cores": share("steal_s") if is_long else None,
            "other_load_cores": None if busy is None else max(0.0, (busy - cpu) / wall),
            "cpu_pressure_share": share("cpu_pressure_s"),
            "memory_pressure_share": share("memory_pressure_s"),
            "throttled_share": share("throttled_s"),
            "thermal_events": _whole(self._sum("thermal_events")),
            "swapped_pages": _whole(self._sum("swapped_pages")),
            "major_faults": _whole(self._sum("major_faults")),
            "cpu_frequency_hz": self._first("frequency_hz"),
            "cpu_frequency_change": self._change([(a.frequency_hz, b.frequency_hz) for a, b in self.spans]),
        } | self._device_columns()

    def _first(self, name: str) -> float | None:
        value: float | None = getattr(self.spans[0][0], name)
        return value

    @staticmethod
    def _change(pairs: Sequence[tuple[float | None, float | None]]) -> float | None:
        """Returns by what part the first value changed to the one farthest from it."""
        first = pairs[0][0]
        if not first or any(value is None for pair in pairs for value in pair):
            return None
        return max((value / first - 1 for pair in pairs for value in pair if value is not None), key=abs)

    def _device_columns(self) -> dict[str, Any]:
        pairs = [(a.device, b.device) for a, b in self.spans if a.device is not None and b.device is not None]
        if not pairs:
            return {}
        readings = [reading for pair in pairs for reading in pair]
        reasons = sorted({reason for reading in readings for reason in reading.throttle_reasons})
        return {
            "device_clock_hz": pairs[0][0].clock_hz,
            "device_clock_change": self._change([(a.clock_hz, b.clock_hz) for a, b in pairs]),
            "device_temperature_c": readings[-1].temperature_c,
            "device_throttle_reasons": " ".join(reasons) or None,
            "device_throttled_s": sum(b.throttled_s - a.throttled_s for a, b in pairs),
            "device_power_capped_s": sum(b.power_capped_s - a.power_capped_s for a, b in pairs),
            "device_other_processes": max(reading.other_processes for reading in readings),
            "device_memory_errors": sum(b.memory_errors - a.memory_errors for a, b in pairs),
        }


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
