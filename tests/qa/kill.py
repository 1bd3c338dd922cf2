"""Kill: SIGKILL of a run or its child at random instants loses at most the launch in flight; --resume completes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from results.record.journal import JOURNAL_NAME
from results.record.run import Run, find_runs, read_run
from tests.fakes.door import command, environment, wait_for, workers_of

INSTANTS = 100
CELLS = ("--preset", "smoke", "--workloads", "mlp", "--phases", "infer", "--launches", "2")
RUNTIMES = ("--backends", "onnxruntime_cpu,openvino_cpu")
"""A group of two, so that one child is stopped while the other runs."""
DONE = "the plan is done"


@dataclass
class Tally:
    """What came of the kills so far."""

    parents: int = 0
    children: int = 0
    before_the_run: int = 0
    too_late: int = 0
    resumed: int = 0
    faults: int = 0

    @property
    def struck(self) -> int:
        """How many kills came before their run had ended."""
        return self.parents + self.children + self.before_the_run


def strike(folder: Path, after_s: float, at_child: bool) -> bool:
    """Starts a run and kills it, or its child if it has one, after some time. Returns whether a child was killed."""
    with subprocess.Popen(
        command(*CELLS, *RUNTIMES, "--results-dir", "runs"),
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as parent:
        time.sleep(after_s)
        children = workers_of(parent.pid)
        if at_child and children:
            os.kill(children[0], signal.SIGKILL)
            parent.wait()
            return True
        parent.kill()
    if not wait_for(lambda: not workers_of(parent.pid)):
        raise RuntimeError("a child outlived its parent")
    return False


def check(folder: Path, tally: Tally, child_was_hit: bool) -> str:
    """Returns what is wrong with what the kill left, empty where nothing is."""
    runs = find_runs(folder / "runs") if (folder / "runs").is_dir() else ()
    if not runs:
        tally.before_the_run += 1
        return ""
    before = read_run(runs[-1])  # raises where a file cannot be read
    if child_was_hit:
        tally.children += 1
        lost = [launch for launch in before.launches if launch["status"] != "ok"]
        return "" if before.end_reason == DONE and len(lost) <= 1 else f"one child was hit, and lost are {lost}"
    if before.end_reason == DONE:
        tally.too_late += 1
        return ""
    tally.parents += 1
    return check_resumed(runs[-1], before, tally)


def check_resumed(run: Path, before: Run, tally: Tally) -> str:
    """Goes on with the interrupted run; returns what is wrong with what came of it, empty where nothing is."""
    whole = (run / JOURNAL_NAME).read_bytes()[: before.whole_bytes]
    subprocess.run(
        command("--resume", str(run)), cwd=run.parent.parent, env=environment(), capture_output=True, check=False
    )
    after = read_run(run)
    tally.resumed += 1
    if after.end_reason != DONE or any(row["status"] == "not_run" for row in after.rows):
        return f"the resumed run ended with {after.end_reason!r}"
    if not (run / JOURNAL_NAME).read_bytes().startswith(whole):
        return "what was in the journal is not there any more"
    places = [
        (launch["backend"], launch["phase"], launch["workload"], launch["number"], launch["attempt"])
        for launch in after.launches
    ]
    if len(set(places)) < len(places):
        return "a launch that was finished was done again"
    return ""


def main(instants: int = INSTANTS, seed: int = 0) -> int:
    chance, tally = random.Random(seed), Tally()
    with tempfile.TemporaryDirectory() as first:
        strike(Path(first), 1e-3, False)  # fills the caches of the file system
        start = time.monotonic()
        subprocess.run(
            command(*CELLS, *RUNTIMES, "--results-dir", "runs"),
            cwd=first,
            env=environment(),
            capture_output=True,
            check=True,
        )
        whole_run_s = time.monotonic() - start
    while tally.struck < instants:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            hit = strike(folder, chance.uniform(0.3, whole_run_s), chance.random() < 0.5)
            if fault := check(folder, tally, hit):
                tally.faults += 1
                print(f"FAULT: {fault}", flush=True)
    print(f"{tally.struck} kills: {tally}   {'ok' if not tally.faults else 'MISSED'}")
    return 1 if tally.faults else 0
