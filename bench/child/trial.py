"""One cell, in the child: prepare, verify, warm up, measure. Returns the columns of its row."""

from __future__ import annotations

import json
import platform
import resource
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any

from backends._probes import versions
from backends.base import Adapter, DeviceReading, Flow, Request, Step
from bench.cell import Cell
from bench.child import estimate, verify, waits
from bench.child.conditions import Watch, read
from bench.child.energy import energy_columns
from bench.child.expected import load_expected
from bench.child.measure import Clock, Samples, Throughput, flow_throughput, loop_overhead_s
from bench.child.operators import operator_columns
from bench.child.parts import measure_parts, not_measured
from bench.child.settings import MANIFEST, request_of, setting_of
from bench.child.verify import Refused
from bench.effort import Effort
from host.topology import allowed_cpus, cpu_kind
from workloads.catalog import tolerances
from workloads.tolerance import Tolerance

__all__ = ["Refused", "WrongResult", "measure_cell", "verify_step"]

TRIAL_S = 0.5
"""How long each way to overlap requests is tried, at least, before the fastest is measured."""
ON_HOST = ("cpu", "none")
"""Kinds of device whose memory is the host's."""
DEVICE_STEPS, LEAST_DEVICE_STEPS, DEVICE_TIME_S = 10, 3, 1.0


class WrongResult(Exception):
    """The step computes something else. `columns` are those of the verification, for the row."""

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
    adapter: Adapter,
    cell: Cell,
    entries: Mapping[str, Path],
    effort: Effort,
    enter: Callable[[str], None],
    options: Mapping[str, str] | None = None,
) -> tuple[Step, dict[str, Any]]:
    """Returns the step, still open, and the columns and samples of its row.

    `entries` are the cache's folders by kind; `enter(stage)` is called as each stage begins; `options` are those of
    the adapter that shall not be its defaults. Raises `Refused` or `WrongResult`, and whatever the runtime raises.
    """
    before = adapter.device_reading(cell.device_index)  # while nothing on the device is ours
    stages = Stages(enter)
    stages.enter("import")
    setting = setting_of(cell, adapter.chosen_options(options or {}))
    adapter.load(setting)
    stages.enter("build")
    request = request_of(setting, adapter, entries)
    step = adapter.prepare(request)
    stages.enter("compile")
    step.compile()
    stages.enter("verify")
    proof = Proof(adapter, request, {}, {})
    clock = Clock(step)
    columns: dict[str, Any] = {"verification": "not applicable"}
    if adapter.verifiable:
        allowed = tolerances(cell.workload, cell.size, cell.precision)
        proof = Proof(adapter, request, load_expected(entries["expected"]), allowed)
        columns, clock = verify_step(adapter, step, request, proof.expected, allowed)
    stages.enter("warm_up")
    clock.calibrate()
    warm_up = clock.warm_up(effort)
    columns |= {
        "warm_up_steps": warm_up.steps,
        "warm_up_s": warm_up.seconds,
        "is_steady": warm_up.is_steady,
        "warm_up_samples_s": warm_up.samples_s,
    }
    stages.enter("measure")
    columns |= _measure(step, clock, proof, cell, effort, before)
    step_s = median(columns["samples_s"])
    columns |= energy_columns(adapter, cell.device_index, clock.run, step_s, effort.energy_s)
    columns["requested"] = requested(adapter, request)
    columns["effective"] = step.effective().told()
    columns |= origin(adapter, request)
    columns |= {key: stages.seconds[key] for key in ("import_s", "build_s", "compile_s", "verify_s")}
    # Linux counts in KiB, macOS in bytes (getrusage(2) of each).
    unit = 1 if sys.platform == "darwin" else 1024
    columns["host_peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    columns["peak_memory_bytes"] = columns["effective"].get("device_peak_memory_bytes")
    if adapter.device_kind in ON_HOST:
        columns["peak_memory_bytes"] = columns["host_peak_memory_bytes"]
    if request.artifacts:
        files = [path for folder in request.artifacts.values() for path in folder.iterdir() if path.name != MANIFEST]
        columns["graph_bytes"] = sum(path.stat().st_size for path in files)
    stages.enter("parts")
    parts, why_none = measure_parts(step, clock, effort)
    columns |= parts
    columns["not_measured"] = not_measured(columns, why_none)
    if effort.operators:
        stages.enter("operators")
        columns |= operator_columns(step, estimate.median(columns["samples_s"]).value)
    return step, columns


def origin(adapter: Adapter, request: Request) -> dict[str, Any]:
    """Returns what ran, as only the child knows it: another side of an A/B may have another Python."""
    return {
        "library_versions": json.dumps(versions((*adapter.distributions, "numpy")), sort_keys=True),
        "python_version": platform.python_version(),
        "options": json.dumps(dict(request.options), sort_keys=True) if request.options else None,
    }


@dataclass(frozen=True)
class Proof:
    """What a step is held against: what was asked for, what it must compute, and how far it may lie off."""

    adapter: Adapter
    request: Request
    expected: verify.Expected
    allowed: Mapping[str, Tolerance]


def requested(adapter: Adapter, request: Request) -> dict[str, Any]:
    """Returns what was asked for, under the names of what is read back."""
    return {"device": adapter.device_kind, "precision": request.precision.name, "threads": request.threads}


def verify_step(
    adapter: Adapter,
    step: Step,
    request: Request,
    expected: verify.Expected,
    allowed: Mapping[str, Tolerance],
) -> tuple[dict[str, Any], Clock]:
    """Returns verification's columns and a clock that goes on behind it. Raises `Refused` or `WrongResult`."""
    observed, took_s = verify.observe(step, request.program, request.parameters)
    verify.check_effective(step.effective(), requested(adapter, request))
    verification = verify.compare(observed, expected, allowed)
    error, scale = verification.worst("error"), verification.worst("scale")
    columns: dict[str, Any] = {
        "first_step_s": took_s[0],
        "error_worst": error.value,
        "error_worst_of": f"{error.quantity} {error.tensor}",
        "error_tolerance": error.tolerance,
        "scale_worst": scale.value,
        "scale_worst_of": f"{scale.quantity} {scale.tensor}",
        "scale_tolerance": scale.tolerance,
    }
    _must_pass(verification, columns)
    i, step_s = waits.check_waits(step, len(took_s), min(took_s[1:]))
    return columns | {"verification": "passed"}, Clock(step, i, [*took_s[1:], step_s])


def _must_pass(verification: verify.Verification, columns: dict[str, Any]) -> None:
    if verification.failures:
        code, reason = verify.failing_reason(verification.failures)
        raise WrongResult(code, reason, _finite(columns))


def _finite(columns: dict[str, Any]) -> dict[str, Any]:
    """Returns `columns` without infinities and NaN, which a row cannot hold; the reason names them."""
    return {k: v for k, v in columns.items() if not isinstance(v, float) or abs(v) < float("inf")}


def _measure(
    step: Step, clock: Clock, proof: Proof, cell: Cell, effort: Effort, before: DeviceReading | None
) -> dict[str, Any]:
    """Returns latency, throughput and what happened meanwhile."""
    _check_quiet_interpreter()
    cpus = allowed_cpus()
    watch = Watch(lambda: read(cpus, device=lambda: proof.adapter.device_reading(cell.device_index)), before)
    compiled = step.compilations()
    with watch:
        latency = clock.latency(effort)
    middle = estimate.median(latency.seconds)
    moved = estimate.drift(latency.seconds)
    columns = {
        "samples_s": latency.seconds,
        "cpu_kind": cpu_kind(cpus),
        "steps_per_sample": latency.steps_per_sample,
        "stop_reason": latency.stop_reason,
        "latency_ci_low_s": middle.low,
        "latency_ci_high_s": middle.high,
        "latency_effective_n": middle.effective_n,
        "drift": None if moved is None else moved.relative,
        "has_drifted": None if moved is None else moved.is_real,
        # What computes nothing is overhead all through, which is why it is measured.
        "overhead_share": loop_overhead_s() / middle.value if proof.adapter.verifiable else None,
    }
    columns["device_time_p50_s"] = _device_time(step, clock)
    columns |= _throughput(step, clock, proof, latency, watch, effort)
    columns["compilations"] = step.compilations() - compiled
    return columns | watch.columns()


def _device_time(step: Step, clock: Clock) -> float | None:
    """Returns the median of a few steps by the device's own clock, None where it has none."""
    seconds = []
    while (step_s := step.device_step(clock.i)) is not None:
        clock.i += 1
        seconds.append(step_s)
        if len(seconds) >= DEVICE_STEPS or (len(seconds) >= LEAST_DEVICE_STEPS and sum(seconds) > DEVICE_TIME_S):
            break
    return estimate.median(seconds).value if seconds else None


def _check_quiet_interpreter() -> None:
    """Raises `Refused` where something listens to every line that Python runs."""
    listening = [name for name in ("gettrace", "getprofile") if getattr(sys, name)() is not None]
    if listening:
        raise Refused("implausible", f"a tracer or profiler is on (sys.{listening[0]}): its time would be measured")


def _throughput(
    step: Step, clock: Clock, proof: Proof, latency: Samples, watch: Watch, effort: Effort
) -> dict[str, Any]:
    """Returns the throughput's columns: serial, of queued blocks, or of the fastest way to overlap requests."""
    serial = {"throughput_mode": "serial", "throughput_samples_s": latency.seconds, "in_flight": 1}
    if proof.adapter.is_serial(proof.request.program):
        return serial
    openers = step.flows()
    serial_step_s = estimate.median(latency.seconds).value
    if not openers:
        with watch:
            queued = clock.queued(effort, serial_step_s)
        return _throughput_columns("queued", queued, {})
    tried = {"1": 1 / serial_step_s}
    best: Flow | None = None
    for opener in openers:
        flow = opener()
        name = "{streams}x{threads_per_stream}".format(**flow.setting)
        if name in tried:
            flow.close()
            continue
        rate = 1 / fmean(_verified_flow(flow, proof, effort).seconds)
        is_best = rate > max(tried.values())
        tried[name] = rate
        worse, best = (best, flow) if is_best else (flow, best)
        if worse is not None:
            worse.close()
    setting = {"tried_steps_per_s": {name: float(f"{rate:.4g}") for name, rate in tried.items()}}
    if best is None:
        return serial | {"throughput_setting": setting}
    with watch:
        overlapped = flow_throughput(best, 4 * best.in_flight, effort.budget_s)
    best.close()
    return _throughput_columns("requests", overlapped, setting | dict(best.setting))


def _verified_flow(flow: Flow, proof: Proof, effort: Effort) -> Throughput:
    """Tries the flow until every request was used, and raises unless it computes what its step computes."""
    throughput = flow_throughput(flow, 2 * flow.in_flight, min(TRIAL_S, effort.budget_s))
    verify.check_effective(flow.effective(), requested(proof.adapter, proof.request))
    _must_pass(verify.compare_flow(flow, proof.expected, proof.allowed), {})
    return throughput


def _throughput_columns(mode: str, throughput: Throughput, setting: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "throughput_mode": mode,
        "throughput_samples_s": throughput.seconds,
        "throughput_setting": dict(setting),
        "in_flight": throughput.in_flight,
        "little_ratio": throughput.little_ratio,
    }
