"""Makes the caches of a prompt, once: the state with which a step begins that goes on from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from workloads import data
from workloads.arrays import CACHES_FILE, PARAMETERS_FILE, map_arrays

if TYPE_CHECKING:
    from backends.base import Setting
    from workloads.ops import Ops
    from workloads.program import Program


def make_caches(setting: Setting, folder: Path, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Writes keys and values of the program's prompt, float32, with zeros behind them: of the float64 reference."""
    import torch

    from backends._torch_int8 import ReferenceInt8Ops
    from backends._torch_noise import ReferenceOps
    from backends._torch_ops import to_torch

    program = setting.program
    parameters = map_arrays(inputs["parameters"] / PARAMETERS_FILE)
    constants = {
        n: to_torch(a, torch.device("cpu"), torch.float64) for n, a in program.constants_of(parameters).items()
    }
    ops = ReferenceInt8Ops() if setting.precision.is_quantized else ReferenceOps()
    with torch.no_grad():
        caches = filled(program, ops, constants, setting.workload.seed)
    save_file({name: cache.astype(np.float32) for name, cache in caches.items()}, folder / CACHES_FILE)
    return {}


def filled(program: Program, ops: Ops, constants: Mapping[str, Any], seed: int) -> dict[str, NDArray[np.float64]]:
    """Returns the caches of the program's prompt by the names of the tensors that the state begins with.

    `constants` are float64, on the CPU; zeros lie behind the prompt.
    """
    import torch

    from backends._torch_ops import to_torch

    assert program.prompt is not None
    ids = to_torch(data.make_input(program.prompt.ids, seed, 0), torch.device("cpu"))
    of_prompt = program.prompt.fill(ops, constants, ids)
    caches = {}
    for spec in program.state:
        assert spec.source is not None
        caches[spec.source] = whole = np.zeros(spec.shape)
        whole[:, :, : ids.shape[1]] = of_prompt[spec.source].numpy()
    return caches
