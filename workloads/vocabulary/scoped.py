"""Named arrays, and those of them under a prefix: how a block of a model finds its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Array = Any
Parameters = Mapping[str, Array]


class Scoped(dict[str, Array]):
    """Named arrays that stay the same objects: each `subset` of them is made once, and looked up from then on.

    For eager runtimes, whose timed step would else search all names for every block of the model.
    """

    def __init__(self, arrays: Parameters) -> None:
        super().__init__(arrays)
        self._subsets: dict[str, Scoped] = {}

    def subset(self, prefix: str) -> Scoped:
        """Returns what `subset` returns, always the same object."""
        if prefix not in self._subsets:
            self._subsets[prefix] = Scoped(_subset(self, prefix))
        return self._subsets[prefix]


def subset(arrays: Parameters, prefix: str) -> Parameters:
    """Returns the entries whose name starts with `prefix`, under the rest of their name."""
    return arrays.subset(prefix) if isinstance(arrays, Scoped) else _subset(arrays, prefix)


def _subset(arrays: Parameters, prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
