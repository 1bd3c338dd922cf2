"""The times of a step's parts beside that of the whole step, and the reasons for columns that a row lacks.

Parts are measured last: they move the step's state on, and hold executables and memory of their own.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from statistics import median
from time import perf_counter_ns
from typing import Any

from backends.base import Step
from bench.child.measure import Clock, quiet_collector
from bench.effort import Effort

ROUNDS, SECONDS = 2, 1.0
"""How often the whole step and then its parts are run, at least, and for how long."""
LONG_S = 2.0
"""Where one round takes longer, it has to do."""
NOT_COMPILED = "its parts are compiled apart, which takes about as long as the step: --preset full, or --parts"
NOT_IN_AB = "an A/B holds whole steps against each other: --parts measures them too"


def measure_parts(step: Step, clock: Clock, effort: Effort) -> tuple[dict[str, float], str]:
    """Returns the columns of the parts, or no column and why there is none.

    Medians over rounds of the whole step, then its parts one by one, each with a wait: in a step nobody waits between
    parts, and a compiler fuses across them, so that they add up to as much or more. The sum is of what a step does, so
    without the copy of its input. `parts_ratio` is the median of the rounds' own, where both lie side by side. A step
    of one part, as inference is, is that part: nothing is measured twice.
    """
    if effort.parts == "none":
        return {}, NOT_IN_AB
    if step.parts_compile and effort.parts != "all":
        return {}, NOT_COMPILED
    parts = step.parts()
    if isinstance(parts, str):
        return {}, parts

    def whole(i: int) -> None:
        step.step(i)
        step.sync()

    work = [name for name in parts if name != "input_copy"]
    runs = dict(parts) if len(work) == 1 else {"whole": whole, **parts}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    try:
        for name in parts:  # what a part compiles or allocates is not its time; the whole step was run before
            parts[name](clock.i)
        start = perf_counter_ns()
        taken_s, done = 0.0, 0
        with quiet_collector():
            while (
                done == 0
                or (done < min(ROUNDS, effort.min_rounds) and taken_s < LONG_S)
                or taken_s < min(SECONDS, effort.budget_s)
            ):
                clock.i += 1
                for name, run in runs.items():
                    begun = perf_counter_ns()
                    run(clock.i)
                    seconds[name].append((perf_counter_ns() - begun) * 1e-9)
                taken_s, done = (perf_counter_ns() - start) * 1e-9, done + 1
    except Exception as error:  # noqa: BLE001 - the whole step was verified and measured: its row stands, and says it
        traceback.print_exc()
        return {}, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    medians = {name: median(values) for name, values in seconds.items()}
    sums = [sum(of_round) for of_round in zip(*(seconds[name] for name in work), strict=True)]
    wholes = seconds.get("whole", sums)
    return {f"{name}_s": medians[name] for name in parts} | {
        "parts_sum_s": median(sums),
        "parts_whole_s": median(wholes),
        "parts_ratio": median(total / one for total, one in zip(sums, wholes, strict=True)),
    }, ""


def not_measured(columns: Mapping[str, Any], why_no_parts: str) -> dict[str, str]:
    """Returns why a measured row lacks what others have: by column, all of the parts under `parts`."""
    reasons = {"parts": why_no_parts} if why_no_parts else {}
    if columns.get("first_step_s") is None:
        reasons["first_step_s"] = "timed in verification, and what computes nothing is not verified"
    if columns.get("peak_memory_bytes") is None:
        reasons["peak_memory_bytes"] = "the runtime does not say it of its device"
    if columns.get("step_peak_memory_bytes") is None:
        reasons["step_peak_memory_bytes"] = "this system lets no process begin its peak anew"
    if columns.get("graph_bytes") is None:
        reasons["graph_bytes"] = "runs from code, without a graph file"
    return reasons
