"""Where files of the user's lie, with one line for where that cannot be known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


class NoHomeError(ValueError):
    """No home folder is known of the user that is meant; the message says what to set."""


def expanded(text: str) -> Path:
    """Returns the path that somebody gave, `~` and `~user` as a shell reads them. Raises NoHomeError."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # HOME is not set and the user is in no list, or there is no such user
        raise NoHomeError(f"{text}: the home folder is not known here; set HOME, or give the whole path") from error


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Returns the user's cache folder: `XDG_CACHE_HOME`, else `.cache` in the home folder. Raises NoHomeError."""
    if folder := environ.get("XDG_CACHE_HOME"):
        return Path(folder)
    try:
        return Path.home() / ".cache"
    except RuntimeError as error:
        raise NoHomeError(
            "no folder for the cache: HOME is not set, and this user is in no list of users; set SAMESTEP_CACHE or HOME"
        ) from error
