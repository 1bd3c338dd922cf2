"""One run at a time on a machine: a lock that ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Mapping
from pathlib import Path

DEFAULT = Path("/tmp/samestep.lock")
BUSY_EXIT = 75
"""EX_TEMPFAIL of sysexits.h: try again later."""


class Busy(Exception):
    """Another run holds the lock; the message names it."""


class MachineLock:
    """Holds the machine's lock from its making until `release()`, or the end of the process. Raises `Busy`, OSError.

    The lock is `flock(2)` on a file that every user may read. Its path is `SAMESTEP_LOCK`, for containers that share a
    machine and not a file system.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self.path = Path(environ.get("SAMESTEP_LOCK") or DEFAULT)
        self._descriptor: int | None = _open(self.path)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            who = holder(self.path)
            self.release()
            raise Busy(
                f"another run is measuring on this machine{who}: two at once disturb each other; "
                f"wait for its end (the lock is {self.path})"
            ) from error

    def release(self) -> None:
        """Lets the next run begin."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _open(path: Path) -> int:
    """Returns a descriptor of the lock's file, made where it is missing; a link in its place is not followed."""
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)


def holder(path: Path, proc: Path = Path("/proc")) -> str:
    """Returns ` (process 123: pytest bench/)` of who holds the lock, empty where the system does not tell."""
    inode = path.stat().st_ino
    listed = proc / "locks"
    for line in listed.read_text().splitlines() if listed.is_file() else []:
        found = re.search(rf"FLOCK\s+\S+\s+\S+\s+(\d+)\s+\S+:{inode}\s", line)
        if found and found[1] != "0":  # 0: of a process that this name space does not see
            command = proc / found[1] / "cmdline"
            words = command.read_bytes().replace(b"\0", b" ").decode(errors="replace") if command.is_file() else ""
            return f" (process {found[1]}: {words.strip()[:200]})"
    return ""
