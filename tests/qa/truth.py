"""Truth: steps whose time is known are read as that, and an adapter that does not wait is refused every time."""

from __future__ import annotations

from statistics import median
from time import perf_counter, perf_counter_ns, sleep

from backends.null import NullStep
from bench.child.checks.verify import Refused
from bench.child.checks.waits import check_waits
from bench.child.measure import Clock
from bench.effort import Effort
from workloads.precision import FP32

EFFORT = Effort(warm_up_s=1.0, warm_up_steps=1, budget_s=3.0, min_rounds=20)
BUSY_S = (100e-6, 1e-3, 10e-3, 100e-3)
WITHIN = 0.005
DEVICE_S = 10e-3
DEVICE_WITHIN = 0.02
TRIES = 20


class Busy(NullStep):
    """A step that keeps the processor busy for `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(FP32)
        self.ns = round(seconds * 1e9)

    def step(self, i: int) -> None:
        end = perf_counter_ns() + self.ns
        while perf_counter_ns() < end:
            pass


class Device(NullStep):
    """A device that takes a step at once and has it done 10 ms later, or 10 ms after what it was given before."""

    def __init__(self) -> None:
        super().__init__(FP32)
        self.free_at = 0.0

    def step(self, i: int) -> None:
        self.free_at = max(self.free_at, perf_counter()) + DEVICE_S

    def _wait_until(self, at: float) -> None:
        while (left := at - perf_counter()) > 0:
            if left > 1e-3:
                sleep(left - 1e-3)

    def sync(self) -> None:
        self._wait_until(self.free_at)

    def mark(self) -> object:
        return self.free_at

    def wait(self, token: object) -> None:
        assert isinstance(token, float)
        self._wait_until(token)

    def touch(self) -> None:
        self._wait_until(self.free_at)


class SyncDoesNothing(Device):
    """Its `sync` returns at once; reading a result waits, as reading always does."""

    def sync(self) -> None: ...


class WaitsForTheFirstOutput(Device):
    """Its `sync` waits for the loss and not for the update behind it: the last tenth of a step is left out."""

    def sync(self) -> None:
        self._wait_until(self.free_at - 0.1 * DEVICE_S)


def read(step: NullStep) -> float:
    """Returns the median latency that the clock reads."""
    clock = Clock(step)
    clock.calibrate()
    clock.warm_up(EFFORT)
    return median(clock.latency(EFFORT).seconds)


def judged(what: str, found: float, true: float, within: float) -> bool:
    error = found / true - 1
    good = abs(error) <= within
    print(f"{what:44} {found * 1e3:10.4f} ms  {error:+8.3%}  {'ok' if good else 'MISSED'}", flush=True)
    return good


def refusals(kind: type[Device]) -> int:
    """Returns how often of `TRIES` an adapter is refused."""
    count = 0
    for _ in range(TRIES):
        step = kind()
        start = perf_counter()
        step.step(0)
        step.sync()
        try:
            check_waits(step, 1, perf_counter() - start)
        except Refused:
            count += 1
    return count


def main() -> int:
    good = True
    for seconds in BUSY_S:
        good &= judged(f"busy for {seconds * 1e3:g} ms", read(Busy(seconds)), seconds, WITHIN)
    good &= judged("a device that is done 10 ms later, latency", read(Device()), DEVICE_S, DEVICE_WITHIN)
    queued = Clock(Device()).queued(EFFORT, DEVICE_S)
    step_s = sum(queued.seconds) / len(queued.seconds)
    good &= judged("a device that is done 10 ms later, queued", step_s, DEVICE_S, DEVICE_WITHIN)
    for kind, wanted in ((Device, 0), (SyncDoesNothing, TRIES), (WaitsForTheFirstOutput, TRIES)):
        count = refusals(kind)
        good &= count == wanted
        print(f"{kind.__name__:44} refused {count:3} of {TRIES}   {'ok' if count == wanted else 'MISSED'}", flush=True)
    return 0 if good else 1
