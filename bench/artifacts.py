"""What cells need and is made once: declared here, or by an adapter; made in children, each from what it needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter

from backends.base import Adapter, Artifact

PARAMETERS = Artifact("parameters", "bench.child.inputs:make_parameters", needs=(), is_shared=True, of_model_alone=True)
BATCHES = Artifact("batches", "bench.child.inputs:make_batches", needs=("parameters",), is_shared=True)
EXPECTED = Artifact("expected", "bench.child.expected:make", libraries=("torch",))
NOISE = Artifact("noise", "bench.child.noise:make", needs=("parameters", "batches", "expected"), libraries=("torch",))


def artifacts_for(adapter: Adapter) -> tuple[Artifact, ...]:
    """Returns what a cell of the adapter needs, each after what it is made from."""
    reference = (EXPECTED, NOISE) if adapter.verifiable else ()
    return tuple(artifact for wave in waves((PARAMETERS, BATCHES, *reference, *adapter.artifacts)) for artifact in wave)


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
