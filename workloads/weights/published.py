"""How the public models' files name their tensors, and what those names are here."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

WRAPPERS = ("_orig_mod.", "module.")
"""What `torch.compile` and `DistributedDataParallel` put before every name of the model that they wrap."""


@dataclass(frozen=True)
class Published:
    """How a model's published files name its tensors, where that is not how we do."""

    prefix: str = ""
    """Stands before every name in some releases, and is left out in others."""
    renamed: tuple[tuple[str, str], ...] = ()
    """Endings of old releases, and what they are called now."""
    ignored: tuple[str, ...] = ()
    """Patterns of tensors that are not parameters: masks, indices, counters."""
    tied: Mapping[str, str] = field(default_factory=dict)
    """Copies of a parameter under a second name; they must hold the same values."""

    def our_name(self, name: str) -> str:
        """Returns the name that a tensor without its wrappers' prefixes has in releases of today."""
        for old, new in self.renamed:
            if name.endswith(old):
                name = name.removesuffix(old) + new
        return name if name.startswith(self.prefix) or name in self.tied else self.prefix + name

    def ignores(self, name: str) -> bool:
        """Returns whether the tensor called `name` by `our_name` is no parameter."""
        return any(re.fullmatch(pattern, name) for pattern in self.ignored)


def wrappers_of(names: Collection[str]) -> str:
    """Returns what wrappers of the model have put before every one of `names`, outermost first."""
    prefix = ""
    while names:
        wrapper = next((w for w in WRAPPERS if all(name.startswith(prefix + w) for name in names)), None)
        if wrapper is None:
            break
        prefix += wrapper
    return prefix
