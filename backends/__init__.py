"""How it runs: one adapter per file, and the folder is the registry: file name = backend = test id = column value."""

from __future__ import annotations

import inspect
from functools import cache
from importlib import import_module
from pathlib import Path

from backends.base import Adapter


@cache
def names() -> tuple[str, ...]:
    """Returns the names of all backends: one per file, in alphabetical order, `null` last."""
    found = [path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "base"]
    return tuple(sorted((name for name in found if name[0] != "_"), key=lambda name: (name == "null", name)))


@cache
def get(name: str) -> Adapter:
    """Returns the adapter called `name`. Raises ValueError for an unknown name."""
    if name not in names():
        raise ValueError(f"unknown backend {name!r}; known: {', '.join(names())}")
    return load_adapter(f"backends.{name}")


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
