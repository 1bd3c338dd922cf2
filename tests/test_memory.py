"""Freed memory is kept where that was chosen: a large block comes from the heap, and stays there."""

import subprocess
import sys

import pytest

from backends._memory import MEMORY

BLOCK = """
import ctypes
from backends._memory import set_memory
set_memory({choice!r})
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]
library = ctypes.CDLL(None)
library.mallinfo2.restype, library.malloc.restype, library.free.argtypes = Info, ctypes.c_void_p, [ctypes.c_void_p]
before = library.mallinfo2()
block = library.malloc(64 << 20)
during = library.mallinfo2()
library.free(block)
after = library.mallinfo2()
print(during.hblks - before.hblks, after.fordblks >> 20)  # mapped by itself; free bytes in the heap
"""


@pytest.mark.skipif(len(MEMORY) == 1, reason="this C library has no mallopt")
@pytest.mark.parametrize(("choice", "mapped", "kept_mib"), [("kept", 0, 64), ("returned", 1, 0)])
def test_a_large_block_is_mapped_by_itself_or_stays_in_the_heap(choice, mapped, kept_mib):
    code = BLOCK.format(choice=choice)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    blocks, mib = map(int, done.stdout.split())
    assert blocks == mapped
    assert (mib >= 64) if kept_mib else (mib < 64)


PEAKS = """
from bench.child.memory import forget_peak, peak_bytes, peak_since_forgotten_bytes
large = bytearray(64 << 20)
del large
before, forgotten = peak_bytes(), forget_peak()
at_rest = peak_since_forgotten_bytes()
small = bytearray(16 << 20)
del small
print(forgotten, before - at_rest >> 20, peak_since_forgotten_bytes() - at_rest >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process begins anew on Linux alone")
def test_the_peak_of_steps_is_without_what_was_held_before_them():
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    forgotten, before_mib, of_steps_mib = done.stdout.split()
    assert forgotten == "True"
    assert int(before_mib) >= 60
    assert 15 <= int(of_steps_mib) <= 20
