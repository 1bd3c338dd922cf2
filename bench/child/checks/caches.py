"""Makes the caches of a prompt, once: the state with which a step begins that goes on from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save_file

from workloads import data
from workloads.arrays import CACHES_FILE, PARAMETERS_FILE, map_arrays

if TYPE_CHECKING:
    from backends.base import Setting


def make_caches(setting: Setting, folder: Path, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Writes keys and values of the program's prompt, float32, with zeros behind them: of the float64 reference."""
    import torch

    from backends._torch_noise import ReferenceOps
    from backends._torch_ops import to_torch

    program = setting.workload.programs[setting.phase]
    assert program.prompt is not None
    cpu = torch.device("cpu")
    parameters = map_arrays(inputs["parameters"] / PARAMETERS_FILE)
    constants = {name: to_torch(a, cpu, torch.float64) for name, a in program.constants_of(parameters).items()}
    ids = to_torch(data.make_input(program.prompt.ids, setting.workload.seed, 0), cpu)
    with torch.no_grad():
        filled = program.prompt.fill(ReferenceOps(), constants, ids)
    caches = {}
    for spec in program.state:
        assert spec.source is not None
        caches[spec.source] = whole = np.zeros(spec.shape, np.float32)
        of_prompt = filled[spec.source].numpy()
        whole[:, :, : of_prompt.shape[2]] = of_prompt
    save_file(caches, folder / CACHES_FILE)
    return {}
