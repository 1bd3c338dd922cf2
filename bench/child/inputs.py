"""Makes what a workload runs on, once: its parameters, and its batches with the digests that name both."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.numpy import save_file

from workloads import data
from workloads.arrays import BATCHES_FILE, PARAMETERS_FILE, load_batches, map_arrays
from workloads.weights import files as weights

if TYPE_CHECKING:
    from backends.base import Setting


def make_parameters(setting: Setting, folder: Path, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Writes the parameters and buffers: random ones, those of the workload's weights file, or what it was given."""
    workload = setting.workload
    if workload.given is not None:
        _linked(Path(workload.given.folder) / PARAMETERS_FILE, folder)
        return {}
    made = data.make_parameters(workload) if workload.weights is None else weights.read(workload)
    save_file(made, folder / PARAMETERS_FILE)
    return {}


def make_batches(setting: Setting, folder: Path, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Writes the batches; returns the workload's digests."""
    workload = setting.workload
    if workload.given is None:
        batches = data.make_batches(workload)
        flat = {f"{i}.{name}": array for i, batch in enumerate(batches) for name, array in batch.items()}
        save_file(flat, folder / BATCHES_FILE)
    else:
        _linked(Path(workload.given.folder) / BATCHES_FILE, folder)
        batches = [dict(batch) for batch in load_batches(folder / BATCHES_FILE)]
    parameters = map_arrays(inputs["parameters"] / PARAMETERS_FILE)
    digests = data.digest(workload, parameters, batches), data.model_digest(workload, parameters)
    return dict(zip(("workload_digest", "model_digest"), digests, strict=True))


def _linked(path: Path, folder: Path) -> None:
    """Puts a file of the cache into another of its folders: the same file where that can be, else a copy."""
    try:
        os.link(path, folder / path.name)
    except OSError:
        shutil.copyfile(path, folder / path.name)
