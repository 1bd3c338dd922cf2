"""What a user's model depends on, found without importing any of it: files, and versions of libraries."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
OURS = tuple(ROOT / room for room in ("samestep", "workloads", "backends", "bench", "host", "results"))
MOST_FILES = 5_000
"""A package with more files than this is looked at by names and sizes of its sources alone."""


def spec_of(module: str, paths: Sequence[str]) -> ModuleSpec | None:
    """Returns where a dotted module lies on `paths`, None where it does not; no package is imported for it."""
    spec, places = None, list(paths)
    parts = module.split(".")
    for i in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: i + 1]), places)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or [])
    return spec


def digest_of_module(module: str, paths: Sequence[str]) -> str:
    """Returns a digest over the module, what lies in its package, and what both import beside it, at any depth.

    Sources count by their bytes, other files of the package (weights, tables) by name, size and time of change.
    Installed packages beside it count by their versions, which are the caller's. Raises ModuleNotFoundError.
    """
    spec = spec_of(module, paths)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no module {module!r} here; looked in: {', '.join(paths[-4:])}", name=module)
    running = hashlib.sha256()
    for path in sorted(_files(module, spec.origin, tuple(paths))):
        if path.suffix == ".py":
            running.update(str(path).encode() + b"\0" + path.read_bytes())
        else:
            status = path.stat()
            running.update(f"{path} {status.st_size} {status.st_mtime_ns}".encode())
    return running.hexdigest()


def libraries_of(module: str, paths: Sequence[str]) -> tuple[str, ...]:
    """Returns the top-level names that the module and what lies beside it import, in order."""
    spec = spec_of(module, paths)
    if spec is None or spec.origin is None:
        return ()
    sources = [path for path in _files(module, spec.origin, tuple(paths)) if path.suffix == ".py"]
    return tuple(sorted({name.partition(".")[0] for path in sources for name, _ in _imported(path)}))


@cache
def _found(module: str, paths: tuple[str, ...]) -> ModuleSpec | None:
    return spec_of(module, paths)


@cache
def _files(module: str, origin: str, paths: tuple[str, ...]) -> set[Path]:
    """Returns the files that count: those of the package and, of what is imported, what is not installed."""
    top = module.partition(".")[0]
    files = {Path(origin)}
    package = _found(top, paths)
    if package is not None and package.submodule_search_locations:
        files |= set(_of_package(Path(next(iter(package.submodule_search_locations)))))
    left = [path for path in files if path.suffix == ".py"]
    seen = set(left)
    while left:
        path = left.pop()
        for name, level in _imported(path):
            if level or name.partition(".")[0] in (top, *sys.stdlib_module_names, *sys.builtin_module_names):
                continue
            beside = _found(name.partition(".")[0], paths)
            if beside is None or beside.origin is None or _is_installed(Path(beside.origin)):
                continue
            others = [Path(beside.origin)]
            if beside.submodule_search_locations:
                others = list(_of_package(Path(next(iter(beside.submodule_search_locations)))))
            files |= set(others)
            left += [other for other in others if other.suffix == ".py" and other not in seen]
            seen |= set(others)
    return files


def _is_installed(path: Path) -> bool:
    """Returns whether a file is of an installed package, or of a room of ours: those have keys of their own."""
    return bool({"site-packages", "dist-packages"} & {*path.parts}) or any(path.is_relative_to(room) for room in OURS)


def _of_package(folder: Path) -> Iterator[Path]:
    found = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    yield from found if len(found) <= MOST_FILES else (path for path in found if path.suffix == ".py")


@cache
def _imported(path: Path) -> tuple[tuple[str, int], ...]:
    """Returns the dotted names that a source imports, with how many packages up; nothing where it is no Python."""
    try:
        tree = ast.parse(path.read_text())
    except (SyntaxError, UnicodeDecodeError):
        return ()
    found: list[tuple[str, int]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node.level))
    return tuple(found)
