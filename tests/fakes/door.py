"""Runs `pytest bench/` as a person would, and looks at what it leaves: its run, its processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic, sleep

from bench.cell import Cell
from bench.parent.groups import Order, groups_of
from results.record.row import Row
from results.record.run import Run, latest_run, read_run
from workloads.catalog import CONTROLS, load

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
"""How long to wait for what is bound to happen; never how long something may take."""


def command(*arguments: str, fake: str | None = None) -> list[str]:
    """Returns the command that runs `pytest bench/`; with `fake`, what `openvino_cpu` does instead of its work."""
    plugin = [] if fake is None else ["-p", "tests.fakes.plugin"]
    return [sys.executable, "-m", "pytest", str(ROOT / "bench"), "-p", "no:cacheprovider", *plugin, *arguments]


def environment(fake: str | None = None, **more: str) -> dict[str, str]:
    """Returns the environment for `command`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    # Tests of the harness measure nothing: they neither wait for a run on this machine nor keep one from it.
    kept["SAMESTEP_LOCK"] = str(Path(tempfile.gettempdir()) / f"samestep-tests-{os.getpid()}.lock")
    return kept | ({} if fake is None else {"SAMESTEP_FAKE": fake, "PYTHONPATH": str(ROOT)}) | more


def bench(*arguments: str, cwd: Path, fake: str | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs `pytest bench/` in `cwd` to its end."""
    return subprocess.run(
        command(*arguments, fake=fake),
        cwd=cwd,
        env=environment(fake, **more),
        capture_output=True,
        text=True,
        check=False,
    )


def run_in(results_dir: Path) -> Run:
    """Returns the newest run in a results folder."""
    return read_run(latest_run(results_dir))


def rows_of_work(run: Run) -> tuple[Row, ...]:
    """Returns the rows of the run but those of the control, which is in every run."""
    return tuple(row for row in run.rows if row["workload"] not in CONTROLS)


def statuses(run: Run) -> dict[tuple[object, object], object]:
    """Returns the status of each cell by (phase, backend), the control's left out."""
    return {(row["phase"], row["backend"]): row["status"] for row in rows_of_work(run)}


def seed_of(order: Sequence[tuple[str, str]]) -> str:
    """Returns an `--order-seed` that runs the tiny cells of `mlp` in this order of (phase, backend), group by group."""
    tiny = load("mlp", "tiny")
    cells = [Cell("mlp", "tiny", phase, backend, tiny.batch, None, "fp32", 1) for phase, backend in order]
    groups, seeds = groups_of(cells), map(str, range(10_000))
    return next(seed for seed in seeds if Order(1, seed).shuffled(groups, 0) == groups)


def workers_of(parent: int) -> list[int]:
    """Returns the worker processes that the process `parent` started and that are alive, be they stopped."""
    found = []
    for folder in _processes():
        words = _read(folder / "cmdline").split(b"\0")  # empty where the process is dead and not yet reaped
        if any(word.endswith(b"/worker.py") for word in words) and str(parent).encode() in words:
            found.append(int(folder.name))
    return found


def is_stopped(pid: int) -> bool:
    """Returns whether the process stands still: stopped, and not ended."""
    return _state(Path("/proc") / str(pid))[:1] == [b"T"]


def group_members(group: int) -> list[int]:
    """Returns the processes of a process group that are alive."""
    found = []
    for folder in _processes():
        words = _state(folder)
        if words and int(words[2]) == group and words[0] != b"Z":
            found.append(int(folder.name))
    return found


def wait_for(condition: Callable[[], bool]) -> bool:
    """Returns whether the condition came true while one had patience."""
    end = monotonic() + PATIENCE_S
    while not condition():
        if monotonic() > end:
            return False
        sleep(0.02)
    return True


def _processes() -> Iterator[Path]:
    return (folder for folder in Path("/proc").iterdir() if folder.name.isdecimal())


def _state(folder: Path) -> list[bytes]:
    """Returns state, parent, process group and so on of a process, nothing where it is gone."""
    # proc(5): pid (comm) state ppid pgrp …, and comm may hold spaces.
    return _read(folder / "stat").rpartition(b")")[2].split()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
        return b""
