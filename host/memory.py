"""How much memory the machine has."""

from __future__ import annotations

from pathlib import Path

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
    """Returns what programs could take without swapping, None where the kernel does not say."""
    return _bytes(root, "MemAvailable")
