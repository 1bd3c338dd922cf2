"""Memory that only preparing a step needed, given back before the process is parked beside others."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back() -> None:
    """Frees what nobody refers to, and has glibc return what is free in its arenas to the system (malloc_trim(3))."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
