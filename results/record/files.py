"""Files that are whole or absent."""

import os
from contextlib import suppress
from pathlib import Path


class ResultsError(Exception):
    """A file or folder of results cannot be read or written; the message says which, why and what to do."""


def write_atomic(path: Path, content: str | bytes) -> None:
    """Writes the file so that a reader, or a power cut, sees the old content or the new, never a part.

    Text is written as UTF-8 with its line ends as they are. Raises OSError that names the file which was asked for, and
    then leaves the old content.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    # In the same folder, because a rename is atomic within one file system only.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:  # Ctrl-C too must not leave half a file; whatever it was, it is raised again
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error  # of the same subclass, by its number
        raise
    sync_folder(path.parent)


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
        """Raises ResultsError where nothing can be written beside `path`: better at the begin than at the end."""
        self.path = path
        self.temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        if not os.access(path.absolute().parent, os.W_OK):
            raise ResultsError(f"cannot write {path}: {path.absolute().parent} is no folder, or cannot be written to")

    def __fspath__(self) -> str:
        return str(self.temporary)

    def __str__(self) -> str:
        return str(self.path)

    def commit(self, otherwise: str) -> None:
        """Puts what was written in its place, `otherwise` where nothing was: never a file of an earlier run."""
        try:
            content: str | bytes = self.temporary.read_bytes()
        except FileNotFoundError:
            content = otherwise
        write_atomic(self.path, content)
        self.temporary.unlink(missing_ok=True)
