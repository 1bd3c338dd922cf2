"""Makes the folder of a user's model in a child of its own, before a run is planned: what it is decides its cells."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from backends._probes import versions
from bench.parent.cache import Cache, UnsafeCache, default_root
from bench.parent.children.launch import launch
from bench.parent.environment import job_paths
from bench.parent.own import files
from bench.parent.own.asked import Asked
from bench.parent.own.depends import digest_of_module, libraries_of
from bench.parent.plans.parse import PlanError
from bench.parent.sources import digest_of
from host.home import NoHomeError
from workloads.own.folder import PHASES, load, phases_of

DIGESTS = "models"
"""What a run's choices call the digests of its models: one that goes on must have the same."""
LIBRARIES = ("torch", "numpy", "safetensors")
"""What every folder is made with, beside what the user's own sources import."""


class NotMade(Exception):
    """The folder could not be made; the message says why, in one line."""


@dataclass(frozen=True)
class Made:
    """A user's model at a batch: the folder it lies in, or why there is none."""

    name: str
    batch: int
    path: str | None = None
    failure: str | None = None
    is_rung: bool = False
    """Whether the batch is one of a ladder, above those that were asked for."""

    @property
    def digest(self) -> str | None:
        """The digest of all that lies in its folder."""
        given = None if self.path is None else load(self.path).given
        return None if given is None else given.sha256

    def has_phase(self, phase: str, asked: Sequence[str] | None) -> bool:
        """Returns whether the model has cells in the phase, where these are `asked` for, or none is.

        One that lacks what it takes has them where it is asked for, to say so; one that could not be made has one.
        """
        if asked is not None:
            return phase in asked and phase in PHASES
        return phase in (PHASES[:1] if self.path is None else phases_of(self.path))


def make(
    asked: Iterable[Asked],
    batches: Sequence[int] | None,
    threads: int,
    rungs: Callable[[int], Sequence[int]] = lambda batch: (),
) -> tuple[Made, ...]:
    """Returns the models at each of the `batches`, at their own where none is asked for; none is made twice.

    Each also at the `rungs` above the largest of its batches, up to the first that it cannot be made at. Raises
    PlanError where there is no cache to put them into.
    """
    models = tuple(asked)
    if not models:
        return ()
    try:
        cache = Cache(default_root(os.environ), _say)
    except (UnsafeCache, NoHomeError) as error:
        raise PlanError(str(error)) from error
    found: list[Made] = []
    for one in models:
        given = [_made(one, batch, cache, threads) for batch in batches or (None,)]
        largest = max(given, key=lambda made: made.batch)
        found += given
        for batch in () if largest.failure else rungs(largest.batch):
            made = _made(one, batch, cache, threads)
            if made.failure or made.batch != batch:
                _say(f"{one.name}: no larger batch than {batch // 2}: {made.failure or 'its batch is its own'}")
                break
            found.append(replace(made, is_rung=True))
    return tuple(found)


def _made(asked: Asked, batch: int | None, cache: Cache, threads: int) -> Made:
    try:
        entry = cache.ensure(_entry_name(asked, batch), lambda folder: _in_child(asked, batch, folder, threads))
    except (NotMade, ModuleNotFoundError, OSError) as error:
        return Made(asked.name, batch or 1, failure=" ".join(str(error).split()))
    return Made(asked.name, load(str(entry.path)).batch, str(entry.path))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def paths() -> tuple[str, ...]:
    """Returns where a user's module is looked for behind our own places, the current folder last."""
    return job_paths([*sys.path, os.curdir])


def _entry_name(asked: Asked, batch: int | None) -> str:
    """Returns the folder's name in the cache; it changes with all that the model is made of."""
    depends: list[object] = [asked.name, asked.reference, batch, digest_of(asked.maker.partition(":")[0])]
    libraries: tuple[str, ...] = LIBRARIES
    if asked.module is not None:
        places = (*sys.path, *paths())
        depends.append(digest_of_module(asked.module, places))
        libraries += libraries_of(asked.module, places)
    else:
        depends += [files.digest_of_file(Path(asked.reference)), dict(asked.more)]
        libraries = files.LIBRARIES
    if asked.inputs is not None:
        depends.append(hashlib.sha256(Path(asked.inputs).read_bytes()).hexdigest())
    depends.append(versions(libraries))
    return f"model-{asked.name}-{hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]}"


def _in_child(asked: Asked, batch: int | None, folder: Path, threads: int) -> dict[str, Any]:
    """Makes the folder. Raises NotMade with what its child says."""
    job = {
        "job": "model",
        "maker": asked.maker,
        "asked": {"name": asked.name, "reference": asked.reference, "batch": batch, "inputs": asked.inputs}
        | dict(asked.more),
        "folder": str(folder),
        "paths": list(paths()),
        "cpus": None,
    }
    _say(f"making the model {asked.name} of {asked.reference} …")
    with TemporaryDirectory(prefix="samestep-model-") as logs:
        outcome = launch(job, Path(logs) / "model.log", threads)
    if outcome.status != "ok":
        raise NotMade(outcome.reason or f"its child ended: {outcome.status}")
    return outcome.result
