"""New runs from folders into a store: each whole or not at all, none replaced, none removed."""

from __future__ import annotations

import filecmp
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from results.record.files import sync_folder
from results.record.journal import JOURNAL_NAME, is_ahead
from results.record.read import CSV_NAME, every_run

INCOMING = ".incoming."
"""What a run's folder is called while it is copied: no reader takes the half of a run for a run."""
FORGOTTEN_S = 86_400
"""A folder of that name that is a day old is left over from a copy that was killed."""


@dataclass(frozen=True)
class Gathered:
    """How many runs were added to the store, and how many were there already."""

    added: int
    present: int


def gather(store: Path, sources: Iterable[Path], settled_minutes: float, say: Callable[[str], None]) -> Gathered:
    """Copies the runs below `sources` that the store lacks into STORE/runs/YYYY-MM/, and returns how many those were.

    A run without `results.csv` whose journal is younger than `settled_minutes` may be going on, and is left for the
    next time. What is left out is reported through `say`. Raises OSError where the store cannot be written.
    """
    (store / "runs").mkdir(parents=True, exist_ok=True)
    _forget(store)
    stored = {folder.name: folder for folder in every_run(store)}
    added = present = 0
    for source in sources:
        if not source.is_dir():
            say(f"{source} is no folder: nothing to take from it")
            continue
        for run in sorted(every_run(source), key=lambda folder: (folder.name, str(folder))):
            if run.name in stored:
                present += 1
                if _differs(run, stored[run.name]):
                    say(f"{run} differs from {stored[run.name]}, which stays; remove that to take this one")
            elif why := _why_not(run, settled_minutes):
                say(why)
            else:
                if is_ahead(run.name):
                    say(f"{run} is dated in the future, and will be in no history: set the clock of its machine")
                stored[run.name] = _take(run, store)
                added += 1
    return Gathered(added, present)


def _forget(store: Path) -> None:
    """Removes what a copy that was killed left behind, a day later."""
    for folder in store.glob(f"{INCOMING}*"):
        if time.time() - folder.stat().st_mtime > FORGOTTEN_S:
            shutil.rmtree(folder)


def _differs(run: Path, stored: Path) -> bool:
    mine, theirs = run / CSV_NAME, stored / CSV_NAME
    return mine.is_file() and not (theirs.is_file() and filecmp.cmp(mine, theirs, shallow=False))


def _why_not(run: Path, settled_minutes: float) -> str:
    """Returns why the run is not taken now, nothing where it is."""
    for place, folders, files in os.walk(run):
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                return f"left out: {run} holds a link or a device; a run is folders and files"
    if not (run / CSV_NAME).is_file() and settled_minutes > 0:
        age_s = time.time() - (run / JOURNAL_NAME).stat().st_mtime
        if age_s < settled_minutes * 60:
            return (
                f"left for the next time: {run} may be going on (its journal is under {settled_minutes:g} minutes old)"
            )
    return ""


def _take(run: Path, store: Path) -> Path:
    """Returns the run's folder in the store, where it is once all of it is on disk."""
    month = store / "runs" / f"{run.name[:4]}-{run.name[4:6]}"
    month.mkdir(exist_ok=True)
    incoming = Path(tempfile.mkdtemp(prefix=INCOMING, dir=store))
    try:
        shutil.copytree(run, incoming, dirs_exist_ok=True, copy_function=shutil.copyfile)
        os.utime(incoming)  # as old as the run would be `_forget`'s
        incoming.chmod(0o755)
        _on_disk(incoming)
        incoming.rename(month / run.name)
    except BaseException:  # Ctrl-C too must not leave half a run; whatever it was, it is raised again
        shutil.rmtree(incoming, ignore_errors=True)
        raise
    sync_folder(month)
    return month / run.name


def _on_disk(folder: Path) -> None:
    """Returns when all files below the folder, and their names, are on disk."""
    for place, _, files in os.walk(folder):
        for name in files:
            with Path(place, name).open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(place))
