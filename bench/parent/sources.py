"""Which of our source files really make something: a module, and all that it imports of its own package."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def sources_of(*modules: str, root: Path = ROOT) -> tuple[Path, ...]:
    """Returns the files of the modules and of what they import, at any depth, in order.

    What is followed lies below `root`, or in the package of one of the modules where that lies elsewhere. Imports for
    type checkers alone are not. Raises ModuleNotFoundError for a module that is not there.
    """
    packages = {module.partition(".")[0] for module in modules}
    files: dict[str, Path] = {}
    left = list(modules)
    while left:
        module = left.pop()
        if module in files:
            continue
        path = _file_of(module, root, packages)
        if path is None:
            if module in modules:
                raise ModuleNotFoundError(f"no source file of {module}", name=module)
            continue
        files[module] = path
        left += _imported(path, path.stat().st_mtime_ns)
    return tuple(sorted(set(files.values())))


def digest_of(*modules: str, root: Path = ROOT) -> str:
    """Returns a digest over the names and the bytes of `sources_of`."""
    running = hashlib.sha256()
    for path in sources_of(*modules, root=root):
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        running.update(name.encode() + b"\0" + path.read_bytes())
    return running.hexdigest()


def _file_of(module: str, root: Path, packages: set[str]) -> Path | None:
    """Returns the module's source file, None where it is none of ours, or a package's name without code."""
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    if module.partition(".")[0] not in packages or (root / module.partition(".")[0]).is_dir():
        return None
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None


@cache
def _imported(path: Path, mtime_ns: int) -> tuple[str, ...]:
    """Returns the dotted names that a file imports, at any depth, but for type checkers."""
    return tuple(_names(ast.parse(path.read_text())))


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from _names(child)
