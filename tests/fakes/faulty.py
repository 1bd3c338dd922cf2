"""An adapter that does in one stage what the variable `SAMESTEP_FAKE` says, as `sleep@measure` or `raise@import`.

The parent may import it at any time: it acts in children only. Without the variable it works, and computes nothing.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from backends.base import Adapter, Effective, EnergyCounter, Probe, Request, Setting, Step
from workloads.precision import Precision

VARIABLE = "SAMESTEP_FAKE"
IS_CHILD = Path(sys.argv[0]).name == "worker.py"

SLOW_STEP_S = 0.005


def fail() -> NoReturn:
    raise RuntimeError("planted failure")


def lose_the_device() -> NoReturn:
    raise RuntimeError("planted: the device is lost")


def run_out_of_memory() -> NoReturn:
    raise MemoryError("planted: no memory left")


def leave_a_process_and_exit() -> NoReturn:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    os._exit(3)


ACTIONS: Mapping[str, Callable[[], Any]] = {
    "sleep": lambda: time.sleep(3600),
    "slow": lambda: time.sleep(SLOW_STEP_S),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "abort": os.abort,
    "segfault": lambda: ctypes.string_at(0),
    "exit": lambda: os._exit(3),
    "exit_well": lambda: os._exit(0),
    "leave": lambda: sys.exit(3),
    "fork": leave_a_process_and_exit,
    "raise": fail,
    "raise_twice": fail,
    "lose": lose_the_device,
    "memory": run_out_of_memory,
}


def told() -> tuple[str, str]:
    """Returns what to do and where; both are empty where nothing was asked for."""
    action, _, stage = os.environ.get(VARIABLE, "").partition("@")
    return action, stage


def act(stage: str) -> None:
    action, where = told()
    if IS_CHILD and where == stage:
        print(f"{action} in {stage}", file=sys.stderr, flush=True)
        ACTIONS[action]()


class FaultyStep(Step):
    """A step that computes nothing, and acts in the stage that it was told."""

    def __init__(self, precision: Precision, is_verified: bool) -> None:
        self.precision = precision
        self.is_verified = is_verified

    def compile(self) -> None:
        act("compile")

    def step(self, i: int) -> None:
        # The collector is off while samples are taken, and only then.
        act("verify" if self.is_verified else "warm_up" if gc.isenabled() else "measure")

    def sync(self) -> None: ...

    def touch(self) -> None: ...

    def outputs(self) -> Mapping[str, Any]:
        return {}

    def state(self) -> Iterator[tuple[str, Any]]:
        return iter(())

    def effective(self) -> Effective:
        claim, _, value = told()[1].partition("=")
        return Effective(
            device=value if claim == "device" else Faulty.device_kind,
            precision=value if claim == "precision" else self.precision.name,
            more={"omp_num_threads": os.environ["OMP_NUM_THREADS"], "cpus": len(os.sched_getaffinity(0))},
        )

    def close(self) -> None:
        act("close")


class Faulty(Adapter):
    """`says@device=cuda` claims another device than asked for, `absent@probe` and `broken@probe` cannot be used.

    `count@energy` has a counter of a device that takes 100 W.
    """

    device_kind = "fake"
    overlap = "none"

    @property
    def verifiable(self) -> bool:
        """True only where the fault lies in verification: nothing that this computes is right."""
        action, stage = told()
        return stage == "verify" or action == "says"

    def probe(self) -> Probe:
        action, stage = told()
        if stage == "probe":
            if action == "raise":
                fail()
            return Probe(action, reason="no fake device here", reason_code="no_device")
        return Probe("usable", "fake device")

    def energy_counter(self, index: int) -> EnergyCounter:
        if told() == ("count", "energy"):
            return EnergyCounter("fake counter", lambda: 100.0 * time.perf_counter())
        return super().energy_counter(index)

    def is_out_of_memory(self, error: BaseException) -> bool:
        if told()[0] == "raise_twice":
            fail()
        return super().is_out_of_memory(error)

    def is_lost(self, error: BaseException) -> bool:
        return "device is lost" in str(error)

    def load(self, setting: Setting) -> None:
        act("import")

    def prepare(self, request: Request) -> Step:
        act("build")
        return FaultyStep(request.precision, self.verifiable)


act("start")
