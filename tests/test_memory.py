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
