"""What the C library does with memory that a step has freed: keeps it for the next step, or gives it back.

glibc maps every large block anew and unmaps it when it is freed (mallopt(3), M_MMAP_THRESHOLD), so a runtime without an
allocator of its own has a page fault for every 4 KiB of every result of every step. Servers that run steps for days
keep the memory instead, by these settings or by another allocator
(https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html).
"""

from __future__ import annotations

import ctypes
import platform

MEMORY = ("kept", "returned") if platform.libc_ver()[0] == "glibc" else ("returned",)
"""Values of the option `memory`: where there is no mallopt, freed memory goes as the C library likes."""
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
"""Parameters of mallopt, as <malloc.h> numbers them."""


def set_memory(choice: str) -> None:
    """Sets what this process does with freed memory. Raises RuntimeError where glibc refuses it."""
    if choice == "returned":
        return
    library = ctypes.CDLL(None)
    # The end of the heap is never given back; no block is mapped by itself; and one heap, since those of other threads
    # hold no block of 64 MiB.
    for parameter, value in ((_TRIM_THRESHOLD, -1), (_MMAP_MAX, 0), (_ARENA_MAX, 1)):
        if library.mallopt(parameter, value) != 1:
            raise RuntimeError(f"mallopt({parameter}, {value}) failed; measure with memory=returned")
