"""The cache of what is made once: entries keyed by all they depend on, checked, written atomically."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import time
from typing import Any

from backends._probes import versions
from backends.base import Artifact
from bench.parent.sources import digest_of
from host.home import cache_folder, expanded
from workloads.precision import Precision
from workloads.workload import Workload

SCRATCH_LIFE_S = 24 * 3600.0
OF_TENSORS = ("name", "size", "seed", "parameters", "weights_sha256", "given_sha256")
"""What a workload's description says of its tensors."""


def default_root(environ: Mapping[str, str]) -> Path:
    """Returns `SAMESTEP_CACHE`, else `samestep` in the user's cache folder. Raises NoHomeError."""
    if folder := environ.get("SAMESTEP_CACHE"):
        return expanded(folder).resolve()
    return cache_folder(environ) / "samestep"


@dataclass(frozen=True)
class Entry:
    """A folder of the cache with what its maker remembered, and the seconds that making it took, once."""

    path: Path
    made: Mapping[str, Any]
    seconds: float


def entry_name(artifact: Artifact, workload: Workload, phase: str, precision: Precision) -> str:
    """Returns the folder name of an entry; it changes with everything the entry depends on."""
    sources = [artifact.maker.partition(":")[0]]
    described = workload.description()
    if artifact.of_model_alone:
        described = {key: described.get(key) for key in OF_TENSORS if key in described or key != "given_sha256"}
    depends: list[object] = [described]
    middle = ""
    if not artifact.is_shared:
        sources.append(workload.source)
        depends.append(asdict(precision))
        middle = f"-{phase}"
    depends += [digest_of(*sources), versions(artifact.libraries)]
    key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]
    return f"{artifact.name}-{workload.name}-{workload.size}{middle}-{key}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class CorruptEntry(Exception):
    """An entry whose files are not the ones that were written."""


def read_entry(path: Path) -> Entry | None:
    """Returns the entry at `path`, None where there is none. Raises `CorruptEntry` unless every byte is right."""
    if not path.exists():
        return None
    try:
        manifest = json.loads((path / "manifest.json").read_text())
        for name, recorded in manifest["files"].items():
            if _sha256(path / name) != recorded:
                raise CorruptEntry(f"{name} is not what was written")
        return Entry(path, manifest["made"], 0.0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptEntry(str(error)) from error


def _remove(path: Path) -> None:
    """Removes an entry, or what stands in its place; another run may be faster."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


class UnsafeCache(Exception):
    """Somebody else could put files into the cache that children then load; the message says what to do."""


def check_owner(root: Path) -> None:
    """Raises `UnsafeCache` unless only this user can write to `root`. One that is not there yet is safe."""
    try:
        status = root.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UnsafeCache(f"the cache cannot be looked at: {error}; set SAMESTEP_CACHE to a folder of yours") from error
    if hasattr(os, "geteuid") and status.st_uid not in (os.geteuid(), 0):
        raise UnsafeCache(f"the cache {root} belongs to user {status.st_uid}; set SAMESTEP_CACHE to a folder of yours")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UnsafeCache(f"others can write to the cache {root}: chmod go-w {root}, or set SAMESTEP_CACHE")


class Cache:
    """Entries under `root`. `say` is told when one is made or rebuilt; each is checked once in a cache's life."""

    def __init__(self, root: Path, say: Callable[[str], None]) -> None:
        """Raises `UnsafeCache` where others can write to `root`."""
        check_owner(root)
        self.root = root
        self.say = say
        self._checked: dict[str, Entry] = {}

    def ensure(self, name: str, make: Callable[[Path], dict[str, Any]]) -> Entry:
        """Returns the entry called `name`, made by `make(empty folder)` where it is not there or not whole.

        What `make` raises is passed on, and nothing is left in the cache.
        """
        if name in self._checked:
            return self._checked[name]
        try:
            entry = read_entry(self.root / name)
        except CorruptEntry as error:
            self.say(f"cache entry {name} is corrupt ({error}); it is rebuilt")
            _remove(self.root / name)
            entry = None
        if entry is None:
            made = self._make(name, make)
            self._checked[name] = Entry(made.path, made.made, 0.0)  # the time is reported once
            return made
        self._checked[name] = entry
        return entry

    def _sweep(self) -> None:
        """Removes what makers that were killed have left, unless one might still be at it."""
        for path in self.root.glob(".*"):
            if path.is_dir() and path.stat().st_mtime < time() - SCRATCH_LIFE_S:
                shutil.rmtree(path, ignore_errors=True)

    def _make(self, name: str, make: Callable[[Path], dict[str, Any]]) -> Entry:
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._sweep()
        scratch = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=self.root))
        try:
            made = make(scratch)
            seconds = float(made.pop("seconds"))
            files = {path.name: _sha256(path) for path in sorted(scratch.iterdir())}
            manifest = {"made": made, "files": files}
            with (scratch / "manifest.json").open("w") as file:
                json.dump(manifest, file)
                file.flush()
                os.fsync(file.fileno())
            try:
                scratch.rename(self.root / name)
            except OSError:  # another run was faster; its entry is as good as ours
                if read_entry(self.root / name) is None:
                    raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return Entry(self.root / name, made, seconds)
