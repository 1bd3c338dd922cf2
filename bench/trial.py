"""One cell, in the child: prepare, verify, warm up, measure. Returns the columns of its row."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from backends.base import Adapter, Request, Step
from bench import artifacts, verify
from bench.cell import Cell
from bench.measure import Clock, Effort
from bench.verify import Refused
from workloads.tolerance import Tolerance, tolerances

__all__ = ["Refused", "WrongResult", "measure_cell", "verify_step"]


class WrongResult(Exception):
    """The step computes something else. `columns` are what verification found, for the row."""

    def __init__(self, code: str, reason: str, columns: dict[str, Any]) -> None:
        super().__init__(reason)
        self.code = code
        self.columns = columns


class Stages:
    """Tells `enter` about each stage, and remembers how long the ones before it took."""

    def __init__(self, enter: Callable[[str], None]) -> None:
        self._enter = enter
        self._name, self._since = "", perf_counter()
        self.seconds: dict[str, float] = {}

    def enter(self, stage: str) -> None:
        now = perf_counter()
        self.seconds[f"{self._name}_s"] = now - self._since
        self._name, self._since = stage, now
        self._enter(stage)


def measure_cell(
    adapter: Adapter, cell: Cell, entries: Mapping[str, Path], effort: Effort, enter: Callable[[str], None]
) -> tuple[Step, dict[str, Any]]:
    """Returns the step, still open, and the columns and samples of its row.

    `entries` are the cache's folders by kind; `enter(stage)` is called as each stage begins. Raises `Refused`
    or `WrongResult`, and whatever the runtime raises.
    """
    stages = Stages(enter)
    stages.enter("import")
    adapter.load(cell.threads)
    stages.enter("build")
    parameters = artifacts.map_arrays(entries["parameters"] / "parameters.safetensors")
    request = Request(
        workload=cell.load_workload(),
        phase=cell.phase,
        precision=cell.precision,
        threads=cell.threads,
        device_index=cell.device_index,
        parameters=parameters,
        batches=artifacts.load_batches(entries["batches"] / "batches.safetensors"),
        graph=entries["graph"] / "step.onnx" if "graph" in entries else None,
    )
    step = adapter.prepare(request)
    stages.enter("compile")
    step.compile()
    stages.enter("verify")
    if adapter.verifiable:
        expected = artifacts.load_expected(entries["expected"])
        columns, i = verify_step(adapter, step, request, expected, tolerances(cell.workload, cell.size, cell.precision))
    else:
        columns, i = {"verification": "not applicable"}, 0
    stages.enter("warm_up")
    clock = Clock(step, i)
    columns["warm_up_steps"], columns["warm_up_s"] = clock.warm_up(effort)
    stages.enter("measure")
    columns |= _measure(clock, cell.phase in adapter.serial_phases, effort)
    columns["effective"] = dict(step.effective())
    columns |= {key: stages.seconds[key] for key in ("import_s", "build_s", "compile_s", "verify_s")}
    # Linux counts in KiB, macOS in bytes (getrusage(2) of each).
    unit = 1 if sys.platform == "darwin" else 1024
    columns["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return step, columns


def verify_step(
    adapter: Adapter,
    step: Step,
    request: Request,
    expected: verify.Expected,
    allowed: Mapping[str, Tolerance],
) -> tuple[dict[str, Any], int]:
    """Returns verification's columns and the index of the next step. Raises `Refused` or `WrongResult`."""
    found, first_step_s = verify.observe(step, request.phase, request.parameters)
    verify.check_effective(step.effective(), request.precision, adapter.device_kind)
    verification = verify.compare(found, expected, allowed)
    error, scale = verification.worst("error"), verification.worst("scale")
    columns: dict[str, Any] = {
        "first_step_s": first_step_s,
        "error_worst": error.value,
        "error_worst_of": f"{error.quantity} {error.tensor}",
        "error_tolerance": error.tolerance,
        "scale_worst": scale.value,
        "scale_worst_of": f"{scale.quantity} {scale.tensor}",
        "scale_tolerance": scale.tolerance,
    }
    if verification.failures:
        code, reason = verify.failing_reason(verification.failures)
        raise WrongResult(code, reason, _finite(columns))
    next_i = verify.check_waits(step, len(found))
    return columns | {"verification": "passed"}, next_i


def _finite(columns: dict[str, Any]) -> dict[str, Any]:
    """Returns `columns` without infinities and NaN, which a row cannot hold; the reason names them."""
    return {k: v for k, v in columns.items() if not isinstance(v, float) or abs(v) < float("inf")}


def _measure(clock: Clock, serial: bool, effort: Effort) -> dict[str, Any]:
    latency = clock.latency(effort)
    measured = {"samples_s": latency.seconds, "steps_per_sample": latency.steps_per_sample}
    if serial:
        return measured | {"throughput_mode": "serial", "throughput_samples_s": latency.seconds}
    middle = sorted(latency.seconds)[len(latency.seconds) // 2]
    queued = clock.throughput(effort, middle)
    return measured | {"throughput_mode": "queued", "throughput_samples_s": queued.seconds}
