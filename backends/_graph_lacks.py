"""Which operators of a user's own model a runtime lacks, asked before anything is made for it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.arrays import BATCHES_FILE, PARAMETERS_FILE, load_batches, map_arrays
from workloads.graph import UnsupportedOperator
from workloads.own.module import graph_of

if TYPE_CHECKING:
    from backends.base import Setting
    from workloads.data import Arrays

HANDLED = frozenset({"aten._assert_tensor_metadata.default", "aten.squeeze.dims", "aten.var_mean.correction"})
"""Those that the exporter (2.13) translates without an entry in its registry."""


def in_jax(setting: Setting) -> tuple[str, ...]:
    """Returns the operators that our table for JAX has no function for, or the first one whose form it does not know.

    The step is evaluated on shapes alone.
    """
    import jax

    from backends._jax import narrowed
    from backends._jax_graph import TABLE
    from backends._jax_ops import JaxOps

    if missing := [name for name in graph_of(setting.workload, setting.phase).operators() if name not in TABLE]:
        return tuple(missing)
    program, tensors, batch = setting.program, *_given(setting)

    def shaped(array: Any) -> Any:
        return jax.ShapeDtypeStruct(array.shape, narrowed(array).dtype)

    shapes = {name: shaped(x) for name, x in tensors.items()}
    state = program.initial_state(shapes, lambda shape: jax.ShapeDtypeStruct(shape, np.float32))
    of_batch = {name: shaped(x) for name, x in batch.items()}
    try:
        jax.eval_shape(partial(program.step, JaxOps()), program.constants_of(shapes), state, of_batch)
    except UnsupportedOperator as error:
        return (str(error).removeprefix("operator "),)
    return ()


def in_onnx(setting: Setting) -> tuple[str, ...]:
    """Returns the operators of the whole step that the exporter to ONNX has no function for, as it registers them.

    Those that it decomposes have none of their own: where some are missing the step is traced again, as it does so.
    """
    from torch.onnx._internal.exporter import _decomp
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    from backends._onnx_export import OPSET

    registry = ONNXRegistry.from_torchlib(opset_version=OPSET)
    rules = _decomp.create_onnx_friendly_decomposition_table({*_decomp.get_onnx_implemented_overloads(registry)})
    used: dict[Any, Any] = {}
    try:
        while missing := _untranslated(_traced(setting, used), registry):
            if not (more := {op: rules[op] for op in missing.values() if op in rules and op not in used}):
                return tuple(missing)
            used |= more
    except UnsupportedOperator as error:
        return (str(error).removeprefix("operator "),)
    return ()


def _untranslated(traced: Any, registry: Any) -> dict[str, Any]:
    """Returns the operators of a traced step that have no function for what they are given, by what they are called."""
    missing: dict[str, Any] = {}
    for node in traced.graph.nodes:
        target = _functional(node.target)
        if node.op == "call_function" and hasattr(target, "_schema") and str(target) not in HANDLED:
            made_for = {meta.is_complex for meta in registry.get_decomps(target)}
            if _reads_complex(node) not in made_for:
                missing[f"{target} of complex numbers" if made_for == {False} else str(target)] = target
    return missing


def _reads_complex(node: Any) -> bool:
    return any(
        before.meta["val"].is_complex() for before in node.all_input_nodes if hasattr(before.meta["val"], "is_complex")
    )


def _given(setting: Setting) -> tuple[Arrays, Arrays]:
    """Returns the tensors of a user's model, and its first batch."""
    assert setting.workload.given is not None
    folder = Path(setting.workload.given.folder)
    first = load_batches(folder / BATCHES_FILE)[0]
    return map_arrays(folder / PARAMETERS_FILE), {spec.name: first[spec.name] for spec in setting.program.inputs}


def _functional(target: Any) -> Any:
    """Returns the operator that stands in the place of one that writes into its argument, once a graph is exported."""
    import torch

    schema = getattr(target, "_schema", None)
    if schema is None or not schema.is_mutable or not schema.name.endswith("_"):
        return target
    packet = getattr(torch.ops.aten, schema.name.partition("::")[2].removesuffix("_"), None)
    if packet is None:
        return target
    return getattr(packet, target._overloadname, None) or getattr(packet, packet.overloads()[0])


def _traced(setting: Setting, more: Mapping[Any, Any]) -> Any:
    """Returns the step as operators of PyTorch, traced on shapes alone, with `more` decompositions than are ours."""
    import torch
    from torch._decomp import core_aten_decompositions
    from torch.fx.experimental.proxy_tensor import make_fx

    from backends._decompositions import decomposition_table
    from backends._onnx_export import ExportOps
    from backends._torch_module import without_fused_kernels
    from backends._torch_ops import to_torch

    program, cpu = setting.program, torch.device("cpu")
    tensors, batch = ({name: to_torch(x, cpu) for name, x in arrays.items()} for arrays in _given(setting))
    constants, state = program.constants_of(tensors), program.initial_state(tensors, torch.zeros)

    def step(*trees: Any) -> Any:
        return program.step(ExportOps(), *trees)

    table = {**more, **(core_aten_decompositions() if program.update is None else decomposition_table())}
    with without_fused_kernels():
        traced = make_fx(step, decomposition_table=table, tracing_mode="fake")(constants, state, batch)
    traced.graph.eliminate_dead_code()
    return traced
