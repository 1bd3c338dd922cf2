"""The file itself as the graph that adapters take: what they open is what the user exported, its shapes fixed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends._graphs import graph_file
from workloads.own.onnx_file import ONNX_MODEL, FileProgram

if TYPE_CHECKING:
    from backends.base import Setting


def make(setting: Setting, folder: Path, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Puts the file into `folder`, its tensors beside it where they lie there.

    The file is a link where that can be. Its tensors are a copy: `onnx` (1.23.2) reads none that have two names.
    """
    program = setting.program
    assert isinstance(program, FileProgram)
    for path in Path(program.folder).glob(f"{ONNX_MODEL}*"):
        if path.name == ONNX_MODEL:
            _linked(path, graph_file(folder, setting))
        else:
            shutil.copyfile(path, folder / path.name)
    return {}


def _linked(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)
