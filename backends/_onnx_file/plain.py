"""ONNX Runtime with its optimisations off: the nearest that a file has to a second opinion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto

from backends._onnx_file.reading import bytes_of, tensors

LARGE_BYTES = 1 << 30
"""Files with more have their tensors beside them: the format itself ends at 2 GB."""


def save(model: ModelProto, path: Path) -> None:
    """Writes the model to `path`, its tensors beside it where they are large."""
    if sum(map(bytes_of, tensors(model))) <= LARGE_BYTES:
        onnx.save(model, str(path))
        return
    emptied = ModelProto()  # saving takes the tensors out
    emptied.CopyFrom(model)
    onnx.save(emptied, str(path), save_as_external_data=True, location=f"{path.name}.data")


def why_not_opened(model: ModelProto) -> str:
    """Returns what ONNX Runtime says where it cannot open the model as users do, optimised; empty where it can."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    with TemporaryDirectory(prefix="samestep-plain-") as folder:
        path = Path(folder) / "model.onnx"
        save(model, path)
        try:
            ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's own kinds, which have no common one
            return " ".join(str(error).split())
    return ""


def run(model: ModelProto, batches: Sequence[Mapping[str, NDArray[Any]]]) -> list[dict[str, NDArray[Any]]]:
    """Returns the outputs of each batch by name, every operator run by itself on the CPU."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    with TemporaryDirectory(prefix="samestep-plain-") as folder:
        path = Path(folder) / "model.onnx"
        save(model, path)
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return [dict(zip(names, session.run(names, dict(batch)), strict=True)) for batch in batches]
