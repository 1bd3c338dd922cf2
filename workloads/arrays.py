"""Arrays on disk as safetensors files, mapped into memory: what the cache keeps, and every child reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from workloads.weights import tensor_files

PARAMETERS_FILE, BATCHES_FILE, CACHES_FILE = "parameters.safetensors", "batches.safetensors", "caches.safetensors"


def map_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Returns the tensors of a safetensors file as read-only memory maps, so that children share their pages."""
    return tensor_files.map_tensors(tensor_files.tensors(path))


def map_initial(folders: Mapping[str, Path]) -> dict[str, NDArray[Any]]:
    """Returns what a program begins with: the parameters, and the caches of a prompt where it goes on from one.

    `folders` are those of the artifacts by name.
    """
    mapped = map_arrays(folders["parameters"] / PARAMETERS_FILE)
    return mapped | (map_arrays(folders["caches"] / CACHES_FILE) if "caches" in folders else {})


def load_batches(path: Path) -> tuple[dict[str, NDArray[Any]], ...]:
    """Returns the batches, each by input name."""
    flat = map_arrays(path)
    batches: defaultdict[int, dict[str, NDArray[Any]]] = defaultdict(dict)
    for key, array in flat.items():
        i, _, name = key.partition(".")
        batches[int(i)][name] = array
    return tuple(batches[i] for i in sorted(batches))
