"""The kinds of machine, and what an environment for one installs and measures: all of it from what adapters declare."""

from __future__ import annotations

from dataclasses import dataclass

import backends


@dataclass(frozen=True)
class Kind:
    """A kind of machine: `environment` is tox's, with the dependency groups `extras` and the backends that it measures.

    `cpu_torch` says whether torch's CPU build does for all of them.
    """

    name: str
    environment: str
    extras: tuple[str, ...]
    backends: tuple[str, ...]
    cpu_torch: bool


def kinds() -> tuple[Kind, ...]:
    """Returns the kinds that our backends declare, by name; one is of a kind where every preset takes it."""
    of_kind: dict[str, list[str]] = {}
    for name in backends.own_names():
        adapter = backends.get(name)
        if "quick" in adapter.presets:
            for kind in adapter.measured_on():
                of_kind.setdefault(kind, []).append(name)
    return tuple(_kind(name, of_kind[name]) for name in sorted(of_kind))


def _kind(name: str, measured: list[str]) -> Kind:
    adapters = [backends.get(backend) for backend in measured]
    extras = tuple(dict.fromkeys(adapter.extra for adapter in adapters))
    # Of one group the environment has the group's name: that of an `edge` board is bench-onnxruntime.
    environment = f"bench-{extras[0] if len(extras) == 1 else name}"
    return Kind(name, environment, extras, tuple(measured), all(adapter.cpu_torch for adapter in adapters))
