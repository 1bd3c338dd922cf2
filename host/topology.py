"""Which logical CPUs this process may use, which of them share a core, and which cores are the fast ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from host.cpu import cpu_folders
from host.files import read_number, read_text

ALIKE = 0.9
"""Cores down to this part of the fastest one are of its kind: makers sort chips, and favoured cores of one kind clock
up to 6 % higher than the others (Intel Turbo Boost Max 3.0), while the small cores of any design stay below three
quarters of the large ones."""
INTEL_KINDS = {"cpu_core": "performance", "cpu_atom": "efficiency", "cpu_lowpower": "low power"}
"""Intel's hybrids list the CPUs of each kind in /sys/devices/KIND/cpus, the fastest first (Linux, intel_pmu)."""


def allowed_cpus() -> tuple[int, ...]:
    """Returns the logical CPUs that affinity leaves to this process, in order."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def cpu_list(text: str) -> tuple[int, ...]:
    """Returns the numbers of a kernel's list such as `0-3,8,10-11`; parts of another form are left out."""
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            numbers += range(int(first), int(last or first) + 1)
    return tuple(numbers)


def _siblings(folder: Path) -> str | None:
    """Returns the list of the logical CPUs that share a core, as the kernel writes it for each of them."""
    text = read_text(folder / "topology/thread_siblings_list")
    return None if text is None else text.strip()


def siblings_of(cpus: Iterable[int], root: Path = Path("/")) -> tuple[int, ...]:
    """Returns the other logical CPUs of the cores that `cpus` are on: what runs there slows `cpus` down."""
    wanted, folders = set(cpus), cpu_folders(root)
    shared = {sibling for cpu in wanted & folders.keys() for sibling in cpu_list(_siblings(folders[cpu]) or "")}
    return tuple(sorted(shared - wanted))


def physical_cores(root: Path = Path("/")) -> int | None:
    """Returns the number of physical cores, None where the kernel does not say which CPUs share one."""
    return len({siblings for folder in cpu_folders(root).values() if (siblings := _siblings(folder))}) or None


def usable_cpus(root: Path = Path("/")) -> tuple[int, ...]:
    """Returns the logical CPUs that this process may use, one per physical core: the fastest kind first, by number."""
    allowed = allowed_cpus()
    folders = cpu_folders(root) if hasattr(os, "sched_getaffinity") else {}
    firsts: dict[str, int] = {}
    for cpu in allowed:
        siblings = _siblings(folders[cpu]) if cpu in folders else None
        firsts.setdefault(siblings or str(cpu), cpu)
    ranks = {cpu: rank for rank, (_, cpus) in enumerate(core_kinds(root)) for cpu in cpus}
    return tuple(sorted(firsts.values(), key=lambda cpu: (ranks.get(cpu, len(ranks)), cpu)))


def core_kinds(root: Path = Path("/")) -> list[tuple[str, tuple[int, ...]]]:
    """Returns (name, logical CPUs) of each kind of core of this machine, the fastest first; empty where all are alike.

    What is asked, in this order, until it tells cores apart: Intel's lists of its kinds; `cpu_capacity`, which holds
    instructions per cycle and clock (Linux, sched-capacity.rst); the highest clock of each.
    """
    lists = {
        name: cpu_list(read_text(root / "sys/devices" / kind / "cpus") or "") for kind, name in INTEL_KINDS.items()
    }
    if len(kinds := [(name, cpus) for name, cpus in lists.items() if cpus]) > 1:
        return kinds
    capacities = _kinds(root, "cpu_capacity", lambda capacity: f"capacity {capacity}")
    clocks = _kinds(root, "cpufreq/cpuinfo_max_freq", lambda khz: f"up to {khz * 1e-6:.3g} GHz")
    return next((kinds for kinds in (capacities, clocks) if len(kinds) > 1), [])


def _kinds(root: Path, file: str, name: Callable[[int], str]) -> list[tuple[str, tuple[int, ...]]]:
    """Returns the kinds of core by what `file` says of each CPU, the highest first; its highest value names a kind."""
    readings = {cpu: read_number(folder / file) for cpu, folder in cpu_folders(root).items()}
    values = {cpu: value for cpu, value in readings.items() if value}
    kinds: dict[int, list[int]] = {}
    for cpu, value in sorted(values.items(), key=lambda item: (-item[1], item[0])):
        highest = min(kinds, default=value)
        kinds.setdefault(highest if value >= ALIKE * highest else value, []).append(cpu)
    return [(name(highest), tuple(sorted(cpus))) for highest, cpus in kinds.items()]


def cpu_kind(cpus: Sequence[int], root: Path = Path("/")) -> str | None:
    """Returns which kind of core `cpus` are, several with their numbers (`4 performance + 2 efficiency`).

    None where all cores of the machine are alike, or none of these is known.
    """
    kinds = core_kinds(root)
    counts = [(sum(cpu in of_kind for cpu in cpus), name) for name, of_kind in kinds]
    used = [(n, name) for n, name in counts if n]
    if len(used) < 2:
        return used[0][1] if used else None
    return " + ".join(f"{n} {name}" for n, name in used)
