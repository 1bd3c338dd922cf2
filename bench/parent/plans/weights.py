"""Which weights files take the place of random parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.parent.plans.parse import PlanError
from host.home import expanded
from workloads.catalog import CATALOG, load
from workloads.specs import Weights
from workloads.weights import files as weights


def files(text: str | None, chosen: Sequence[str], size_of: Callable[[str], str]) -> dict[str, Weights]:
    """Returns the weights files in `text`, `WORKLOAD=PATH` comma-separated, each checked at its size.

    Raises PlanError.
    """
    by_workload: dict[str, Weights] = {}
    for part in () if text is None else text.split(","):
        name, equals, path = (word.strip() for word in part.partition("="))
        if not (name and equals and path):
            raise PlanError(f"--weights takes WORKLOAD=PATH, comma-separated; got {part!r}")
        if name not in CATALOG:
            raise PlanError(f"--weights for unknown workload {name!r}; known: {', '.join(CATALOG)}")
        if name not in chosen:
            raise PlanError(f"--weights for {name}, which is not in this run; it has {', '.join(chosen)}")
        if name in by_workload:
            raise PlanError(f"--weights has two files for {name}; give one")
        try:
            by_workload[name] = weights.check(expanded(path), load(name, size_of(name)))
        except ValueError as error:
            raise PlanError(f"--weights {name}: {error}") from error
    return by_workload
