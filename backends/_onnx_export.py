"""The step as an ONNX graph, traced from the torch binding: what ONNX Runtime and OpenVINO run.

A step without state is exported as a user would: a module with its weights as initialisers. One with state is one
graph, state in and state out; in training of forward, backward and optimiser update: `torch.export` cannot trace
through `torch.func.grad`, so that `make_fx` traces it first, with the decompositions that ONNX lacks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from backends._decompositions import decomposition_table
from backends._graphs import graph_file
from backends._torch_module import CPU, StatelessModule, placed
from backends._torch_ops import TorchOps, to_torch
from workloads import data
from workloads.arrays import BATCHES_FILE, load_batches, map_initial
from workloads.generate import Generating
from workloads.ops import Array
from workloads.program import Program

if TYPE_CHECKING:
    from backends.base import Setting
    from workloads.data import Arrays

OPSET = 20


class ExportOps(TorchOps):
    """The vocabulary as it is exported: each operation says itself in what type it computes.

    torch's mathematical form of attention widens short types and gives its products float32; here they keep theirs.
    """

    widens_inside = frozenset()

    def attention(self, query: Array, key: Array, value: Array, causal: bool) -> Array:
        if query.dtype == torch.float32:
            return super().attention(query, key, value, causal)
        scores = (query @ key.transpose(-1, -2)).float() / sqrt(query.shape[-1])
        if causal:
            n = query.shape[-2]
            scores = scores + torch.full((n, n), float("-inf")).triu(1)
        return torch.softmax(scores, -1).to(query.dtype) @ value

    def silu(self, x: Array) -> Array:
        return x * torch.sigmoid(x)  # the derivative of torch's own has no translation to ONNX (2.13)

    def split(self, x: Array, parts: int) -> Sequence[Array]:
        if x.dtype == torch.float32:
            return super().split(x, parts)
        width = x.shape[-1] // parts  # ONNX has no SplitToSequence of bfloat16
        return [x[..., i * width : (i + 1) * width] for i in range(parts)]


def make(setting: Setting, folder: Path, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Writes the step of the program to `step.onnx` in `folder`, from the arrays in the `inputs`' folders.

    Of a generation the two parts are written, `prefill.onnx` and `decode.onnx`.
    """
    if isinstance(setting.program, Generating):
        for name, part in setting.program.parts.items():
            _make(setting.of_part(name), folder, inputs, data.make_batches(part)[0])
    else:
        _make(setting, folder, inputs, load_batches(inputs["batches"] / BATCHES_FILE)[0])
    return {}


def _make(setting: Setting, folder: Path, inputs: Mapping[str, Path], batch: Arrays) -> None:
    tensors = placed(setting, map_initial(inputs))
    program, path = setting.program, graph_file(folder, setting)
    if program.state:
        export_step(program, tensors, batch, path)
    else:
        is_quantized = setting.precision.is_quantized
        export_stateless(program, tensors, batch, path, setting.kept, is_quantized)


def export_stateless(
    program: Program,
    tensors: Mapping[str, Tensor],
    batch: Arrays,
    path: Path,
    buffers: Collection[str] = (),
    is_quantized: bool = False,
) -> None:
    """Writes a step without state to `path`, weights beside it as external data where they are large."""
    ops, ours = ExportOps(), {}
    if is_quantized:
        from backends._onnx_int8 import ExportInt8Ops, add_zero_points, translations

        ops, ours = ExportInt8Ops(), dict(translations())
    inputs = tuple(to_torch(batch[spec.name], CPU) for spec in program.inputs)
    module = StatelessModule(program, tensors, buffers, ops).eval()
    with torch.no_grad():
        names = list(program.outputs_of(ops, module.tensors(), {}, _named(program.inputs, inputs)))
    exported = torch.onnx.export(
        module,
        inputs,
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=[spec.name for spec in program.inputs],
        output_names=names,
        custom_translation_table=ours,
    )
    if is_quantized:
        add_zero_points(exported.model.graph)
    _save(exported, path)


def export_step(program: Program, tensors: Mapping[str, Tensor], batch: Arrays, path: Path) -> None:
    """Writes one whole step to `path`, state in and state out.

    Inputs are the batch and the state under canonical names; outputs are those of the program, `loss` in training, and
    `next.<state name>`. Constants are initialisers.
    """
    specs = program.inputs
    inputs = tuple(to_torch(batch[spec.name], CPU) for spec in specs)
    constants, state = program.constants_of(tensors), program.initial_state(tensors, torch.zeros)
    first_constant, first_state = len(specs), len(specs) + len(constants)
    names: list[str] = []

    def step(*flat: Tensor) -> tuple[Tensor, ...]:
        batch = _named(specs, flat[:first_constant])
        frozen = dict(zip(constants, flat[first_constant:first_state], strict=True))
        held = dict(zip(state, flat[first_state:], strict=True))
        outputs, new = program.step(ExportOps(), frozen, held, batch)
        names[:] = outputs
        return (*outputs.values(), *(new[name] for name in state))

    # A fused attention kernel has no ONNX translation of its backward pass; its mathematical form has.
    with sdpa_kernel(SDPBackend.MATH):
        traced = make_fx(step, decomposition_table=decomposition_table(), tracing_mode="fake")(
            *inputs, *constants.values(), *state.values()
        )
    traced.graph.eliminate_dead_code()
    traced.recompile()
    module = WithConstants(traced, tuple(constants.values()), first_constant)
    exported = torch.onnx.export(
        torch.export.export(module, (*inputs, *state.values()), strict=False),
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        # The exporter's optimiser takes as long again (gpt2: 78 s against 39 s on two cores), and the step gains what
        # the noise hides: 0.95 of the time on ONNX Runtime, 1.01 on OpenVINO (medians of 7 ABBA pairs, torch 2.13).
        optimize=False,
        input_names=[spec.name for spec in specs] + list(state),
        output_names=names + [f"next.{name}" for name in state],
    )
    _save(exported, path)


class WithConstants(nn.Module):
    """A traced step that holds its constants, which the exporter writes as initialisers."""

    def __init__(self, traced: nn.Module, constants: tuple[Tensor, ...], first: int) -> None:
        super().__init__()
        self.traced, self.first = traced, first
        self.names = [f"constant_{number}" for number in range(len(constants))]
        for name, tensor in zip(self.names, constants, strict=True):
            self.register_buffer(name, tensor)

    def forward(self, *flat: Tensor) -> Any:
        held = [getattr(self, name) for name in self.names]
        return self.traced(*flat[: self.first], *held, *flat[self.first :])


def _named(specs: Any, tensors: Any) -> dict[str, Tensor]:
    return {spec.name: tensor for spec, tensor in zip(specs, tensors, strict=True)}


def _save(program: Any, path: Path) -> None:
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    program.save(str(path), external_data=True)
