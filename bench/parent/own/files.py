"""A user's ONNX file, as it is asked for: its shapes, whether it may go unverified, and what it depends on."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from bench.parent.plans.parse import PlanError

OPTIONS: dict[str, dict[str, Any]] = {
    "--model-shapes": {"metavar": "SHAPES", "help": 'shapes of open inputs of an ONNX file: "x=1,3,48,192 y=1,128"'},
    "--unverified": {
        "action": "store_true",
        "default": None,
        "help": "time ONNX files too that nothing can verify, in no ratio",
    },
}
MAKER = "bench.child.own.onnx_file:make"
LIBRARIES = ("onnx", "onnxruntime", "numpy", "safetensors")


def is_file(reference: str) -> bool:
    """Returns whether a model is asked for by the path of an ONNX file."""
    return reference.lower().endswith(".onnx")


def shapes_by_model(text: str | None, files: Collection[str]) -> dict[str, str]:
    """Returns what `--model-shapes` says of each of the `files`, by name: `MODEL/input=1,128` where there are several.

    Raises PlanError for shapes of nobody.
    """
    if text is None:
        return {}
    if not files:
        raise PlanError("--model-shapes is for an ONNX file: --model path/to/file.onnx")
    found: dict[str, list[str]] = {}
    for part in text.replace(";", " ").split():
        name, slash, rest = part.partition("/")
        if slash and name in files:
            found.setdefault(name, []).append(rest)
        elif len(files) == 1:
            found.setdefault(next(iter(files)), []).append(part)
        else:
            raise PlanError(f"--model-shapes {part}: whose input? MODEL/{part}, MODEL of: {', '.join(files)}")
    return {name: " ".join(parts) for name, parts in found.items()}


def digest_of_file(path: Path) -> str:
    """Returns a digest of the file, and of the names, sizes and times of those beside it that it names.

    Raises FileNotFoundError where there is none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with path.open("rb") as file:
        running = hashlib.file_digest(file, "sha256")
        for beside in _named_in(file.fileno(), path):
            status = beside.stat()
            running.update(f"{beside.name} {status.st_size} {status.st_mtime_ns}".encode())
    return running.hexdigest()


def _named_in(file: int, path: Path) -> Iterator[Path]:
    """Yields the files in the folder whose names stand in the file: where its tensors may lie."""
    if not path.stat().st_size:
        return
    with mmap.mmap(file, 0, access=mmap.ACCESS_READ) as held:
        for beside in sorted(path.parent.glob("*")):
            if beside.is_file() and beside != path and held.find(beside.name.encode()) >= 0:
                yield beside
