"""The step as an ONNX graph, traced from the torch binding: what ONNX Runtime and OpenVINO run.

Inference is exported as a user would: a module with its weights as initialisers. Training is one graph of
forward, backward and optimiser update, state in and state out: `torch.export` cannot trace through
`torch.func.grad`, so that `make_fx` traces it first, with the decompositions that ONNX lacks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from backends._decompositions import decomposition_table
from backends._torch import TorchOps, to_torch, value_and_grad
from backends._torch_module import InferenceModule
from workloads.data import Arrays
from workloads.workload import Workload, initial_state, train_step

CPU = torch.device("cpu")
OPSET = 20


def export_inference(workload: Workload, parameters: Arrays, batch: Arrays, path: Path) -> None:
    """Writes the inference step to `path`, weights beside it as external data where they are large."""
    inputs = tuple(to_torch(batch[spec.name], CPU) for spec in workload.inputs)
    module = InferenceModule(workload, parameters).eval()
    with torch.no_grad():
        names = list(workload.infer(TorchOps(), module.tensors(), _named(workload.inputs, inputs)))
    program = torch.onnx.export(
        module,
        inputs,
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=[spec.name for spec in workload.inputs],
        output_names=names,
    )
    _save(program, path)


def export_training(workload: Workload, parameters: Arrays, batch: Arrays, path: Path) -> None:
    """Writes one whole training step to `path`.

    Inputs are the batch and the state under canonical names; outputs are `loss` and `next.<state name>`.
    """
    specs = workload.inputs + workload.targets
    inputs = tuple(to_torch(batch[spec.name], CPU) for spec in specs)
    tensors = {name: to_torch(p, CPU) for name, p in parameters.items()}
    state = initial_state(workload, tensors, torch.zeros_like)

    def step(*flat: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(state, flat[len(specs) :], strict=True))
        loss, new = train_step(workload, TorchOps(), value_and_grad, given, _named(specs, flat[: len(specs)]))
        return (loss, *(new[name] for name in state))

    example = (*inputs, *state.values())
    # A fused attention kernel has no ONNX translation of its backward pass; its mathematical form has.
    with sdpa_kernel(SDPBackend.MATH):
        traced = make_fx(step, decomposition_table=decomposition_table(), tracing_mode="fake")(*example)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    program = torch.onnx.export(
        torch.export.export(traced, example, strict=False),
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        # The exporter's optimiser takes as long again (gpt2: 78 s against 39 s on two cores), and the step gains what
        # the noise hides: 0.95 of the time on ONNX Runtime, 1.01 on OpenVINO (medians of 7 ABBA pairs, torch 2.13).
        optimize=False,
        input_names=[spec.name for spec in specs] + list(state),
        output_names=["loss"] + [f"next.{name}" for name in state],
    )
    _save(program, path)


def _named(specs: Any, tensors: Any) -> dict[str, Tensor]:
    return {spec.name: tensor for spec, tensor in zip(specs, tensors, strict=True)}


def _save(program: Any, path: Path) -> None:
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    program.save(str(path), external_data=True)
