"""Files of /proc and /sys, read as far as this system shows them. What it does not show is None, and never an error."""

from __future__ import annotations

from pathlib import Path


def read_text(path: Path) -> str | None:
    """Returns the file's text, or None where this system has no such file or does not show it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def read_words(path: Path) -> list[str]:
    """Returns the words of the file's text, none where it cannot be read."""
    return (read_text(path) or "").split()


def read_number(path: Path) -> int | None:
    """Returns the whole number that the file consists of, None where it cannot be read or holds something else."""
    return to_number((read_text(path) or "").strip())


def to_number(text: str) -> int | None:
    """Returns the whole number that `text` is, not negative, else None."""
    return int(text) if text.isascii() and text.isdecimal() else None


def pairs(text: str | None) -> dict[str, int]:
    """Returns `key number` lines as a mapping; lines of another form are left out."""
    words = (line.split() for line in (text or "").splitlines())
    numbers = ((line[0], to_number(line[1])) for line in words if len(line) == 2)
    return {key: number for key, number in numbers if number is not None}


def folder(path: Path) -> list[Path] | None:
    """Returns what lies in a folder, in order; None where there is no such folder or it is not shown."""
    try:
        return sorted(path.iterdir())
    except OSError:
        return None


def exists(path: Path) -> bool:
    """Returns whether there is such a file, or device file, that this process may see."""
    try:
        return path.exists()
    except OSError:
        return False
