"""The step as an ONNX graph, traced from the torch binding: what ONNX Runtime and OpenVINO run.

A step without state is exported as a user would: a module with its weights as initialisers. One with state is one
graph, state in and state out. A training step is one of forward, backward and optimiser update: `torch.export` cannot
trace through `torch.func.grad`, so that `make_fx` traces it first, with the decompositions that ONNX lacks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from itertools import accumulate
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from backends._decompositions import IN_OPERATORS, decomposition_table
from backends._graphs import carries_a_cache, graph_file
from backends._onnx_lacks import named_as_ours
from backends._softplus import Softplus
from backends._torch_experts import in_static_shapes, parameters_of
from backends._torch_graph import evaluate_with
from backends._torch_module import CPU, StatelessModule, placed, without_fused_kernels
from backends._torch_ops import Places, TorchOps, to_torch
from workloads.arrays import BATCHES_FILE, load_batches, map_initial
from workloads.count import output_names
from workloads.generate import Generating
from workloads.graph import Graph
from workloads.ops import Array, Expert, Parameters
from workloads.program import Program

if TYPE_CHECKING:
    from backends.base import Setting
    from workloads.data import Arrays

OPSET = 20
OPSET_IN_PLACE = 24
"""The first one that has TensorScatter, and Attention with it. OpenVINO (2026.4) has no TensorScatter."""
LEAST_OUTSIDE = 4096
"""Bytes of a tensor beside the graph. Lengths of a split must lie in it: ONNX Runtime (1.32) infers shapes by them."""


class ExportOps(TorchOps):
    """The vocabulary as it is exported: each operation says itself in what type it computes.

    torch's mathematical form of attention widens short types and gives its products float32; here they keep theirs.
    """

    widens_inside = frozenset()

    def attention(self, query: Array, key: Array, value: Array, causal: bool) -> Array:
        if query.dtype == torch.float32:
            return super().attention(query, key, value, causal)
        if (served := query.shape[1] // key.shape[1]) > 1:
            key, value = (heads.repeat_interleave(served, dim=1) for heads in (key, value))
        scores = (query @ key.transpose(-1, -2)).float() / sqrt(query.shape[-1])
        if causal:
            n = query.shape[-2]
            scores = scores + torch.full((n, n), float("-inf")).triu(1)
        return torch.softmax(scores, -1).to(query.dtype) @ value

    def evaluate(self, graph: Graph, tensors: Parameters) -> dict[str, Array]:
        return evaluate_with(graph, tensors, IN_OPERATORS)

    def silu(self, x: Array) -> Array:
        return x * torch.sigmoid(x)  # the derivative of torch's own has no translation to ONNX (2.13)

    def binary_cross_entropy(self, logits: Array, labels: Array) -> Array:
        # The derivative of torch's own makes tensors that have no translation to ONNX (2.13).
        return Softplus.apply((1 - 2 * labels) * logits).mean()

    def split(self, x: Array, parts: int | Sequence[int]) -> Sequence[Array]:
        if x.dtype == torch.float32:
            return super().split(x, parts)
        lengths = [x.shape[-1] // parts] * parts if isinstance(parts, int) else parts
        # ONNX has no SplitToSequence of bfloat16
        return [x[..., end - n : end] for n, end in zip(lengths, accumulate(lengths), strict=True)]

    def experts(
        self, expert: Expert, x: Array, weights: Array, ids: Array, parameters: Parameters, prefix: str, n: int
    ) -> Array:
        return in_static_shapes(expert, x, weights, ids, parameters_of(parameters, prefix, n))


class InPlaceOps(ExportOps):
    """The vocabulary for runtimes that write a cache where it lies."""

    def cache_update(self, cache: Array, new: Array, places: Places) -> Array:
        return torch.onnx.ops.symbolic(
            "TensorScatter",
            (cache, new, places.start),
            {"axis": 2, "mode": "linear"},
            dtype=cache.dtype,
            shape=cache.shape,
            version=OPSET_IN_PLACE,
        )

    def cached_attention(self, query: Array, key: Array, value: Array, places: Places) -> Array:
        # ONNX Runtime's Attention (1.32) wants a row of the mask for each query, of which there are so many more.
        served = query.shape[1] // key.shape[1]
        seen = places.seen.expand(-1, -1, served, -1) if query.shape[2] == 1 else places.seen
        return super().cached_attention(query, key, value, places._replace(seen=seen))


def make(setting: Setting, folder: Path, inputs: Mapping[str, Path], in_place: bool = False) -> dict[str, Any]:
    """Writes the step of the program to `step.onnx` in `folder`, from the arrays in the `inputs`' folders.

    Of a generation the two parts are written, `prefill.onnx` and `decode.onnx`.
    """
    if isinstance(setting.program, Generating):
        for name, part in setting.program.parts.items():
            example = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in part.programs[name].inputs}
            _make(setting.of_part(name), folder, inputs, example, in_place)
    else:
        with named_as_ours():
            _make(setting, folder, inputs, load_batches(inputs["batches"] / BATCHES_FILE)[0], in_place)
    return {}


def make_in_place(setting: Setting, folder: Path, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Writes the step as `make` does, with a cache that is written in place."""
    return make(setting, folder, inputs, in_place=True)


def _make(setting: Setting, folder: Path, inputs: Mapping[str, Path], batch: Arrays, in_place: bool) -> None:
    tensors = placed(setting, map_initial(inputs))
    program, path = setting.program, graph_file(folder, setting)
    if carries_a_cache(program):
        export_cached(program, tensors, batch, path, in_place, setting.precision.is_quantized)
    elif program.state:
        export_step(program, tensors, batch, path)
    else:
        is_quantized = setting.precision.is_quantized
        # A fused kernel's strides make a view of what follows; its translation's do not allow one (T5's mask).
        with without_fused_kernels() if setting.workload.given is not None else nullcontext():
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


def export_cached(
    program: Program,
    tensors: Mapping[str, Tensor],
    batch: Arrays,
    path: Path,
    in_place: bool = False,
    is_quantized: bool = False,
) -> None:
    """Writes a step that carries a cache to `path`, with the inputs and outputs that `export_step` gives it.

    Nothing is differentiated, so that the exporter takes it as it is: of a llama of 135 million parameters the graph is
    made in less time than by `make_fx`, and runs in 0.8 of its time on OpenVINO; in place, in 0.7 on ONNX Runtime.
    """
    ops, ours = (InPlaceOps() if in_place else ExportOps()), {}
    if is_quantized:
        from backends._onnx_int8 import ExportInt8Ops, InPlaceInt8Ops, add_zero_points, translations

        ops, ours = (InPlaceInt8Ops() if in_place else ExportInt8Ops()), dict(translations())
    module = CachedModule(program, tensors, ops).eval()
    inputs = tuple(to_torch(batch[spec.name], CPU) for spec in program.inputs)
    state = program.initial_state(tensors, torch.zeros)
    with torch.no_grad():
        exported = torch.onnx.export(
            module,
            (*inputs, *state.values()),
            dynamo=True,
            verbose=False,
            opset_version=OPSET_IN_PLACE if in_place else OPSET,
            input_names=[spec.name for spec in program.inputs] + list(state),
            output_names=[*output_names(program), *(f"next.{name}" for name in state)],
            custom_translation_table=ours,
        )
    if is_quantized:
        add_zero_points(exported.model.graph)
    _save(exported, path)


def export_step(program: Program, tensors: Mapping[str, Tensor], batch: Arrays, path: Path) -> None:
    """Writes one whole training step to `path`, state in and state out.

    Inputs are the batch and the state under canonical names; outputs are those of the program, such as `loss`, and
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

    with without_fused_kernels():
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


class CachedModule(nn.Module):
    """A step that carries a cache: it takes its inputs, then its state; its constants are buffers."""

    def __init__(self, program: Program, tensors: Mapping[str, Tensor], ops: TorchOps) -> None:
        super().__init__()
        self.program, self.ops = program, ops
        self.names = {name: f"constant_{number}" for number, name in enumerate(program.constants_of(tensors))}
        for name, held in self.names.items():
            self.register_buffer(held, tensors[name])

    def forward(self, *flat: Tensor) -> tuple[Tensor, ...]:
        n, names = len(self.program.inputs), [spec.name for spec in self.program.state]
        constants = {name: getattr(self, held) for name, held in self.names.items()}
        state = dict(zip(names, flat[n:], strict=True))
        outputs, new = self.program.step(self.ops, constants, state, _named(self.program.inputs, flat[:n]))
        return (*outputs.values(), *(new[name] for name in names))


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
    onnx_ir.save(program.model, path, external_data=f"{path.name}.data", size_threshold_bytes=LEAST_OUTSIDE)
