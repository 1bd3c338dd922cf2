"""The rooms of this package's own checkout, imported whatever else on the path bears their names."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: the rooms, `conftest.py` and `pyproject.toml` lie in it."""
ROOM_NAMES = ("workloads", "backends", "bench", "host", "results", "conftest")


def import_ours(name: str) -> ModuleType:
    """Returns the module `name` of our own checkout. Raises ImportError where another one bears its room's name."""
    room = name.partition(".")[0]
    sys.path.insert(0, str(ROOT))
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ROOM_NAMES:
            raise
        raise ImportError(_shadowed(room)) from error
    finally:
        sys.path.remove(str(ROOT))
    if not Path(module.__file__ or "").is_relative_to(ROOT):
        raise ImportError(_shadowed(room))
    return module


def _shadowed(room: str) -> str:
    where = getattr(sys.modules.get(room), "__file__", None)
    return (
        f"samestep needs its own package {room!r}, but {where} was imported before it; "
        f"import samestep first, or rename yours"
    )


def put_ours_first() -> None:
    """Puts our checkout first on this process's path and the current folder last: what lies there shadows nothing.

    For a process that is ours, such as that of the command `samestep`: it imports rooms from within rooms, at any time.
    """
    try:
        current = os.path.realpath(Path.cwd())
    except FileNotFoundError:  # a folder that was deleted holds nothing to import
        current = None
    # The empty entry is the current folder.
    others = [entry for entry in sys.path if os.path.realpath(entry) != current]
    sys.path[:] = [str(ROOT), *others, *([] if current is None else [current])]
