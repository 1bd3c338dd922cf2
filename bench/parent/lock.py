"""One run at a time on a machine: a lock that ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from host.files import read_text

DEFAULT = Path("/tmp/samestep.lock")
BUSY_EXIT = 75
"""EX_TEMPFAIL of sysexits.h: try again later."""


class Busy(Exception):
    """Another run holds the lock; the message names it."""


class NoLockError(OSError):
    """The lock's file cannot be made or opened; the message says what to do, and never to use another lock."""


class MachineLock:
    """Holds the machine's lock from its making until `release()`, or the end of the process.

    The lock is `flock(2)` on a file that every user may read, whatever the umask of who made it. Its path is
    `SAMESTEP_LOCK`, for containers that share a machine and not a file system. Raises `Busy`,
    `NoLockError`.
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


READABLE = 0o444
"""What every user needs of the file: `flock` takes a descriptor that only reads."""


def _open(path: Path) -> int:
    """Returns a descriptor of the lock's file, made where it is missing; a link in its place is not followed."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        # First without O_CREAT: with it, in /tmp, the kernel keeps even root from opening a file of another user.
        try:
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            descriptor = os.open(path, flags | os.O_CREAT, 0o644)
        status = os.fstat(descriptor)
        if status.st_uid == os.geteuid() and status.st_mode & READABLE != READABLE:
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode) | READABLE)  # the umask of its maker took that away
    except PermissionError as error:
        raise NoLockError(f"{error}; {_cure(path)}") from error
    except OSError as error:
        everywhere = (
            "set SAMESTEP_LOCK, the same for all runs on this machine, to a file that all of its users can read"
        )
        raise NoLockError(f"{error}; {everywhere}") from error
    return descriptor


def _cure(path: Path) -> str:
    """Returns what makes the lock usable for this user and stays one lock for all."""
    try:
        owner = path.lstat().st_uid
    except OSError:
        return f"let all users of this machine enter and write to {path.parent}, or set SAMESTEP_LOCK, the same for all"
    return f"it belongs to user {owner}, who or root shall: chmod a+r {path} (another file would be another lock)"


def holder(path: Path, proc: Path = Path("/proc")) -> str:
    """Returns ` (process 123: pytest bench/)` of who holds the lock, empty where the system does not tell."""
    inode = path.stat().st_ino
    for line in (read_text(proc / "locks") or "").splitlines():
        held = re.search(rf"FLOCK\s+\S+\s+\S+\s+(\d+)\s+\S+:{inode}\s", line)
        if held and held[1] != "0":  # 0: of a process that this name space does not see
            command = (read_text(proc / held[1] / "cmdline") or "").replace("\0", " ").strip()
            return f" (process {held[1]}: {command[:200]})"
    return ""
