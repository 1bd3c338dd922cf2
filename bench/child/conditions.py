"""What happened on the machine while a child was measured: read before and after, never in between.

`read()` takes a millisecond or two and starts nothing. What a system does not tell is None, and its columns are empty.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

from backends.base import DeviceReading
from host import cgroup, counters
from host.topology import siblings_of

COARSE_S = 0.5
"""Spans shorter than this say nothing of what is counted in ticks of 10 ms."""
RUNS_SHARE = 0.05
"""A thread that ran for less than this part of the time was idle."""


@dataclass(frozen=True)
class Reading:
    """Counters of this process, of its CPUs and of its device at one moment. Times in seconds, since whenever.

    `busy_s` is of the CPUs and of those that share a core with them; `throttled_s` is by control group.
    """

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
    throttled_s: Mapping[str, float]
    thermal_events: int | None
    frequency_hz: float | None
    device: DeviceReading | None = None


def read(
    cpus: Sequence[int], root: Path = Path("/"), device: Callable[[], DeviceReading | None] = lambda: None
) -> Reading:
    """Returns the counters now; `cpus` are the logical CPUs that this process may use."""
    seconds = counters.cpu_seconds(root)
    busy, stolen = ({cpu: both[i] for cpu, both in seconds.items()} for i in (0, 1))
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Reading(
        at_s=perf_counter(),
        cpu_s=used.ru_utime + used.ru_stime,
        thread_s=counters.thread_seconds(root),
        involuntary_switches=used.ru_nivcsw,
        major_faults=used.ru_majflt,
        busy_s=_total(busy, (*cpus, *_beside(tuple(cpus), root))),
        steal_s=_total(stolen, cpus),
        cpu_pressure_s=counters.pressure_s(root, "cpu"),
        memory_pressure_s=counters.pressure_s(root, "memory"),
        swapped_pages=counters.swapped_pages(root),
        throttled_s=cgroup.throttled_s(root),
        thermal_events=counters.thermal_events(root, cpus),
        frequency_hz=counters.frequency_hz(root, cpus),
        device=device(),
    )


_beside = cache(siblings_of)
"""Which CPUs share a core with ours stays as it is, and each of the files that say it takes a few microseconds."""


def _total(seconds: Mapping[int, float], cpus: Sequence[int]) -> float | None:
    """Returns the seconds of those of `cpus` that are counted, None where none is."""
    counted = [seconds[cpu] for cpu in cpus if cpu in seconds]
    return sum(counted) if counted else None


def other_processes(reading: DeviceReading, before: DeviceReading | None, beside: int = 0) -> int:
    """Returns how many processes but this one compute on the device, and but those `beside` it that are its group's.

    In a container the driver may list this process under its id of the host, which it cannot know. So of those that
    were not there `before` this process had anything on the device, one is ours, whatever its id.
    """
    if reading.processes is None:
        return max(0, reading.other_processes - beside)
    earlier = frozenset() if before is None or before.processes is None else before.processes
    return max(0, len(reading.processes) - (1 if reading.processes - earlier else 0) - beside)


@dataclass
class Watch:
    """Adds up what happened in the spans that it was entered for: the time between spans does not count.

    `before` is what the device's driver said before this process had anything on the device, `beside` how many others
    of its group have something there.
    """

    reader: Callable[[], Reading]
    before: DeviceReading | None = None
    beside: int = 0
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

    def _throttled_s(self) -> float | None:
        """Returns for how long the group that was stopped longest was stopped, None where no group says.

        By group, because one above ours may have been stopped for longer, before we were watched, than ours ever.
        """
        grown: dict[str, float] = {}
        for a, b in self.spans:
            for group in a.throttled_s.keys() & b.throttled_s.keys():
                grown[group] = grown.get(group, 0.0) + b.throttled_s[group] - a.throttled_s[group]
        return max(grown.values(), default=None)

    def columns(self) -> dict[str, Any]:
        """Returns what happened, as columns of a row; shares are of the time that was watched."""
        wall = self._sum("at_s") or 0.0
        if wall <= 0:
            return {}
        cpu = self._sum("cpu_s") or 0.0

        def share(grown: float | None) -> float | None:
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
            "steal_cores": share(self._sum("steal_s")) if is_long else None,
            "other_load_cores": None if busy is None else max(0.0, (busy - cpu) / wall),
            "cpu_pressure_share": share(self._sum("cpu_pressure_s")),
            "memory_pressure_share": share(self._sum("memory_pressure_s")),
            "throttled_share": share(self._throttled_s()),
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
            "device_other_processes": max(other_processes(reading, self.before, self.beside) for reading in readings),
            "device_memory_errors": sum(b.memory_errors - a.memory_errors for a, b in pairs),
        }


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
