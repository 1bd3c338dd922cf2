"""Safetensors files: what they declare, and their tensors as views of one memory map. The library validates them.

The library's own NumPy reader copies every tensor: 979 MB at the peak for a file of 500 MB, 502 MB through the map
(safetensors 0.8.0, `VmHWM` of a process that sums every tensor). Layout of a file, by which an error says what is
wrong: https://huggingface.co/docs/safetensors#format (8 bytes of header size, JSON header, data without gaps).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from workloads.weights.foreign import CONVERT, kind_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LARGEST_HEADER = 100_000_000
"""Of the safetensors library itself (0.8.0, `MAX_HEADER_SIZE`)."""
_STORED_AS = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1"},
    "BOOL": "?",
}
"""NumPy's name for the types that are read here; it has no bfloat16, whose bits are taken as an integer."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of `file`; its data begin at byte `start` of it. `dtype` is the format's word, such as BF16."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int


def tensors(path: Path) -> list[Tensor]:
    """Returns what the file declares, in the order of its data. Raises ValueError, with what is wrong and what to do.

    Loads NumPy, because `safe_open` does.
    """
    try:
        if path.is_dir():
            raise ValueError(f"{path} cannot be read: Is a directory; give the path of a safetensors file")
        size = path.stat().st_size
        with path.open("rb"), safe_open(path, framework="numpy") as file:
            slices = [(name, file.get_slice(name)) for name in file.offset_keys()]
            declared = [(name, str(part.get_dtype()), tuple(part.get_shape())) for name, part in slices]
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; give the path of a safetensors file") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(f"{path} cannot be read: {reason}; give the path of a safetensors file") from error
    except SafetensorError as error:
        raise ValueError(_what_is_wrong(path, size, str(error))) from error
    start = size - sum(_bytes(dtype, shape) for _, dtype, shape in declared)  # no gaps: the library has seen to that
    placed = []
    for name, dtype, shape in declared:
        placed.append(Tensor(path, name, dtype, shape, start))
        start += _bytes(dtype, shape)
    return placed


def map_tensors(chosen: Iterable[Tensor]) -> dict[str, NDArray[Any]]:
    """Returns the tensors by name as read-only views of their files, whose pages processes share; BF16 as its bits.

    Raises KeyError where one has a type that is not read here.
    """
    import numpy as np

    maps: dict[Path, NDArray[Any]] = {}
    arrays = {}
    for tensor in chosen:
        if tensor.file not in maps:
            maps[tensor.file] = np.memmap(tensor.file, mode="r")
        stored = np.dtype(_STORED_AS[tensor.dtype])
        arrays[tensor.name] = np.ndarray(tensor.shape, stored, maps[tensor.file], tensor.start)
    return arrays


def as_float32(tensor: Tensor, stored: NDArray[Any]) -> NDArray[np.float32]:
    """Returns the values of `tensor`, as `map_tensors` gives them, in float32: the same numbers, none rounded.

    Raises ValueError where a number of a float64 tensor is none of float32, or the type is no floating point.
    """
    import numpy as np

    if tensor.dtype == "F32":
        return stored
    if tensor.dtype == "F16":
        return stored.astype(np.float32)
    if tensor.dtype == "BF16":  # the upper half of a float32
        return (stored.astype(np.uint32) << 16).view(np.float32)
    if tensor.dtype != "F64":
        raise ValueError(f"{tensor.file}: {tensor.name} has dtype {tensor.dtype}, expected F32, F16, BF16 or F64")
    with np.errstate(over="ignore", invalid="ignore"):
        narrowed = stored.astype(np.float32)
    if not np.array_equal(narrowed, stored, equal_nan=True):
        different = (narrowed != stored) & ~np.isnan(stored)
        raise ValueError(
            f"{tensor.file}: {tensor.name} has dtype F64 and {np.count_nonzero(different)} of {stored.size} numbers "
            f"that are not float32, such as {stored[different][0]!r}"
        )
    return narrowed


def _bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Returns the size of a tensor; a type's name has its bits (BF16, F8_E4M3, F4), but for BOOL."""
    bits = re.search(r"\d+", dtype)
    return prod(shape) * (int(bits[0]) if bits else 8) // 8


def _what_is_wrong(path: Path, size: int, refusal: str) -> str:
    """Returns why the library, in its own word `refusal`, does not take a file of `size` bytes, and what to do."""
    if kind := kind_of(path):
        return f"{path} is not a safetensors file: it is {kind}"
    with path.open("rb") as file:
        start = file.read(8)
        header_size = int.from_bytes(start, "little")
        header = file.read(min(header_size, _LARGEST_HEADER))
    if size < 9 or (header[:1] == b"{" and header_size <= _LARGEST_HEADER and 8 + header_size > size):
        expected = 8 + header_size if size >= 8 else 9
        return f"{path} is truncated in its header: {size} bytes, expected at least {expected}; fetch it again"
    not_safetensors = f"{path} is not a safetensors file"
    if start.lstrip()[:1] in (b"{", b"["):
        return f"{not_safetensors} but JSON text; an index of shards is given by its own name, which ends in .json"
    if header[:1] != b"{":
        return f"{not_safetensors}: no header at byte 8 ({refusal}); {CONVERT}"
    return _wrong_in_data(path, size, 8 + header_size, header) or f"{not_safetensors}: {refusal}; {CONVERT}"


def _wrong_in_data(path: Path, size: int, data: int, header: bytes) -> str | None:
    """Returns what is wrong with the first tensor of a refused file that is not as long as it should be, if any."""
    at = data
    try:
        entries = {name: entry for name, entry in json.loads(header).items() if name != "__metadata__"}
        for name, entry in sorted(entries.items(), key=lambda item: tuple(item[1]["data_offsets"])):
            begin, end = (data + offset for offset in entry["data_offsets"])
            if not at == begin <= end:
                return None  # the library names the tensor that does not begin where the one before it ends
            expected = _bytes(entry["dtype"], entry["shape"])
            if end - begin != expected:
                return (
                    f"{path} is not a safetensors file: {name} has {end - begin} bytes, expected {expected} for "
                    f"{entry['dtype']} {entry['shape']}; {CONVERT}"
                )
            if end > size:
                return f"{path} is truncated in {name}: {size} bytes, expected at least {end}; fetch it again"
            at = end
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # the header itself is wrong, and the library says where
    return f"{path} has {size} bytes, expected {at} by its header; fetch it again" if at < size else None
