"""ONNX Runtime with its optimisations off: the nearest that a file has to a second opinion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto


def run(model: ModelProto, batches: list[Mapping[str, NDArray[Any]]]) -> list[dict[str, NDArray[Any]]]:
    """Returns the outputs of each batch by name, every operator run by itself on the CPU."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return [dict(zip(names, session.run(names, dict(batch)), strict=True)) for batch in batches]
