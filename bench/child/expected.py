"""What a step must compute, by the float64 reference: made once, kept as summaries of tensors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from workloads.arrays import BATCHES_FILE, load_batches, map_arrays, map_initial
from workloads.summary import Summary, summarize
from workloads.update import is_of_rule

if TYPE_CHECKING:
    from backends.base import Setting
    from workloads.ops import Ops
    from workloads.program import Program


def make(setting: Setting, folder: Path, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Writes what the program must compute: `expected.json` and `expected.safetensors`.

    The torch binding in float64 on the CPU, through `torch.func` and this project's own update rule; tests hold
    it against the NumPy reference. Raises ValueError where that is not finite, because no step could equal it.
    """
    import torch

    from backends._torch_int8 import ReferenceInt8Ops
    from backends._torch_noise import ReferenceOps

    initial = map_initial(inputs)
    batches = load_batches(inputs["batches"] / BATCHES_FILE)
    with torch.no_grad():  # `torch.func` differentiates all the same
        ops = ReferenceInt8Ops() if setting.precision.is_quantized else ReferenceOps()
        summaries = computed(setting.program, ops, initial, batches)
    for name, summary in summaries.items():
        if not (isfinite(summary.norm) and isfinite(summary.total)):
            raise ValueError(f"the reference is not finite in {name}: check the weights file, or take more tokens")
    save_expected(summaries, folder)
    return {"torch": torch.__version__}


def computed(
    program: Program,
    ops: Ops,
    initial: Mapping[str, NDArray[Any]],
    batches: Sequence[Mapping[str, NDArray[Any]]],
    within: AbstractContextManager[Any] | None = None,
) -> dict[str, Summary]:
    """Returns what the program computes with `ops`, a binding of torch in float64: all that is compared.

    `initial` are the model's tensors. Outputs are computed `within` a context, the update never. What an optimiser made
    of the first gradient is left out: it is held against its own rule.
    """
    import torch

    from backends._torch_ops import to_torch

    cpu = torch.device("cpu")
    tensors = {name: to_torch(p, cpu, torch.float64) for name, p in initial.items()}
    on_host = [{name: to_torch(a, cpu, torch.float64) for name, a in batch.items()} for batch in batches]
    constants = program.constants_of(tensors)
    state = program.initial_state(tensors, lambda shape: torch.zeros(shape, dtype=torch.float64))
    summaries: dict[str, Summary] = {}
    last = program.checks.steps - 1
    for i in range(program.checks.steps):
        batch = on_host[i % len(on_host)]
        is_last = i == last and i != program.checks.state_after
        with nullcontext() if within is None or (program.update is not None and not is_last) else within:
            if is_last:
                outputs = program.outputs_of(ops, constants, state, batch)
            else:
                outputs, state = program.step(ops, constants, state, batch)
        summaries |= {program.checks.key(i, name): summarize(x.numpy()) for name, x in outputs.items()}
        if i == program.checks.state_after:
            of_state = summarize_state(program, ((name, x.numpy()) for name, x in state.items()), initial)
            summaries |= {key: one for key, one in of_state.items() if not is_of_rule(program, key)}
    return summaries


def summarize_state(
    program: Program, state: Iterable[tuple[str, NDArray[Any]]], initial: Mapping[str, NDArray[Any]]
) -> dict[str, Summary]:
    """Returns the summaries of the state's tensors that are compared, by key; changes are from the `initial` ones."""
    specs = {spec.name: spec for spec in program.state}
    summaries = {}
    for name, array in state:
        spec = specs.get(name)
        if spec is not None and spec.compared is not None:
            minus = initial[spec.source] if spec.compared == "change" and spec.source is not None else None
            summaries[spec.key] = summarize(array, minus=minus)
    return summaries


def save_expected(summaries: Mapping[str, Summary], folder: Path) -> None:
    """Writes summaries so that `load_expected` reads them back exactly."""
    save_file({key: np.ascontiguousarray(s.values) for key, s in summaries.items()}, folder / "expected.safetensors")
    numbers = {key: {"n": s.n, "norm": s.norm, "total": s.total} for key, s in summaries.items()}
    (folder / "expected.json").write_text(json.dumps(numbers))


def load_expected(folder: Path) -> dict[str, Summary]:
    """Returns the summaries that `save_expected` wrote."""
    values = map_arrays(folder / "expected.safetensors")
    numbers = json.loads((folder / "expected.json").read_text())
    return {key: Summary(values=values[key], **entry) for key, entry in numbers.items()}
