"""The child: makes an artifact or a model, runs one cell, or is the control; reports one JSON line per event.

Started by `bench.parent.children.child` as a file, `python -P worker.py EVENT_FD PARENT_PID`, with its job as the first
line on stdin. It imports from the checkout that it lies in, whatever folder it is started from.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import resource
import signal
import sys
import threading
import traceback
from functools import partial
from importlib import import_module
from pathlib import Path
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from collections.abc import Callable

    from backends.base import Adapter
    from bench.child.trial import Trial

FAILURES = {
    "start": "import_failed",
    "import": "import_failed",
    "build": "start_failed",
    "compile": "compile_failed",
}
"""The row's reason code for an exception in a stage; in later stages a step failed."""

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Arranges that this process ends when `parent` does, even while stopped or inside native code."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_outlive, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _outlive(parent: int) -> NoReturn:
    """Ends this process once its parent is another one."""
    while os.getppid() == parent:
        sleep(1.0)
    os._exit(1)


class Reporter:
    """Writes events to the parent, and remembers the stage."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.stage = "start"

    def send(self, **event: Any) -> None:
        data = json.dumps(event, allow_nan=False).encode() + b"\n"
        while data:
            data = data[os.write(self.fd, data) :]

    def enter(self, stage: str) -> None:
        self.stage = stage
        self.send(event="stage", stage=stage)

    def end(self, status: str, reason_code: str | None = None, reason: str | None = None) -> NoReturn:
        """Reports the end and leaves without running exit handlers: runtimes are known to crash in theirs."""
        self.send(event="end", status=status, reason_code=reason_code, reason=reason)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def one_line(error: BaseException) -> str:
    """Returns the error's type and the first lines of its message, short enough for a table."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:400]}"


def answer_to(question: str, adapter: Adapter | None, error: BaseException) -> bool:
    """Returns the adapter's answer to `question(error)`; one that cannot answer does not hide the error."""
    try:
        return adapter is not None and bool(getattr(adapter, question)(error))
    except Exception:  # noqa: BLE001 - an adapter of another package raises whatever it likes
        traceback.print_exc()
        return False


def make_artifact(job: dict[str, Any], report: Reporter) -> NoReturn:
    """Makes one cache entry and ends."""
    from backends._memory import MEMORY, set_memory
    from workloads.graph import UnsupportedOperator
    from workloads.tolerance import MissingTolerance

    report.enter("artifacts")
    start = perf_counter()
    try:
        from bench.cell import Cell
        from bench.child.settings import setting_of

        module, _, function = job["maker"].partition(":")
        inputs = {name: Path(path) for name, path in job["inputs"].items()}
        set_memory(MEMORY[0])
        make = getattr(import_module(module), function)
        made = make(setting_of(Cell(**job["cell"])), Path(job["folder"]), inputs)
    except MissingTolerance as missing:
        report.end("error", "no_tolerance", str(missing))
    except UnsupportedOperator as lacking:
        report.end("unsupported", "operator_not_supported", str(lacking))
    except Exception as error:  # noqa: BLE001 - whatever it is, the cells that need it say so
        traceback.print_exc()
        report.end("error", "artifact_failed", f"making the {job['name']} failed: {one_line(error)}")
    report.send(event="result", result=made | {"seconds": perf_counter() - start})
    report.end("ok")


def make_model(job: dict[str, Any], report: Reporter) -> NoReturn:
    """Makes the folder of a user's own model and ends."""
    from bench.child.own.factory import Refusal

    report.enter("artifacts")
    start = perf_counter()
    try:
        module, _, function = job["maker"].partition(":")
        made = getattr(import_module(module), function)(job["asked"], Path(job["folder"]))
    except Refusal as refusal:
        report.end("error", "model_refused", str(refusal))
    except Exception as error:  # noqa: BLE001 - whatever it is, the cells of the model say so
        traceback.print_exc()
        report.end("error", "artifact_failed", f"it cannot be made: {one_line(error)}")
    report.send(event="result", result=made | {"seconds": perf_counter() - start})
    report.end("ok")


def check_model(job: dict[str, Any], report: Reporter) -> NoReturn:
    """Reports which operators of a user's own model a runtime lacks, by phase, and ends."""
    import backends
    from bench.cell import Cell
    from bench.child.settings import setting_of

    report.enter("import")
    try:
        adapter = backends.load_adapter(job["adapter"])
        cells = [Cell(**cell) for cell in job["cells"]]
        missing = {cell.phase: [*adapter.missing_operators(setting_of(cell))] for cell in cells}
    except Exception as error:  # noqa: BLE001 - native runtimes raise whatever they like; the line says it
        traceback.print_exc()
        report.end("broken", "import_failed", one_line(error))
    report.send(event="result", result=missing)
    report.end("ok")


def trial_of(job: dict[str, Any]) -> Callable[..., Trial]:
    """Returns what makes the trial of a job: under a load of queries where one is asked for."""
    from bench.child.trial import Trial

    if "asked" not in job:
        return Trial
    from bench.child.served import Served
    from bench.serving.local.asked import Asked

    return partial(Served, asked=Asked(**job["asked"]))


def run_cell(job: dict[str, Any], report: Reporter) -> NoReturn:
    """Prepares and verifies one cell, then does what the parent says line by line, reports, and ends."""
    import backends
    from bench.cell import Cell
    from bench.child.checks.proof import WrongResult
    from bench.child.checks.verify import Refused
    from bench.effort import Effort
    from workloads.graph import UnsupportedOperator
    from workloads.tolerance import MissingTolerance

    adapter: Adapter | None = None
    try:
        adapter = backends.load_adapter(job["adapter"])
        entries = {kind: Path(path) for kind, path in job["entries"].items()}
        cell, effort, options = Cell(**job["cell"]), Effort(**job["effort"]), job.get("options", {})
        trial = trial_of(job)(adapter, cell, entries, effort, report.enter, options)
        report.send(event="answer", answer=trial.prepare())
        for line in iter(sys.stdin.buffer.readline, b""):
            command = json.loads(line)
            if (name := command.pop("do")) == "finish":
                report.send(event="result", result=trial.finish(**command))
                report.enter("close")
                trial.step.close()
                report.end("ok")
            report.stage = {"settle": "verify", "slice": "measure", "serve": "measure"}[name]
            report.send(event="answer", answer=getattr(trial, name)(**command))
        os._exit(0)  # the parent has gone
    except MissingTolerance as missing:
        report.end("error", "no_tolerance", str(missing))
    except UnsupportedOperator as lacking:
        report.end("unsupported", "operator_not_supported", str(lacking))
    except Refused as refusal:
        report.end(refusal.status, refusal.code, str(refusal))
    except WrongResult as wrong:
        report.send(event="result", result=wrong.columns)
        report.end("wrong", wrong.code, str(wrong))
    except Exception as error:  # noqa: BLE001 - native runtimes raise whatever they like; the row says it
        traceback.print_exc()
        reason = f"{report.stage}: {one_line(error)}"
        if answer_to("is_out_of_memory", adapter, error) or isinstance(error, MemoryError):
            report.end("out_of_memory", "memory", reason)
        if answer_to("is_lost", adapter, error):
            report.end("broken", "device_lost", reason)
        report.end("broken", FAILURES.get(report.stage, "step_failed"), reason)


def run_control(job: dict[str, Any], report: Reporter) -> NoReturn:
    """Reads the machine whenever it is asked to."""
    from bench.child.control import Control

    control = Control(tuple(job["cpus"]))
    report.send(event="answer", answer={})
    for _ in iter(sys.stdin.buffer.readline, b""):
        report.send(event="answer", answer=control.read())
    os._exit(0)  # the parent has gone


def main() -> NoReturn:
    """Reads the job and does it."""
    report = Reporter(int(sys.argv[1]))
    os.set_inheritable(report.fd, False)
    die_with(int(sys.argv[2]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    job = json.loads(sys.stdin.buffer.readline())
    if job.get("cpus") and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, job["cpus"])
    sys.path += [path for path in job.get("paths", ()) if path not in sys.path]  # last: they may hold anything
    if job["job"] == "artifact":
        make_artifact(job, report)
    if job["job"] == "model":
        make_model(job, report)
    if job["job"] == "check":
        check_model(job, report)
    if job["job"] == "control":
        run_control(job, report)
    run_cell(job, report)


if __name__ == "__main__":
    main()
