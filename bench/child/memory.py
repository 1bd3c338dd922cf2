"""What a process holds: what only preparing a step needed is given back; the most is told, of all or since a moment."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from pathlib import Path


def give_back() -> None:
    """Frees what nobody refers to, and has glibc return what is free in its arenas to the system (malloc_trim(3))."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)


def peak_bytes() -> int:
    """Returns the most memory that the process held at once."""
    # Linux counts in KiB, macOS in bytes (getrusage(2) of each).
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak() -> bool:
    """Has the peak begin anew with what is held now; returns whether it does (Linux 4.0: clear_refs, proc(5))."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_since_forgotten_bytes() -> int:
    """Returns the most memory that the process held at once since `forget_peak` did what it does."""
    # Not `peak_bytes`: getrusage(2) has the peak of what the process was before execve(2) in it.
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024
