"""One side of an A/B: what differs from the rest of the run, from a text such as `threads=1,spinning=off`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from bench.cell import Side, Variant
from bench.effort import METHOD_VERSION
from bench.parent.environment import THREAD_VARIABLES
from host.home import expanded

BASE = "base"
SIDES = ("A", "B")
FIXED = (*THREAD_VARIABLES, "PYTHONHASHSEED", "PYTHONPATH", "CUDA_DEVICE_ORDER")
"""Variables that the harness sets itself, the same for every child."""


def parse(text: str) -> Variant:
    """Returns the variant that the text means: `base`, or KEY=VALUE, comma-separated.

    KEY is `threads`, `python` (an interpreter with other versions), `tree` (another checkout of this repository),
    `env.NAME` (a variable of the child), or an option of the adapter. Raises ValueError with what was expected.
    """
    body = text.strip()
    if body == BASE:
        return Variant()
    options: dict[str, str] = {}
    for part in body.split(","):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not (key and equals and value):
            raise ValueError(f"expected `{BASE}` or KEY=VALUE, comma-separated; got {part.strip()!r}")
        if key in options:
            raise ValueError(f"{key} is given twice")
        options[key] = value
    threads, python, tree = options.pop("threads", None), options.pop("python", None), options.pop("tree", None)
    if threads is not None and not re.fullmatch(r"[1-9][0-9]{0,3}", threads):
        raise ValueError(f"threads takes a whole number, at least 1; got {threads!r}")
    variables = {key[4:]: options.pop(key) for key in list(options) if key.startswith("env.")}
    if wrong := [
        name for name in (*variables, *options) if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name, re.ASCII)
    ]:
        raise ValueError(f"{wrong[0]!r} is no name of an option or a variable")
    if fixed := [name for name in variables if name in FIXED or name.startswith("SAMESTEP_")]:
        raise ValueError(f"{', '.join(fixed)} is set by the harness, the same for all; use threads=N for threads")
    return Variant(
        threads=None if threads is None else int(threads),
        options=options,
        environment=variables,
        python=None if python is None else interpreter(python),
        tree=None if tree is None else checkout(tree),
    )


def side_of(letter: str, text: str) -> Side:
    """Returns the side of an A/B that the text means, as `parse` does; in rows it is `B: threads=1`."""
    return Side(letter, text.strip(), parse(text))


def interpreter(text: str) -> str:
    """Returns the interpreter's path. Raises ValueError where it is none that can be run."""
    path = expanded(text).absolute()  # not resolved: the link is what makes it a virtual environment's
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise ValueError(f"python={text}: expected an interpreter, such as other-venv/bin/python")
    return str(path)


def worker_of(tree: Path) -> Path:
    """Returns the child's script of a checkout; before 0.2 it lay one folder higher."""
    places = (tree / "bench" / "child" / "worker.py", tree / "bench" / "worker.py")
    return next((place for place in places if place.is_file()), places[0])


def checkout(text: str) -> Path:
    """Returns the folder of another checkout. Raises ValueError where it is none, or measures in another way."""
    path = expanded(text).resolve()
    effort = path / "bench" / "effort.py"
    if not worker_of(path).is_file() or not effort.is_file():
        raise ValueError(f"tree={text}: expected a checkout of samestep, such as `git worktree add` makes")
    assignment = re.search(r"^METHOD_VERSION = (\d+)", effort.read_text(), re.MULTILINE)
    if assignment is None or int(assignment[1]) != METHOD_VERSION:
        version = assignment[1] if assignment else "unknown"
        raise ValueError(
            f"tree={text}: its method_version is {version}, ours {METHOD_VERSION}: not the same measurement"
        )
    return path
