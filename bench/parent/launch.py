"""One child process: started in its prescribed environment, watched without polling, ended by a deadline."""

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
from pathlib import Path
from time import monotonic
from typing import Any

from bench.cell import Variant
from bench.parent.environment import child_environment
from bench.parent.plans.variant import worker_of
from host.cgroup import memory_kills

ROOT = Path(__file__).resolve().parents[2]

DEADLINES_S: Mapping[str, float] = {
    "start": 120,
    "artifacts": 3600,
    "import": 300,
    "build": 600,
    "compile": 1800,
    "verify": 1800,
    "warm_up": 600,
    "measure": 1800,
    "parts": 1800,
    "operators": 600,
    "close": 60,
}
"""Longest seconds that a child may spend in each stage."""
OTHER_DEADLINE_S = 1800.0
"""The same for a stage that only the child knows: an A/B may run another checkout, older or newer than this one."""


@dataclass
class Outcome:
    """How a child ended. `result` is what it reported; empty unless `status` is `ok`."""

    status: str = "crashed"
    stage: str = "start"
    reason_code: str | None = None
    reason: str | None = None
    result: dict[str, Any] = field(default_factory=dict)
    launch_s: float = 0.0


def launch(
    job: Mapping[str, Any],
    log: Path,
    threads: int,
    longest_stage_s: float | None = None,
    on_start: Callable[[int], None] | None = None,
    side: Variant | None = None,
    asked: Sequence[str] = (),
) -> Outcome:
    """Runs `job` in a fresh interpreter and returns how it ended; it never raises for what the child does.

    `longest_stage_s` lowers every stage's deadline. `on_start(pid)` is called once the child exists. `side` is
    whose Python, checkout and variables the child has, of an A/B; `asked` are the names of variables that its adapter
    wants passed on. Its output goes to `log`. Whatever happens here, Ctrl-C included, no child is left.
    """
    side = side or Variant()
    worker = worker_of(side.tree or ROOT)
    outcome = Outcome()
    started = monotonic()
    kills_before = memory_kills()
    reader, writer = os.pipe()
    with log.open("ab") as output, os.fdopen(reader, "rb", buffering=0) as events:
        child = subprocess.Popen(
            [side.python or sys.executable, "-P", str(worker), str(writer), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=(writer,),
            env={**child_environment(os.environ, threads, asked), **side.environment},
            start_new_session=True,
        )
        os.close(writer)
        try:
            if on_start is not None:
                on_start(child.pid)
            _send(child, job)
            _follow(child, events, outcome, longest_stage_s)
        finally:
            _end(child, at_once=outcome.status != "ok")
    outcome.launch_s = monotonic() - started
    if outcome.status not in ("ok", "wrong"):
        outcome.result = {}
    if outcome.status == "crashed":
        _explain(outcome, child.returncode, log, memory_kills() > kills_before)
    return outcome


def _send(child: subprocess.Popen[bytes], job: Mapping[str, Any]) -> None:
    """Writes the job; the pipe stays open, so that the child sees its parent's end."""
    assert child.stdin is not None
    try:
        child.stdin.write(json.dumps(job).encode() + b"\n")
        child.stdin.flush()
    except BrokenPipeError:
        return  # it died at once; `_follow` sees its events end


def _follow(child: subprocess.Popen[bytes], events: Any, outcome: Outcome, longest_stage_s: float | None) -> None:
    """Sleeps until the child says something, its pipe closes, or its stage's deadline passes.

    A stage that is not known here has a deadline of its own; the outcome stays in the last one that is.
    """
    stage, entered, pending = outcome.stage, monotonic(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(events, selectors.EVENT_READ)
        while True:
            limit = min(DEADLINES_S.get(stage, OTHER_DEADLINE_S), longest_stage_s or float("inf"))
            if not selector.select(max(0.0, entered + limit - monotonic())):
                outcome.status, outcome.reason_code = "timeout", "deadline"
                outcome.reason = f"{stage} took longer than {limit:g} s"
                _dump_stack(child)
                return
            data = events.read(1 << 16)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                event = json.loads(line)
                if event["event"] == "stage":
                    stage, entered = event["stage"], monotonic()
                    outcome.stage = stage if stage in DEADLINES_S else outcome.stage
                elif event["event"] == "result":
                    outcome.result = event["result"]
                elif event["event"] == "end":
                    for key in ("status", "reason_code", "reason"):
                        setattr(outcome, key, event[key])


def _dump_stack(child: subprocess.Popen[bytes]) -> None:
    """Asks the child to write its Python stack into its log, and gives it a second to do so."""
    child.send_signal(signal.SIGUSR1)
    try:
        child.wait(1)
    except subprocess.TimeoutExpired:
        return


def _end(child: subprocess.Popen[bytes], at_once: bool) -> None:
    """Ends the child's whole process group; one that has reported its end gets a second to leave by itself."""
    with suppress(subprocess.TimeoutExpired):
        child.wait(0 if at_once else 1)
    with suppress(ProcessLookupError):  # it has gone, and so has its group
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert child.stdin is not None
    with suppress(BrokenPipeError):
        child.stdin.close()


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
    lines = log.read_text(errors="replace").strip().splitlines()
    return f": {lines[-1][:300]}" if lines else ""
