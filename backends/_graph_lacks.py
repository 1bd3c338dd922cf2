"""Which operators of a user's own model a runtime lacks, asked before anything is made for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.arrays import BATCHES_FILE, PARAMETERS_FILE, load_batches, map_arrays
from workloads.own.module import graph_of

if TYPE_CHECKING:
    from backends.base import Setting

HANDLED = frozenset({"aten._assert_tensor_metadata.default", "aten.squeeze.dims", "aten.var_mean.correction"})
"""Those that the exporter (2.13) translates without an entry in its registry."""


def in_jax(setting: Setting) -> tuple[str, ...]:
    """Returns the operators that our table for JAX has no function for."""
    from backends._jax_graph import TABLE

    return tuple(name for name in graph_of(setting.workload, setting.phase).operators() if name not in TABLE)


def in_onnx(setting: Setting) -> tuple[str, ...]:
    """Returns the operators of the whole step that the exporter to ONNX has no function for, as it registers them."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    from backends._onnx_export import OPSET

    registry = ONNXRegistry.from_torchlib(opset_version=OPSET)
    called = [_functional(node.target) for node in _traced(setting).graph.nodes if node.op == "call_function"]
    missing = (str(target) for target in called if hasattr(target, "_schema") and not registry.is_registered(target))
    return tuple(dict.fromkeys(name for name in missing if name not in HANDLED))


def _functional(target: Any) -> Any:
    """Returns the operator that stands in the place of one that writes into its argument, once a graph is exported."""
    import torch

    schema = getattr(target, "_schema", None)
    if schema is None or not schema.is_mutable or not schema.name.endswith("_"):
        return target
    packet = getattr(torch.ops.aten, schema.name.partition("::")[2].removesuffix("_"), None)
    return getattr(packet, target._overloadname, target)


def _traced(setting: Setting) -> Any:
    """Returns the step as operators of PyTorch, traced on shapes alone."""
    import torch
    from torch._decomp import core_aten_decompositions
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from backends._decompositions import decomposition_table
    from backends._onnx_export import ExportOps
    from backends._torch_ops import to_torch

    program, given = setting.program, setting.workload.given
    assert given is not None
    cpu = torch.device("cpu")
    tensors = {name: to_torch(x, cpu) for name, x in map_arrays(Path(given.folder) / PARAMETERS_FILE).items()}
    first = load_batches(Path(given.folder) / BATCHES_FILE)[0]
    batch = {spec.name: to_torch(first[spec.name], cpu) for spec in program.inputs}
    constants, state = program.constants_of(tensors), program.initial_state(tensors, torch.zeros)

    def step(*trees: Any) -> Any:
        return program.step(ExportOps(), *trees)

    table = core_aten_decompositions() if program.update is None else decomposition_table()
    with sdpa_kernel(SDPBackend.MATH):
        traced = make_fx(step, decomposition_table=table, tracing_mode="fake")(constants, state, batch)
    traced.graph.eliminate_dead_code()
    return traced
