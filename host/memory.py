"""How much memory the machine has."""

from __future__ import annotations

from pathlib import Path

from host.cgroup import memory_room_bytes
from host.files import read_text, to_number


def _bytes(root: Path, field: str) -> int | None:
    """Returns a field of /proc/meminfo, which says kB and means KiB (proc_meminfo(5))."""
    for line in (read_text(root / "proc/meminfo") or "").splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if name == field and words and (number := to_number(words[0])) is not None:
            return number * 1024
    return None


def total_bytes(root: Path = Path("/")) -> int | None:
    """Returns all of the memory that the kernel manages, None where it does not say."""
    return _bytes(root, "MemTotal")


def available_bytes(root: Path = Path("/")) -> int | None:
    """Returns what this process could take without swapping or being killed; None where the kernel does not say."""
    known = [of for of in (_bytes(root, "MemAvailable"), memory_room_bytes(root)) if of is not None]
    return min(known, default=None)


def held_bytes(pid: int, which: str = "now", root: Path = Path("/")) -> int | None:
    """Returns what a process holds of the memory `now`, or held at its `peak`; None where the kernel does not say."""
    field = {"now": "VmRSS", "peak": "VmHWM"}[which]
    for line in (read_text(root / f"proc/{pid}/status") or "").splitlines():
        name, _, value = line.partition(":")
        if name == field and (number := to_number(value.split()[0])) is not None:
            return number * 1024
    return None
