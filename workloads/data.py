"""The bytes a workload runs on: parameters and batches from a seed, and the digest that names them.

`numpy.random.RandomState` is used because its stream is frozen across NumPy versions (NEP 19). Every tensor
has a generator of its own, seeded by its name, so that adding a tensor changes no other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from workloads.specs import IGNORED_LABEL, InputSpec, TableSpec

if TYPE_CHECKING:
    from workloads.workload import Workload

Arrays = Mapping[str, NDArray[np.generic]]
OF_BATCH = ("batch", "inputs", "n_batches", "given_sha256")
"""What a workload's description says of its batch, or of all that it is made of, batches among it."""


def _generator(seed: int, name: str) -> np.random.RandomState:
    word = hashlib.sha256(f"{seed}:{name}".encode()).digest()[:4]
    return np.random.RandomState(int.from_bytes(word, "little"))


def make_parameters(workload: Workload) -> dict[str, NDArray[np.float32]]:
    """Returns the initial parameters and buffers, float32, by name."""
    made = {}
    for spec in workload.tensors:
        if isinstance(spec, TableSpec):
            made[spec.name] = spec.values()
            continue
        draw = _generator(workload.seed, spec.name).standard_normal(spec.shape)
        made[spec.name] = (spec.mean + spec.standard_deviation * draw).astype(np.float32)
    return made


def make_input(spec: InputSpec, seed: int, i: int) -> NDArray[np.generic]:
    """Returns the input of batch `i`."""
    if spec.first is not None:
        return np.full(spec.shape, spec.first + i, spec.dtype)
    generator = _generator(seed, f"batch {i}: {spec.name}")
    if spec.high is not None:
        drawn = generator.randint(0, spec.high, spec.shape, dtype=np.int64)
        return np.where(generator.random_sample(spec.shape) < spec.ignored, IGNORED_LABEL, drawn)
    return generator.standard_normal(spec.shape).astype(spec.dtype)


def make_batches(workload: Workload) -> list[dict[str, NDArray[np.generic]]]:
    """Returns the workload's batches, each with the inputs of all of its programs by name."""
    return [
        {spec.name: make_input(spec, workload.seed, i) for spec in workload.inputs} for i in range(workload.n_batches)
    ]


def digest(workload: Workload, parameters: Arrays, batches: list[dict[str, NDArray[np.generic]]]) -> str:
    """Returns 16 hex digits over the bytes of parameters and inputs, the sizes and the hyperparameters.

    Two rows may be compared only where it is equal.
    """
    return _digest(workload.canonical(), parameters, *batches)


def model_digest(workload: Workload, parameters: Arrays) -> str:
    """Returns 16 hex digits over the same without the batch: equal where samples cost the same arithmetic.

    Two rows of different batch sizes may be compared, sample by sample, only where it is equal.
    """
    described = workload.description()
    kept = {name: value for name, value in described.items() if name not in OF_BATCH}
    return _digest(json.dumps(kept, sort_keys=True, separators=(",", ":")), parameters)


def _digest(text: str, *named: Arrays) -> str:
    running = hashlib.sha256(text.encode())
    for arrays in named:
        for name in sorted(arrays):
            running.update(name.encode())
            running.update(np.ascontiguousarray(arrays[name]).data)
    return running.hexdigest()[:16]
