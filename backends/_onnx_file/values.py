"""Values for a file's inputs: given ones, else random ones within the ranges that can be known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from backends._onnx_file.interface import Value, bound_of
from backends._onnx_file.reading import FileRefused
from workloads.data import make_input
from workloads.specs import N_BATCHES, InputSpec

Arrays = dict[str, NDArray[np.generic]]
CURE = "--model-inputs FILE.npz with an array for each such input"
SECOND = "1."
"""Begins the name of an array that is for the second batch."""


def read_given(path: Path | None) -> Arrays:
    """Returns the arrays of an `.npz` file, by name; none where there is none. Raises FileRefused."""
    if path is None:
        return {}
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise FileRefused(f"--model-inputs: no file {path}") from None
    except (OSError, ValueError, BadZipFile, AttributeError) as error:
        raise FileRefused(f"--model-inputs: {path.name} is no .npz file of plain arrays: {error}") from error


def make_batches(model: ModelProto, inputs: Sequence[Value], given: Mapping[str, NDArray[np.generic]]) -> list[Arrays]:
    """Returns the batches: what is `given` by input name, and random values for other inputs.

    Raises FileRefused for what is given and fits no input, and for integers whose range nothing tells.
    """
    names = {one.name for one in inputs}
    if unknown := [name for name in given if name not in names and name.removeprefix(SECOND) not in names]:
        raise FileRefused(f"--model-inputs has {unknown[0]!r}; its inputs: {'; '.join(map(str, inputs))}")
    return [{one.name: _value(model, one, given, i) for one in inputs} for i in range(N_BATCHES)]


def shapes_of(given: Mapping[str, NDArray[np.generic]]) -> dict[str, tuple[int, ...]]:
    """Returns the shapes that are given with values."""
    return {name: tuple(array.shape) for name, array in given.items() if not name.startswith(SECOND)}


def _value(model: ModelProto, one: Value, given: Mapping[str, NDArray[np.generic]], i: int) -> NDArray[np.generic]:
    if one.name in given:
        name = SECOND + one.name
        if i == 0 or name in given:
            return _fitting(one, given[name if i else one.name])
        return _another(_fitting(one, given[one.name]))
    shape = tuple(int(dim) for dim in one.dims)
    if one.dtype.startswith("float"):
        return make_input(InputSpec(one.name, shape, one.dtype), 0, i)
    low, high = _range(model, one)
    drawn = make_input(InputSpec(one.name, shape, "int64", high=high - low), 0, i)
    return np.asarray(drawn + low).astype(one.dtype)


def _range(model: ModelProto, one: Value) -> tuple[int, int]:
    """Returns from where on and below what random integers lie: bools and bytes may be anything."""
    bound = bound_of(model, one.name)
    if one.dtype == "bool":
        return 0, 2
    if bound is not None:
        return 0, bound
    if one.dtype in ("uint8", "int8"):
        return int(np.iinfo(one.dtype).min), int(np.iinfo(one.dtype).max) + 1
    raise FileRefused(f"nothing tells the range of {one}: no table of the file is read by it; give {CURE}")


def _fitting(one: Value, array: NDArray[np.generic]) -> NDArray[np.generic]:
    shape = tuple(int(dim) for dim in one.dims)
    if array.shape != shape or not np.can_cast(array.dtype, one.dtype, "same_kind"):
        raise FileRefused(
            f"--model-inputs gives {one.name} as {array.dtype} {list(array.shape)}; expected {one.dtype} {list(shape)}"
        )
    return array.astype(one.dtype)


def _another(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Returns the same values in another order, along the first axis where that makes a difference: ranges are kept."""
    flipped = (np.flip(array, axis) for axis in range(array.ndim))
    return next((other.copy() for other in flipped if not np.array_equal(other, array)), array)
