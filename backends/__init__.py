"""How it runs: one adapter per file, and the folder is the registry: file name = backend = test id = column value.

Other packages add theirs through the entry-point group `samestep.backends`: name = backend, value = the module that
declares its one Adapter.
"""

from __future__ import annotations

import inspect
from functools import cache
from importlib import import_module
from pathlib import Path

from backends._outside import Claim, claims, contained, probe_contained
from backends.base import Adapter, Probe


@cache
def own_names() -> tuple[str, ...]:
    """Returns the names of this folder's backends: one per file."""
    stems = [path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "base"]
    return tuple(sorted(stem for stem in stems if stem[0] != "_"))


@cache
def outside() -> tuple[Claim, ...]:
    """Returns what other packages claim to add, the refused claims among them."""
    return claims(own_names())


@cache
def names() -> tuple[str, ...]:
    """Returns the names of all backends, ours and others', in alphabetical order, `null` last."""
    accepted = [claim.name for claim in outside() if not claim.refused]
    return tuple(sorted([*own_names(), *accepted], key=lambda name: (name == "null", name)))


@cache
def get(name: str) -> Adapter:
    """Returns the adapter called `name`; another package's stands in as broken where it cannot be loaded.

    Raises ValueError for an unknown name.
    """
    if name not in names():
        raise ValueError(f"unknown backend {name!r}; known: {', '.join(names())}{why_refused(name)}")
    for claim in outside():
        if claim.name == name and not claim.refused:
            return contained(claim, load_adapter)
    return load_adapter(f"backends.{name}")


def why_refused(name: str) -> str:
    """Returns why the entry points called `name` have no cells, to be put behind `unknown backend …`; else nothing."""
    refused = (claim for claim in outside() if claim.refused and claim.name == name)
    return "".join(f"; {claim.module} of {claim.package}: {claim.refused}" for claim in refused)


def probe(adapter: Adapter) -> Probe:
    """Returns what the adapter's probe says; one that raises, or answers with something else, is `broken`."""
    return probe_contained(adapter)


def load_adapter(module_name: str) -> Adapter:
    """Returns the one adapter that the module declares. Raises TypeError unless there is exactly one."""
    module = import_module(module_name)
    classes = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Adapter) and value.__module__ == module_name
    ]
    if len(classes) != 1:
        raise TypeError(f"{module_name} must declare exactly one Adapter, found {[c.__name__ for c in classes]}")
    adapter: Adapter = classes[0]()
    return adapter
