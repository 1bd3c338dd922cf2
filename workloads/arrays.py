"""Arrays on disk as safetensors files, mapped into memory: what the cache keeps, and every child reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from workloads.specs import N_BATCHES
from workloads.weights import tensor_files

PARAMETERS_FILE, BATCHES_FILE = "parameters.safetensors", "batches.safetensors"


def map_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Returns the tensors of a safetensors file as read-only memory maps, so that children share their pages."""
    return tensor_files.map_tensors(tensor_files.tensors(path))


def load_batches(path: Path) -> tuple[dict[str, NDArray[Any]], ...]:
    """Returns the batches, each by input name."""
    flat = map_arrays(path)
    batches: list[dict[str, NDArray[Any]]] = [{} for _ in range(N_BATCHES)]
    for key, array in flat.items():
        i, _, name = key.partition(".")
        batches[int(i)][name] = array
    return tuple(batches)
