"""The workload of an ONNX file: one program, which the runtimes that take such files run as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from workloads.own.folder import PHASES, SIZE
from workloads.program import Checks, Program, Work
from workloads.specs import N_BATCHES, Given, InputSpec
from workloads.workload import Workload

ONNX_MODEL = "model.onnx"
"""The file as it is run: its shapes are fixed."""
PHASE = PHASES[0]
REASON = "an ONNX file runs on ONNX runtimes"


@dataclass(frozen=True)
class FileProgram(Program):
    """A step that no binding of the vocabulary knows: what it computes stands in the ONNX file of `folder`.

    `names` are its outputs, `compared` those that verification looks at: not those that are all but zero, whatever goes
    in.
    """

    folder: str = ""
    names: tuple[str, ...] = ()
    compared: tuple[str, ...] = ()
    is_unverified: bool = False
    """Whether nothing can say what it computes, and somebody wants its times all the same."""
    flops: int = 0
    minimum_bytes: int = 0


@dataclass(frozen=True)
class FileWorkload(Workload):
    """A workload whose tensors stay in their file: `held` is how many numbers those are, in `held_bytes`."""

    held: int = 0
    held_bytes: int = 0
    remarks: str = ""

    @property
    def said(self) -> str:
        """What it is held against where that is not float64, and what of it is not compared."""
        return self.remarks

    @property
    def parameter_count(self) -> int:
        """Number of floating numbers that the file holds."""
        return self.held

    @property
    def weights_bytes(self) -> int:
        """Bytes of all tensors that the file holds, in its own types."""
        return self.held_bytes


def _cannot(*arguments: object) -> NoReturn:
    raise TypeError(f"{REASON}: it has no step in our vocabulary")


def workload_of(described: Mapping[str, Any], folder: Path) -> Workload:
    """Returns the workload that `model.json` describes."""
    program = FileProgram(
        inputs=tuple(InputSpec(name, tuple(shape), dtype) for name, (shape, dtype) in described["inputs"].items()),
        step=_cannot,
        checks=Checks(N_BATCHES, "output"),
        work=Work(described["batch"]),
        folder=str(folder),
        names=tuple(described["outputs"]),
        compared=tuple(described["compared"]),
        is_unverified=described["is_unverified"],
        flops=described["flops"],
        minimum_bytes=described["minimum_bytes"],
    )
    return FileWorkload(
        name=described["name"],
        size=SIZE,
        batch=described["batch"],
        sequence=None,
        parameters=(),
        hyperparameters=described["operators"],
        programs={PHASE: program},
        source="workloads.own.folder",
        given=Given(str(folder), described["sha256"]),
        refused=described["refused"],
        held=described["held"],
        held_bytes=described["held_bytes"],
        remarks=described["said"],
    )
