"""Files that are whole or absent. What is no file (a pipe, a device, an open descriptor) is written into."""

import errno
import os
import re
import stat
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

MOST_LINKS = 40
"""As many as Linux follows (path_resolution(7))."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Nothing more fits: the disk is full, or one's share of it, or the file is as large as it may be."""
IN_PLACE_ONLY = (errno.EBUSY, errno.EACCES, errno.EPERM, errno.EROFS)
"""Why a file that may be written can still not be replaced: it is mounted by itself, or its folder is not ours."""


class ResultsError(Exception):
    """A file or folder of results cannot be read or written; the message says which, why and what to do."""


def write_atomic(path: Path, content: str | bytes) -> None:
    """Writes the file so that a reader, or a power cut, sees the old content or the new, never a part.

    A link is followed: what it names is replaced. What is no file (a named pipe, a terminal, /dev/stdout) is written
    into, since replaced by a file it would be gone; so is a file that may be written, but not replaced. Text is written
    as UTF-8 with its line ends as they are. Raises OSError that names the path which was asked for; what was replaced
    then has its old content.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    try:
        if (descriptor := descriptor_of(path)) is not None:
            _write_to(os.dup(descriptor), data)
        elif is_stream(path):
            _write_to(os.open(path, os.O_WRONLY), data)
        else:
            _replace(Path(os.path.realpath(path)) if path.is_symlink() else path, data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error  # of the same subclass, by its number


def is_stream(path: Path) -> bool:
    """Returns whether the path leads to what takes bytes and is no file: a named pipe, a device."""
    with suppress(FileNotFoundError):
        mode = path.stat().st_mode
        return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
    return False


def descriptor_of(path: Path) -> int | None:
    """Returns the number of the open descriptor that the path leads to, as /dev/stdout does; None for any other path.

    Where output was redirected into a file, that is more than another name of the file: it holds how far it is written.
    """
    for _ in range(MOST_LINKS):
        folder = os.path.realpath(path.parent)
        if path.name.isdecimal() and re.fullmatch(rf"/dev/fd|/proc/{os.getpid()}(/task/[0-9]+)?/fd", folder):
            return int(path.name)
        if not path.is_symlink():
            return None
        path = Path(folder) / path.readlink()
    return None


def _write_to(descriptor: int, data: bytes) -> None:
    """Writes all of it behind what was printed so far, and closes the descriptor."""
    if sys.stdout is not None:
        sys.stdout.flush()
    with open(descriptor, "wb", buffering=0) as stream:
        rest = memoryview(data)
        while rest:
            rest = rest[stream.write(rest) :]


def _replace(path: Path, data: bytes) -> None:
    # In the same folder, because a rename is atomic within one file system only.
    temporary = beside(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _put(temporary, path)
    except BaseException as error:  # Ctrl-C too must not leave half a file; whatever it was, it is raised again
        with suppress(OSError):
            temporary.unlink()
        if not (isinstance(error, OSError) and error.errno in IN_PLACE_ONLY and path.is_file()):
            raise
        _write_to(os.open(path, os.O_WRONLY | os.O_TRUNC), data)
        return
    sync_folder(path.parent)


def beside(path: Path) -> Path:
    """Returns a name for a temporary file in the path's folder, which is short, whatever the path's is."""
    return path.with_name(f".samestep.{os.getpid()}.{os.urandom(4).hex()}.tmp")


def _put(temporary: Path, path: Path) -> None:
    """Renames the temporary file to the path; who may read and write it stays as it was."""
    with suppress(FileNotFoundError):
        before = path.stat()
        if os.name != "nt":
            with suppress(PermissionError):
                os.chown(temporary, before.st_uid, before.st_gid)
        temporary.chmod(stat.S_IMODE(before.st_mode))
    temporary.replace(path)


def sync_folder(folder: Path) -> None:
    """Returns when the names in the folder are on disk. Windows cannot open a folder, and keeps names itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class AtomicPath:
    """A path for a writer that opens its file by itself: what it writes is at `path` once `commit` is called."""

    def __init__(self, path: Path) -> None:
        """Raises ResultsError where nothing can be written to `path`: better at the begin than at the end."""
        self.path = path
        target = Path(os.path.realpath(path))
        is_stream_or_open = descriptor_of(path) is not None or is_stream(path)
        self.temporary = beside(target)
        if is_stream_or_open or not os.access(target.parent, os.W_OK):
            if not (is_stream_or_open or os.access(target, os.W_OK)):
                raise ResultsError(f"cannot write {path}: {target.parent} is no folder, or cannot be written to")
            self.temporary = beside(Path(tempfile.gettempdir()) / "any")

    def __fspath__(self) -> str:
        return str(self.temporary)

    def __str__(self) -> str:
        return str(self.path)

    def commit(self, otherwise: str) -> None:
        """Puts what was written in its place, `otherwise` where nothing was: never a file of an earlier run.

        Raises OSError that names the path; what was written is then still in `temporary`.
        """
        try:
            content: str | bytes = self.temporary.read_bytes()
        except FileNotFoundError:
            content = otherwise
        write_atomic(self.path, content)
        self.temporary.unlink(missing_ok=True)
