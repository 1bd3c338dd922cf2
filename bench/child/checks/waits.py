"""Whether a step's `sync()` waits for all of its work: held against reading its results, and against twice the work."""

from __future__ import annotations

from math import ceil, inf
from time import perf_counter, sleep

from backends.base import Step
from bench.child.checks.verify import Disturbed, Refused

WAIT_TRIES = 3
WAIT_SHARE = 0.05
WAIT_SLACK_S = 200e-6
WAIT_WORK_S = 20e-3
MOST_QUEUED = 16
PASSES_OF_SHORT = 3
PAUSES = 3
DOUBLE_WORK_S = 20e-3
LONGER = 4
LAST_PAIRS = (5, 15)
"""So often both are taken once more where no ratio was right, each at its shortest: a machine may be busy for long."""
MOST_DOUBLED = 1 << 16
DOUBLE = (1.5, 2.7)
"""Between these lies the time of twice as many steps, with room for a disturbance of either half."""


def check_waits(step: Step, first: int, step_s: float) -> tuple[int, float]:
    """Raises `Refused` where `sync()` returns before the work is done, `Disturbed` where that cannot be told.

    Returns the index of the next step and the seconds of one of the last steps. Several steps are queued, so that
    work worth 20 ms is under way where the device is asynchronous. After `sync()`, reading one element of every output
    takes as long as reading it again; where the first reading takes longer by 5 % of a step, three times, it
    waited for what `sync()` should have waited for. And twice as many steps, of 20 ms or more, take twice as long;
    `step_s` is the time of one.
    """
    step.touch()  # the first reading may compile or allocate
    k = max(1, min(MOST_QUEUED, ceil(WAIT_WORK_S / max(step_s, 1e-9))))
    i, once = _check_reading(step, first, max(2, k))
    if k == 1:  # one long step was timed before: these two are twice as many
        if DOUBLE[0] <= once / step_s <= DOUBLE[1]:
            return i, once / 2
        once = _queued_s(step, i, k)
        i += k
    while once < DOUBLE_WORK_S and k < MOST_DOUBLED:  # too short to be told from a disturbance
        k *= 2
        once = _queued_s(step, i, k)
        i += k
    ratios: list[float] = []
    least = k
    for _ in range(WAIT_TRIES):
        twice = _queued_s(step, i, 2 * k)
        i += 2 * k
        ratios.append(twice / max(once, 1e-9))
        if not DOUBLE[0] <= ratios[-1] <= DOUBLE[1]:  # steps that get faster or slower do so on both sides of it
            again = _queued_s(step, i, k)
            i += k
            ratios[-1] = 2 * twice / max(once + again, 1e-9)
        if DOUBLE[0] <= ratios[-1] <= DOUBLE[1]:
            return i, twice / (2 * k)
        k *= LONGER if once < WAIT_WORK_S * LONGER else 2  # what disturbs a short time may not disturb a longer one
        once = _queued_s(step, i, k)
        i += k
    once = twice = inf
    for n in range(1, LAST_PAIRS[1] + 1):  # what disturbs makes a time longer, never shorter
        once = min(once, _queued_s(step, i, least))
        twice = min(twice, _queued_s(step, i + least, 2 * least))
        i += 3 * least
        if n >= LAST_PAIRS[0] and DOUBLE[0] <= twice / max(once, 1e-9) <= DOUBLE[1]:
            return i, twice / (2 * least)
    ratios.append(twice / max(once, 1e-9))
    times = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    seen = f"twice as many steps took {times} times as long"
    if max(ratios) > DOUBLE[1]:  # what does not wait takes too little time, never too much
        raise Disturbed(f"{seen}: too much else happened to tell whether sync() waits for all")
    raise Refused("does_not_wait", f"{seen}: sync() does not wait for all")


def _queued_s(step: Step, first: int, n: int) -> float:
    """Returns the seconds that `n` queued steps take, to the end of `sync()`."""
    start = perf_counter()
    for i in range(first, first + n):
        step.step(i)
    step.sync()
    return perf_counter() - start


def _check_reading(step: Step, first: int, k: int) -> tuple[int, float]:
    """Returns the index of the next step and the seconds of `k` steps. Raises `Refused` where reading takes too long.

    Tensors are not in the processor's caches when they are read first: where that reading is longer than the second,
    it is held against some after a pause, in which whatever was left to do was done; where these differ as much from
    each other, a busy machine does that, and nothing is told. What is left of a short step may end by itself while the
    host is held up: such steps pass more than once. Raises `Disturbed` where it was told no time.
    """
    late: list[tuple[float, float]] = []
    i, passed, untold = first, 0, 0
    while len(late) < WAIT_TRIES and untold < WAIT_TRIES:
        took = _queued_s(step, i, k)
        reading, again = _touch_s(step), _touch_s(step)
        i += k
        limit = max(WAIT_SHARE * took / k, WAIT_SLACK_S)
        calm: list[float] = []
        while reading - again > limit and len(calm) < PAUSES:
            _queued_s(step, i, k)
            i += k
            sleep(2 * reading + took / k)
            calm.append(_touch_s(step))
            again = max(calm)
        if reading - again > limit:
            if again - min(calm) > limit:
                untold += 1
            else:
                late.append((took, reading - again))
            continue
        passed += 1
        if passed >= PASSES_OF_SHORT or took / k >= WAIT_WORK_S:
            return i, took
    if len(late) < WAIT_TRIES:
        raise Disturbed("readings of a result differ too much from each other to tell whether sync() waits for it")
    took, waited = min(late, key=lambda pair: pair[1])
    raise Refused("does_not_wait", f"sync() returned after {took:.3g} s; reading the result took {waited:.3g} s more")


def _touch_s(step: Step) -> float:
    start = perf_counter()
    step.touch()
    return perf_counter() - start
