"""Counters that the kernel keeps since its start, of CPUs, threads and the machine; only their growth means anything.

All of it together takes a millisecond or two and starts nothing. What a system does not tell is None.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from host.files import folder, pairs, read_number, read_text, to_number


def _tick_s() -> float:
    return 1 / os.sysconf("SC_CLK_TCK")


def cpu_seconds(root: Path = Path("/")) -> dict[int, tuple[float, float]]:
    """Returns (busy, stolen) seconds of each logical CPU: of work, whoever's it was; kept from us by a hypervisor.

    Nothing where there is no /proc/stat. Its fields are user nice system idle iowait irq softirq steal; guest time is
    in user already (proc_stat(5)).
    """
    seconds = {}
    for line in (read_text(root / "proc/stat") or "").splitlines():
        name, *fields = line.split() or [""]
        if name.startswith("cpu") and name[3:].isdecimal() and len(fields) >= 8:
            ticks = [int(field) for field in fields[:8]]
            seconds[int(name[3:])] = (sum(ticks[:3] + ticks[5:7]) * _tick_s(), ticks[7] * _tick_s())
    return seconds


def thread_seconds(root: Path = Path("/")) -> dict[str, float]:
    """Returns the CPU seconds of each thread of this process, by its number; nothing where there is no /proc."""
    seconds = {}
    for task in folder(root / "proc/self/task") or []:
        fields = (read_text(task / "stat") or "").rpartition(")")[2].split()
        if len(fields) > 12:  # it may have ended while we looked
            seconds[task.name] = (int(fields[11]) + int(fields[12])) * _tick_s()
    return seconds


def pressure_s(root: Path, resource: str) -> float | None:
    """Returns for how long some task has waited for `cpu` or `memory` (Documentation/accounting/psi.rst)."""
    for line in (read_text(root / "proc/pressure" / resource) or "").splitlines():
        kind, *fields = line.split() or [""]
        totals = [to_number(field.removeprefix("total=")) for field in fields if field.startswith("total=")]
        if kind == "some" and totals and totals[0] is not None:
            return totals[0] * 1e-6
    return None


def swapped_pages(root: Path = Path("/")) -> int | None:
    """Returns how many pages the machine has swapped in and out."""
    counts = pairs(read_text(root / "proc/vmstat"))
    return counts["pswpin"] + counts["pswpout"] if {"pswpin", "pswpout"} <= counts.keys() else None


def _numbers(root: Path, cpus: Sequence[int], file: str) -> list[int]:
    numbers = (read_number(root / f"sys/devices/system/cpu/cpu{cpu}" / file) for cpu in cpus)
    return [number for number in numbers if number is not None]


def thermal_events(root: Path, cpus: Sequence[int]) -> int | None:
    """Returns how often a core of these CPUs has slowed down for heat."""
    counts = _numbers(root, cpus, "thermal_throttle/core_throttle_count")
    return sum(counts) if counts else None


def frequency_hz(root: Path, cpus: Sequence[int]) -> float | None:
    """Returns the mean frequency of the CPUs now; sysfs says kHz."""
    khz = _numbers(root, cpus, "cpufreq/scaling_cur_freq")
    return 1e3 * sum(khz) / len(khz) if khz else None
