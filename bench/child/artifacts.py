"""What is made once and cached: parameters, batches, float64 expectations, ONNX graphs. Runs in a child.

Every maker writes its files into an empty `folder`, from the entries whose folders are in `inputs`, and returns
what its manifest shall remember. Parameters and batches are the same for both phases.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from workloads import data, tensor_files, weights
from workloads.ops import subset
from workloads.summary import Summary, summarize
from workloads.workload import N_BATCHES, Workload, initial_state, train_step

Made = dict[str, Any]


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


def make_parameters(workload: Workload, phase: str, folder: Path, inputs: Mapping[str, Path]) -> Made:
    """Writes `parameters.safetensors`: random ones, or those of the workload's weights file."""
    made = data.make_parameters(workload) if workload.weights is None else weights.read(workload)
    save_file(made, folder / "parameters.safetensors")
    return {}


def make_batches(workload: Workload, phase: str, folder: Path, inputs: Mapping[str, Path]) -> Made:
    """Writes `batches.safetensors`; returns the workload's digests."""
    batches = data.make_batches(workload)
    flat = {f"{i}.{name}": array for i, batch in enumerate(batches) for name, array in batch.items()}
    save_file(flat, folder / "batches.safetensors")
    parameters = map_arrays(inputs["parameters"] / "parameters.safetensors")
    digests = data.digest(workload, parameters, batches), data.model_digest(workload, parameters)
    return dict(zip(("workload_digest", "model_digest"), digests, strict=True))


def make_expected(workload: Workload, phase: str, folder: Path, inputs: Mapping[str, Path]) -> Made:
    """Writes what `phase` must compute: `expected.json` and `expected.safetensors`.

    The torch binding in float64 on the CPU, through `torch.func` and this project's own update rule; tests hold
    it against the NumPy reference. Raises ValueError where that is not finite, because no step could equal it.
    """
    import torch

    from backends._torch import TorchOps, to_torch, value_and_grad
    from bench.child.verify import N_LOSSES, summarize_state

    cpu, ops = torch.device("cpu"), TorchOps()
    initial = map_arrays(inputs["parameters"] / "parameters.safetensors")
    parameters = {name: to_torch(p, cpu, torch.float64) for name, p in initial.items()}
    batches = [
        {name: to_torch(a, cpu, torch.float64) for name, a in batch.items()}
        for batch in load_batches(inputs["batches"] / "batches.safetensors")
    ]
    found: dict[str, Summary] = {}
    if phase == "infer":
        for i, batch in enumerate(batches):
            with torch.no_grad():
                outputs = workload.infer(ops, parameters, batch)
            found |= {f"output.{i}.{name}": summarize(x.numpy()) for name, x in outputs.items()}
    else:
        state = initial_state(workload, parameters, torch.zeros_like)
        for i in range(N_LOSSES - 1):
            loss, state = train_step(workload, ops, value_and_grad, state, batches[i % N_BATCHES])
            found[f"loss.{i}"] = summarize(loss.numpy())
            if i == 0:
                found |= summarize_state(((name, x.numpy()) for name, x in state.items()), initial)
        last = N_LOSSES - 1
        with torch.no_grad():  # of the last step only the loss is compared
            tensors = {**subset(state, "parameter."), **subset(state, "buffer.")}
            loss, _ = workload.loss(ops, tensors, batches[last % N_BATCHES])
        found[f"loss.{last}"] = summarize(loss.numpy())
    for name, summary in found.items():
        if not (isfinite(summary.norm) and isfinite(summary.total)):
            raise ValueError(f"the reference is not finite in {name}: check the weights file, or take more tokens")
    save_expected(found, folder)
    return {"torch": torch.__version__}


def save_expected(found: Mapping[str, Summary], folder: Path) -> None:
    """Writes summaries so that `load_expected` reads them back exactly."""
    save_file({key: np.ascontiguousarray(s.values) for key, s in found.items()}, folder / "expected.safetensors")
    numbers = {key: {"n": s.n, "norm": s.norm, "total": s.total} for key, s in found.items()}
    (folder / "expected.json").write_text(json.dumps(numbers))


def load_expected(folder: Path) -> dict[str, Summary]:
    """Returns the summaries that `save_expected` wrote."""
    values = map_arrays(folder / "expected.safetensors")
    numbers = json.loads((folder / "expected.json").read_text())
    return {key: Summary(values=values[key], **entry) for key, entry in numbers.items()}


def make_graph(workload: Workload, phase: str, folder: Path, inputs: Mapping[str, Path]) -> Made:
    """Writes `step.onnx`: the inference step with its weights, or the whole training step."""
    from backends import _onnx_export

    parameters = map_arrays(inputs["parameters"] / "parameters.safetensors")
    batch = load_batches(inputs["batches"] / "batches.safetensors")[0]
    export = _onnx_export.export_inference if phase == "infer" else _onnx_export.export_training
    export(workload, parameters, batch, folder / "step.onnx")
    return {}


MAKERS: Mapping[str, Callable[[Workload, str, Path, Mapping[str, Path]], Made]] = {
    "parameters": make_parameters,
    "batches": make_batches,
    "expected": make_expected,
    "graph": make_graph,
}
