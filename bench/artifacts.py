"""What cells need and is made once: declared here, or by an adapter; made in children, each from what it needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from graphlib import TopologicalSorter
from typing import TypeVar

from backends._graphs import ONNX
from backends.base import Adapter, Artifact
from workloads.generate import Generating
from workloads.own.onnx_file import REASON, FileProgram
from workloads.precision import DEFAULT, Precision, precision_of
from workloads.program import Program
from workloads.workload import Workload

PARAMETERS = Artifact("parameters", "bench.child.inputs:make_parameters", needs=(), is_shared=True, of_model_alone=True)
BATCHES = Artifact("batches", "bench.child.inputs:make_batches", needs=("parameters",), is_shared=True)
CODES = Artifact("codes", "bench.child.checks.codes:make_codes", libraries=("torch",))
"""What stands in the place of the parameters in a precision whose products read codes of 8 bits."""
CACHES = Artifact("caches", "bench.child.checks.caches:make_caches", needs=("parameters",), libraries=("torch",))
"""What the reference makes of a prompt: the state with which a step begins that goes on from it."""
GREEDY = Artifact(
    "batches", "bench.child.checks.greedy:make_batches", needs=("parameters",), libraries=("torch", "numpy")
)
"""Batches in which the reference has chosen the tokens behind the prompts."""
EXPECTED = Artifact("expected", "bench.child.expected:make", libraries=("torch",))
NOISE = Artifact("noise", "bench.child.noise:make", needs=("parameters", "batches", "expected"), libraries=("torch",))

NOISE_OF_GRAPH = replace(NOISE, maker="bench.child.own.conditioned:make")
"""The same of a user's module, which nobody has looked at: it may be ill-conditioned."""
OF_FILE = (
    Artifact("expected", "bench.child.own.file_reference:make", libraries=("onnx", "onnxruntime")),
    Artifact(
        "noise",
        "bench.child.own.file_reference:make_noise",
        needs=("parameters", "batches", "expected"),
        libraries=("onnx", "onnxruntime"),
    ),
)
"""What a user's ONNX file is held against."""
FILE = Artifact(ONNX.name, "backends._onnx_file.handed:make", needs=())
"""The file in the place of the graph that an adapter takes."""


def takes_files(adapter: Adapter) -> bool:
    """Returns whether the adapter runs ONNX files: it takes the graphs of our own workloads as such."""
    return any(artifact.name == FILE.name for artifact in adapter.artifacts)


def artifacts_for(
    adapter: Adapter, precision: Precision = DEFAULT, program: Program | None = None
) -> tuple[Artifact, ...]:
    """Returns what a cell of the adapter needs in `precision`, each after what it is made from.

    `program` is the one that it runs, as it is written.
    """
    if isinstance(program, FileProgram):
        return _artifacts_of_file(adapter, program)
    of_adapter = adapter.artifacts if program is None else adapter.artifacts_of(program)
    of_step = NOISE_OF_GRAPH if program is not None and program.graph is not None else NOISE
    made = ((EXPECTED, of_step) if adapter.verifiable else ()) + of_adapter
    if program is not None and program.prompt is not None:
        made = (CACHES, *(replace(one, needs=(*one.needs, CACHES.name)) for one in made))
    if precision.is_quantized:
        made = (CODES, *(replace(one, needs=(*one.needs, CODES.name)) for one in made))
    return tuple(artifact for wave in waves((PARAMETERS, batches_of(program), *made)) for artifact in wave)


def plain_expected(adapter: Adapter, workload: Workload, phase: str) -> Artifact:
    """Returns what a cell in float32 is held against, with all that it is made from."""
    made = artifacts_for(adapter, DEFAULT, workload.programs[phase])
    return next(one for one in made if one.name == EXPECTED.name)


def why_no_file(adapter: Adapter, program: Program, precision: str) -> tuple[str, str] | None:
    """Returns (reason code, reason) where `program` is of a user's model and the adapter cannot run it, else None."""
    if program.graph is not None and adapter.verifiable and precision_of(precision).is_quantized:
        return "precision_not_supported", (
            f"{precision} has the layers of our own models; of a user's module nobody says which weights are in codes"
        )
    if not isinstance(program, FileProgram) or not adapter.verifiable:
        return None
    if not takes_files(adapter):
        return "phase_not_supported", f"{REASON}: {adapter.name} takes no ONNX graph"
    if precision != DEFAULT.name:
        return "precision_not_supported", f"an ONNX file runs in the types that it was exported in, not in {precision}"
    return None


def _artifacts_of_file(adapter: Adapter, program: FileProgram) -> tuple[Artifact, ...]:
    is_held = adapter.verifiable and not program.is_unverified
    made = (OF_FILE if is_held else ()) + ((FILE,) if takes_files(adapter) else ())
    return tuple(artifact for wave in waves((PARAMETERS, BATCHES, *made)) for artifact in wave)


def batches_of(program: Program | None) -> Artifact:
    """Returns what makes the batches that a program reads."""
    return GREEDY if isinstance(program, Generating) else BATCHES


Kept = TypeVar("Kept")


def handed_over(entries: Mapping[str, Kept]) -> dict[str, Kept]:
    """Returns entries by the names under which they are read: codes stand in the place of the parameters."""
    codes = {PARAMETERS.name: entries[CODES.name]} if CODES.name in entries else {}
    return {name: entry for name, entry in entries.items() if name != CODES.name} | codes


def waves(artifacts: Iterable[Artifact]) -> Iterator[tuple[Artifact, ...]]:
    """Yields the artifacts that can be made beside each other, each group from what the groups before it made.

    Raises ValueError where one needs what is not there, and graphlib's CycleError where two need each other.
    """
    by_name = {artifact.name: artifact for artifact in artifacts}
    for artifact in by_name.values():
        if unknown := [name for name in artifact.needs if name not in by_name]:
            raise ValueError(
                f"the artifact {artifact.name!r} needs {unknown[0]!r}, which nobody declares; it may need: "
                f"{', '.join(by_name)}"
            )
    sorter = TopologicalSorter({artifact.name: artifact.needs for artifact in by_name.values()})
    sorter.prepare()
    while sorter.is_active():
        ready = sorter.get_ready()
        yield tuple(by_name[name] for name in by_name if name in ready)
        sorter.done(*ready)
