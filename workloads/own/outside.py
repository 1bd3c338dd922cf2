"""Workloads of other packages: found by their entry points, and left out where they do not keep the rules."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType
from typing import NamedTuple

from workloads.workload import Workload

GROUP = "samestep.workloads"
NAME = re.compile(r"[a-z0-9_]+", re.ASCII)
SMALLEST = "tiny"


class Found(NamedTuple):
    """The modules by the names of their workloads, and by name why there is no module."""

    modules: dict[str, ModuleType]
    refused: dict[str, str]


def found(ours: Collection[str]) -> Found:
    """Returns what installed packages bring beside `ours`: nothing that they raise ends the run of another workload."""
    claims = {(e.name, e.value): e.dist.name if e.dist else "a package" for e in entry_points(group=GROUP)}
    times = Counter(name for name, _ in claims)
    result = Found({}, {})
    for (name, module), package in sorted(claims.items()):
        origin = f"{module} of {package}"
        if not NAME.fullmatch(name):
            result.refused[name] = f"{origin}: its name must consist of a-z, 0-9 and _, got {name!r}"
        elif name in ours:
            result.refused[name] = f"{origin}: samestep has a workload {name!r} of its own; choose another name"
        elif times[name] > 1:
            result.refused[name] = f"{times[name]} entry points are called {name!r}; uninstall all but one"
        else:
            loaded = _loaded(name, module)
            if isinstance(loaded, str):
                result.refused[name] = f"{origin}: {loaded}"
            else:
                result.modules[name] = loaded
    return result


def _loaded(name: str, path: str) -> ModuleType | str:
    """Returns the module, or what is wrong with it."""
    if not re.fullmatch(r"\w+(\.\w+)*", path):
        return "it is not the name of a module"
    try:
        module = import_module(path)
        return _fault(name, module) or module
    except (Exception, SystemExit) as error:  # noqa: BLE001 - code of strangers raises whatever it likes
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _fault(name: str, module: ModuleType) -> str:
    """Returns what a module does not declare as a file of ours does, in words; nothing where all is well."""
    missing = [one for one in ("SIZES", "PUBLISHED", "BATCHES", "SEQUENCES", "build") if not hasattr(module, one)]
    if missing:
        return f"it has no {', '.join(missing)}: see docs/adding-a-workload.md"
    for size in (SMALLEST, module.PUBLISHED):
        if size not in module.SIZES or size not in module.BATCHES:
            return f"SIZES and BATCHES must have {size!r}; they have {', '.join(module.SIZES)}"
    if getattr(module, "KIND", "model") != "model":
        return f"KIND is {module.KIND!r}; what bounds the chip and what watches the machine are samestep's own"
    sequence = None if module.SEQUENCES is None else module.SEQUENCES[SMALLEST]
    workload: object = module.build(SMALLEST, module.BATCHES[SMALLEST], sequence)
    if not isinstance(workload, Workload) or not workload.programs:
        return f"build() must return a samestep.Workload with programs, got {workload!r:.100}"
    if workload.name != name:
        return f"the workload calls itself {workload.name!r} and its entry point {name!r}: let them agree"
    return ""
