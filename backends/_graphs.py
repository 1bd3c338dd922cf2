"""The graphs that several adapters take, declared: who makes them, and from what. And what their steps share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from backends.base import Artifact, Effective

if TYPE_CHECKING:
    from pathlib import Path

    from backends.base import Request, Setting
    from workloads.program import Program

ONNX = Artifact("onnx", "backends._onnx_export:make", libraries=("torch", "onnx", "onnxscript", "onnx-ir"))
"""The step as `step.onnx`, with weights beside it where they are large."""
ONNX_IN_PLACE = Artifact("onnx_in_place", "backends._onnx_export:make_in_place", libraries=ONNX.libraries)
"""The same of a step that carries a cache, in opset 24: TensorScatter may write where the cache lies."""
ONNX_FILE = "step.onnx"


def graph_file(folder: Path, setting: Setting) -> Path:
    """Returns where the graph of a step lies in the artifact's `folder`; the parts of a generation have one each."""
    return folder / (f"{setting.part}.onnx" if setting.part else ONNX_FILE)


def graph_of(request: Request) -> Path:
    """Returns where the graph lies that a step is opened from, in whichever form its adapter takes it."""
    (name,) = {ONNX.name, ONNX_IN_PLACE.name} & request.artifacts.keys()
    return graph_file(request.artifacts[name], request)


def carries_a_cache(program: Program) -> bool:
    """Returns whether a step reads and writes tensors that stay from step to step, and trains nothing."""
    return bool(program.state) and program.update is None


def zeros(shape: tuple[int, ...]) -> Any:
    """Returns float32 zeros on the host."""
    import numpy as np

    return np.zeros(shape, np.float32)


def with_optimizer(effective: Effective, program: Program) -> Effective:
    """Returns what a runtime says of a graph, and whose update rule is in it."""
    if program.update is None:
        return effective
    optimizer = f"workloads.optim.{type(program.update.rule).__name__}"
    return replace(effective, more={**effective.more, "optimizer": optimizer})
