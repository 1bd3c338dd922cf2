"""A child process: started in its prescribed environment, asked, parked, woken, ended; watched without polling."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from bench.cell import Variant
from bench.parent.environment import child_environment
from host.cgroup import memory_kills

ROOT = Path(__file__).resolve().parents[3]
WORKER = Path("bench", "child", "worker.py")

DEADLINES_S: Mapping[str, float] = {
    "start": 120,
    "artifacts": 3600,
    "import": 300,
    "build": 600,
    "compile": 1800,
    "verify": 1800,
    "warm_up": 600,
    "measure": 1800,
    "serve": 6 * 3600,
    "after": 1800,
    "parts": 1800,
    "operators": 600,
    "close": 60,
}
"""Longest seconds that a child may spend in each stage, between a command and its answer."""
OTHER_DEADLINE_S = 1800.0
"""The same for a stage that only the child knows: an A/B may run another checkout, older or newer than this one."""
STAGES = {"settle": "verify", "slice": "measure", "serve": "serve", "finish": "after"}
"""The stage that a command begins: a child says nothing while it measures."""
PARK_S = 5.0
"""How long a stopped child may take until the kernel says so."""


@dataclass
class Outcome:
    """How a child ended. `result` is what it reported; empty unless `status` is `ok`."""

    status: str = "crashed"
    stage: str = "start"
    reason_code: str | None = None
    reason: str | None = None
    result: dict[str, Any] = field(default_factory=dict)
    launch_s: float = 0.0


class Child:
    """One child with its job, in a process group of its own. `outcome` says how it ended, once `is_over`.

    It is ended with the thread that started it (PR_SET_PDEATHSIG follows the thread). As a context manager it leaves no
    process behind, whatever happens, Ctrl-C included. `longest_stage_s` lowers every stage's deadline. `side` is whose
    Python, checkout and variables the child has, of an A/B; `asked` are the names of variables that its adapter wants
    passed on. Its output goes to `log`.
    """

    def __init__(
        self,
        job: Mapping[str, Any],
        log: Path,
        threads: int,
        longest_stage_s: float | None = None,
        side: Variant | None = None,
        asked: Sequence[str] = (),
    ) -> None:
        side = side or Variant()
        self.outcome = Outcome()
        self.is_over = self.is_parked = False
        self.is_stoppable = True
        self.log = log
        self._longest_stage_s = longest_stage_s or float("inf")
        self._started = monotonic()
        self._kills_before = memory_kills()
        self._answer: Mapping[str, Any] | None = None
        self._pending = b""
        reader, writer = os.pipe()
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    [
                        side.python or sys.executable,
                        "-P",
                        str((side.tree or ROOT) / WORKER),
                        str(writer),
                        str(os.getpid()),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    pass_fds=(writer,),
                    env={**child_environment(os.environ, threads, asked), **side.environment},
                    start_new_session=True,
                )
        except BaseException:  # Ctrl-C too must not leave a pipe open; it is raised again
            os.close(reader)
            raise
        finally:
            os.close(writer)
        self.events = os.fdopen(reader, "rb", buffering=0)
        self._enter("start")
        self._send(job)

    @property
    def pid(self) -> int:
        """The child's process id, and that of its group."""
        return self._process.pid

    def ask(self, command: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Wakes the child, has it do `command`, and returns its answer; None where it ended in place of one."""
        self.begin(command)
        return wait_for([self])[0]

    def begin(self, command: Mapping[str, Any]) -> None:
        """Wakes the child and sends it `command`; `wait_for` returns its answer."""
        self.wake()
        self._answer = None
        self._enter(STAGES.get(command["do"], self._stage))
        self._send(command)

    def park(self) -> None:
        """Stops the whole process group, and returns when it stands still: pools of a blocked process would spin on.

        One that is not `is_stoppable` is left to wait for its next command: its device would stop with it.
        """
        if self.is_over or not self.is_stoppable:
            return
        os.killpg(self.pid, signal.SIGSTOP)
        self.is_parked = True
        begun = monotonic()
        while not _stands_still(self.pid) and monotonic() - begun < PARK_S:
            sleep(0.001)

    def wake(self) -> None:
        """Lets the process group go on."""
        if self.is_parked and not self.is_over:
            os.killpg(self.pid, signal.SIGCONT)
        self.is_parked = False

    def end(self, why: Outcome | None = None) -> None:
        """Ends the child's whole process group; one that has reported its end gets a second to leave by itself."""
        if self.is_over:
            return
        if why is not None:
            self.outcome = why
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1 if self.outcome.status == "ok" else 0)
        with suppress(ProcessLookupError):  # it has gone, and so has its group
            os.killpg(self.pid, signal.SIGKILL)  # also ends what is stopped
        self._process.wait()
        self.is_over = True
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self.events.close()
        outcome = self.outcome
        outcome.launch_s = monotonic() - self._started
        if outcome.status not in ("ok", "wrong"):
            outcome.result = {}
        if outcome.status == "crashed":
            _explain(outcome, self._process.returncode, self.log, memory_kills() > self._kills_before)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *failure: object) -> None:
        self.end()

    def _enter(self, stage: str) -> None:
        self._stage, self._entered = stage, monotonic()
        if stage in DEADLINES_S:  # the outcome stays in the last one that is known
            self.outcome.stage = stage

    def _send(self, line: Mapping[str, Any]) -> None:
        """Writes a line; the pipe stays open, so that the child sees its parent's end."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it died at once; `wait_for` sees its events end
            self._process.stdin.write(json.dumps(line).encode() + b"\n")
            self._process.stdin.flush()

    @property
    def left_s(self) -> float:
        """Seconds until the deadline of its stage. One that is not known here has a deadline of its own."""
        limit = min(DEADLINES_S.get(self._stage, OTHER_DEADLINE_S), self._longest_stage_s)
        return self._entered + limit - monotonic()

    def read(self) -> bool:
        """Reads what the child has said, and returns whether it has answered, or ended."""
        data = self.events.read(1 << 16)
        if not data:
            self.end()
            return True
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))
        return self._answer is not None

    def _take(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "stage":
            self._enter(event["stage"])
        elif event["event"] == "answer":
            self._answer = event["answer"]
        elif event["event"] == "result":
            self.outcome.result = event["result"]
        elif event["event"] == "end":
            for key in ("status", "reason_code", "reason"):
                setattr(self.outcome, key, event[key])

    def time_out(self) -> None:
        """Ends a child whose stage took too long; its Python stack is in its log."""
        limit = min(DEADLINES_S.get(self._stage, OTHER_DEADLINE_S), self._longest_stage_s)
        self.outcome.status, self.outcome.reason_code = "timeout", "deadline"
        self.outcome.reason = f"{self._stage} took longer than {limit:g} s"
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGCONT)  # one that has stopped itself dumps nothing
        self._process.send_signal(signal.SIGUSR1)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        self.end()

    def take_answer(self) -> Mapping[str, Any] | None:
        """Returns the answer to the last command, None where there is none yet."""
        return self._answer


def wait_for(
    children: Sequence[Child], on_answer: Callable[[Child], None] = lambda child: None
) -> list[Mapping[str, Any] | None]:
    """Sleeps until each of `children` has answered, ended, or passed its deadline; returns the answers, None for none.

    `on_answer` is called with each child as it does, while others still work.
    """
    waiting = [child for child in children if not child.is_over and child.take_answer() is None]
    with selectors.DefaultSelector() as selector:
        for child in waiting:
            selector.register(child.events, selectors.EVENT_READ, child)
        while waiting:
            ready = selector.select(max(0.0, min(child.left_s for child in waiting)))
            late = [child for child in waiting if child.left_s <= 0] if not ready else []
            for child in [*(key.data for key, _ in ready), *late]:
                events = child.events
                if child in late:
                    selector.unregister(events)
                    child.time_out()
                elif child.read():
                    selector.unregister(events)
                else:
                    continue
                waiting.remove(child)
                on_answer(child)
    return [None if child.is_over else child.take_answer() for child in children]


def _stands_still(pid: int) -> bool:
    """Returns whether the kernel says that the process is stopped; True where there is no /proc to ask."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return True
    return state in "TtZX"


def _explain(outcome: Outcome, returncode: int, log: Path, killed_for_memory: bool) -> None:
    """Fills in why a child that did not report its end is gone."""
    outcome.result = {}
    if returncode >= 0:
        outcome.reason_code = "exit_code"
        outcome.reason = f"child left with exit status {returncode} in stage {outcome.stage}{_tail(log)}"
        return
    name = signal.Signals(-returncode).name
    outcome.reason_code, outcome.reason = "signal", f"child ended by {name} in stage {outcome.stage}"
    if name == "SIGKILL" and killed_for_memory:
        outcome.status, outcome.reason_code = "out_of_memory", "memory"
        outcome.reason += ": the kernel killed it for memory"
    elif name != "SIGKILL":
        outcome.reason += _tail(log)


def _tail(log: Path) -> str:
    """Returns the last line of the log; of faulthandler's dump of a crash the line of code that it was in."""
    lines = log.read_text(errors="replace").strip().splitlines()
    crashed = [below for line, below in pairwise(lines) if line.startswith("Current thread ")]
    return f": {(crashed or lines)[-1].strip()[:300]}" if lines else ""
