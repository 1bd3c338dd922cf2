"""Makes the codes of 8 bits, once: what stands in the place of the parameters, and how near it comes to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from bench.child.checks.caches import filled
from workloads.arrays import BATCHES_FILE, PARAMETERS_FILE, load_batches, map_arrays
from workloads.recipes.agreement import agreement
from workloads.recipes.int8 import Calibrating, codes_of

if TYPE_CHECKING:
    from backends.base import Setting
    from workloads.program import Program


def make_codes(setting: Setting, folder: Path, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Writes the constants of the quantised program, codes among them, as the parameters of cells in its precision.

    Calibrated by the float64 reference over all batches. Returns how near what they compute lies to float32's.
    """
    from backends._torch_int8 import ReferenceInt8Ops
    from backends._torch_noise import ReferenceOps

    plain = setting.workload.programs[setting.phase]
    tensors = map_arrays(inputs["parameters"] / PARAMETERS_FILE)
    batches = load_batches(inputs["batches"] / BATCHES_FILE)
    largest: dict[str, float] = {}
    seed = setting.workload.seed

    def calibrating(constants: Mapping[str, Any]) -> Any:
        return Calibrating(ReferenceOps(), constants, largest)

    of_fp32 = list(_outputs(plain, calibrating, tensors, batches, seed))
    made = codes_of(plain, tensors, largest, setting.precision)
    save_file({name: np.ascontiguousarray(a) for name, a in made.items()}, folder / PARAMETERS_FILE)
    of_codes = list(_outputs(setting.program, lambda constants: ReferenceInt8Ops(), made, batches, seed))
    return dict(agreement(of_codes, of_fp32))


def _outputs(
    program: Program,
    ops_of: Callable[[Mapping[str, Any]], Any],
    tensors: Mapping[str, NDArray[Any]],
    batches: Sequence[Mapping[str, NDArray[Any]]],
    seed: int,
) -> Iterator[NDArray[Any]]:
    """Yields the first output of each batch, computed in float64; with a prompt, one after another behind it."""
    import torch

    from backends._torch_ops import to_torch

    cpu = torch.device("cpu")
    constants = {name: to_torch(a, cpu, torch.float64) for name, a in program.constants_of(tensors).items()}
    ops = ops_of(constants)
    with torch.no_grad():
        caches = {} if program.prompt is None else filled(program, ops, constants, seed)
        state = program.initial_state({name: torch.from_numpy(cache) for name, cache in caches.items()}, torch.zeros)
        for batch in batches:
            read = {spec.name: to_torch(batch[spec.name], cpu, torch.float64) for spec in program.inputs}
            outputs, state = program.step(ops, constants, state, read)
            yield next(iter(outputs.values())).numpy()
