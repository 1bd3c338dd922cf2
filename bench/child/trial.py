"""One cell, in the child: prepared and verified once, timed slice by slice as the parent asks, verified again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any

from backends.base import Adapter, DeviceReading, Step
from bench.cell import Cell
from bench.child import load
from bench.child.beside.energy import energy_columns
from bench.child.beside.generation import Times, generation_columns, take_times
from bench.child.beside.operators import operator_columns
from bench.child.beside.parts import measure_parts, not_measured
from bench.child.checks.proof import UNVERIFIED, Elements, proof_of, requested
from bench.child.checks.verify import Refused
from bench.child.conditions import Watch, read
from bench.child.measure import MAX_SAMPLES, Clock, Samples, Throughput, loop_overhead_s
from bench.child.memory import forget_peak, give_back, peak_bytes, peak_since_forgotten_bytes
from bench.child.settings import MANIFEST, request_of, setting_of
from bench.child.told import arithmetic, origin
from bench.effort import ONE_STEP, Effort
from host.topology import allowed_cpus, cpu_kind

ON_HOST = ("cpu", "none")
"""Kinds of device whose memory is the host's."""
DEVICE_STEPS, LEAST_DEVICE_STEPS, DEVICE_TIME_S = 10, 3, 1.0
SHORT_STEP_S = 0.25
"""Of shorter steps, one is run and not counted at the begin of a slice: the first after waking differs."""
DEVICE_WARM_S = 0.3
"""So long a device other than the host works at the begin of a slice before anything is counted: for its clocks."""


class Stages:
    """Tells `enter` about each stage, and remembers how long the ones before it took."""

    def __init__(self, enter: Callable[[str], None]) -> None:
        self._enter = enter
        self._name, self._since = "", perf_counter()
        self.seconds: dict[str, float] = {}

    def enter(self, stage: str) -> None:
        self.pause()
        self._name = stage
        self._enter(stage)

    def pause(self) -> None:
        """Ends the stage: what comes until the next one is nobody's time."""
        now = perf_counter()
        if self._name:
            self.seconds[f"{self._name}_s"] = self.seconds.get(f"{self._name}_s", 0.0) + now - self._since
        self._name, self._since = "", now

    def resume(self, stage: str) -> None:
        """Goes on with a stage without saying so."""
        self._name, self._since = stage, perf_counter()


@dataclass
class Trial:
    """`prepare`, then `settle`, then any number of `slice`, then `finish`: each returns what the parent is to know.

    `entries` are the cache's folders by kind; `enter(stage)` is called as each stage begins; `options` are those of the
    adapter that shall not be its defaults. Each raises `Refused` or `WrongResult`, and whatever the runtime raises.
    """

    adapter: Adapter
    cell: Cell
    entries: Mapping[str, Path]
    effort: Effort
    enter: Callable[[str], None]
    options: Mapping[str, str] = field(default_factory=dict)
    step: Step = field(init=False)
    clock: Clock = field(init=False)
    columns: dict[str, Any] = field(default_factory=dict, init=False)

    def prepare(self) -> dict[str, Any]:
        """Builds and compiles the step; what only that needed is given back."""
        self._before = self.adapter.device_reading(self.cell.device_index)  # while nothing on the device is ours
        self._stages = stages = Stages(self.enter)
        stages.enter("import")
        setting = setting_of(self.cell, self.adapter.chosen_options(self.options))
        self.adapter.load(setting)
        stages.enter("build")
        self.request = request_of(setting, self.adapter, self.entries)
        self.step = self.adapter.prepare(self.request)
        stages.enter("compile")
        self.step.compile()
        give_back()
        stages.pause()
        return {}

    def settle(self) -> dict[str, Any]:
        """Verifies the step, sees that it waits, warms it up, and chooses how the device is kept full, all alone."""
        self._stages.enter("verify")
        self._proof = proof_of(self.adapter, self.request, self.entries)
        self.columns, self.clock = {"verification": "not applicable"}, Clock(self.step)
        if self.adapter.verifiable:
            self.columns, took_s = self._proof.before(self.step)
            self.clock = self._proof.waits(self.step, took_s)
        give_back()
        self._stages.enter("warm_up")
        self.clock.calibrate()
        warm_up = self.clock.warm_up(self.effort)
        self.columns |= {
            "warm_up_steps": warm_up.steps,
            "warm_up_s": warm_up.seconds,
            "is_steady": warm_up.is_steady,
            "warm_up_samples_s": warm_up.samples_s,
        }
        seen_s = [*self.clock.seen_s, *warm_up.samples_s]
        self._step_s = median(seen_s or self.clock.latency(ONE_STEP).seconds)
        self._load = self._choose_load()
        self._elements: Elements = self._proof.elements(self.step)
        self._latency: dict[int, Samples] = {}
        self._throughput: dict[int, Throughput] = {}
        self._watches: dict[int, Watch] = {}
        self._generations: dict[int, Times] = {}
        self._compiled = self.step.compilations()
        self._held_before, self._knows_steps = peak_bytes(), forget_peak()
        self._stages.pause()
        is_proven = self.columns["verification"] != UNVERIFIED
        return {"step_s": self._step_s, "is_serial": self._load.mode == "serial", "is_proven": is_proven}

    def _choose_load(self) -> load.Load:
        return load.choose(self.step, self._proof, self.clock, self._step_s, self.effort)

    def _verify_again(self) -> None:
        """Holds the step against its reference once more. Raises `Refused` where it was compiled meanwhile."""
        if compilations := self.step.compilations() - self._compiled:
            raise Refused("recompiled", f"it was compiled while it was timed, {compilations} times")
        if self.adapter.verifiable:
            self.columns["verification"] = self._proof.after(self.step, self._elements)

    def slice(self, number: int, seconds: float, with_throughput: bool = True, beside: int = 0) -> dict[str, Any]:
        """Times steps for `seconds`, at least one, and the same with the device kept full; returns the medians.

        Without throughput a step that is not serial has no `samples_per_s`. `beside` children of its group have
        something on the same device.
        """
        _check_quiet_interpreter()
        self._stages.resume("measure")
        effort = replace(self.effort, budget_s=seconds, min_rounds=1)
        self._wake()
        watch = self._watches[number] = self._new_watch(beside)
        take_times(self.step)
        with watch:
            latency = self._latency[number] = self.clock.latency(effort)
            if with_throughput and self._load.mode != "serial":
                self._throughput[number] = self._load.take(self.clock, effort, self._step_s)
        self._generations[number] = take_times(self.step)
        self._stages.pause()
        of_steps: Sequence[float] = latency.seconds if self._load.mode == "serial" else ()
        if number in self._throughput:
            of_steps = self._throughput[number].seconds
        return {
            "latency_s": median(latency.seconds),
            "samples_per_s": self.cell.batch / fmean(of_steps) if of_steps else None,
            "n": len(latency.seconds),
        }

    def _new_watch(self, beside: int) -> Watch:
        cpus = allowed_cpus()

        def device() -> DeviceReading | None:
            return self.adapter.device_reading(self.cell.device_index)

        return Watch(lambda: read(cpus, device=device), self._before, beside)

    def _watched(self, kept: Collection[int]) -> dict[str, Any]:
        """Returns what happened in the slices that are kept, as columns of a row."""
        watches = [self._watches[number] for number in kept]
        beside = max(watch.beside for watch in watches)
        return Watch(watches[0].reader, self._before, beside, [span for one in watches for span in one.spans]).columns()

    def _wake(self) -> None:
        """Runs what is not counted after a rest: one short step, or on a device for as long as its clocks take."""
        if not self.effort.is_timed:
            return
        if self.adapter.device_kind in ON_HOST:
            if self._step_s < SHORT_STEP_S:
                self.clock.run(1)
            return
        start = perf_counter()
        while perf_counter() - start < DEVICE_WARM_S:
            self.clock.run(1)

    def finish(self, kept: Collection[int]) -> dict[str, Any]:
        """Returns the columns and samples of the row, those of the slices `kept`; verifies the step once more."""
        stages, step, clock, cell = self._stages, self.step, self.clock, self.cell
        of_steps = peak_since_forgotten_bytes() if self._knows_steps else None
        stages.enter("after")
        latency = [self._latency[number] for number in kept]
        self._verify_again()
        stages.enter("measure")
        samples = _thinned([value for one in latency for value in one.seconds])
        middle = median(samples)
        columns = self.columns | {
            "samples_s": samples,
            "steps_per_sample": latency[0].steps_per_sample,
            "cpu_kind": cpu_kind(allowed_cpus()),
            # What computes nothing is overhead all through, which is why it is measured.
            "overhead_share": loop_overhead_s() / middle if self.adapter.verifiable else None,
            "device_time_p50_s": _device_time(step, clock),
            "compilations": 0,
        }
        columns |= self._throughput_columns(samples, kept) | self._watched(kept)
        columns |= generation_columns([one for number in kept for one in self._generations[number]], self.request)
        self._load.close()
        columns |= energy_columns(self.adapter, cell.device_index, clock.run, middle, self.effort.energy_s)
        columns |= self._memory(of_steps) | origin(self.adapter, self.request)
        columns["requested"] = requested(self.adapter, self.request)
        columns["effective"] = effective = step.effective().told()
        columns |= arithmetic(effective, self.request.precision)
        columns["peak_memory_bytes"] = effective.get("device_peak_memory_bytes", columns.get("peak_memory_bytes"))
        stages.enter("parts")
        parts, why_none = measure_parts(step, clock, self.effort)
        columns |= parts
        columns["not_measured"] = not_measured(columns, why_none)
        columns |= {key: stages.seconds[key] for key in ("import_s", "build_s", "compile_s", "verify_s", "after_s")}
        if self.effort.operators:
            stages.enter("operators")
            columns |= operator_columns(step, middle)
        return columns

    def _throughput_columns(self, latency_s: list[float], kept: Collection[int]) -> dict[str, Any]:
        """Returns the throughput's samples and how the device was kept full; those of a serial step are its latency."""
        columns: dict[str, Any] = {"throughput_mode": self._load.mode, "in_flight": 1}
        if self._load.setting:
            columns["throughput_setting"] = dict(self._load.setting)
        if self._load.mode == "serial":
            return columns | {"throughput_samples_s": latency_s}
        slices = [self._throughput[number] for number in kept if number in self._throughput]
        slices = slices or [*self._throughput.values()]  # all of them beside low readings
        return columns | {
            "throughput_samples_s": _thinned([value for one in slices for value in one.seconds]),
            "in_flight": slices[0].in_flight,
            "little_ratio": median(one.little_ratio for one in slices),
        }

    def _memory(self, of_steps: int | None) -> dict[str, Any]:
        """Returns the most memory that was held, `of_steps` while they were timed, and the size of the graph."""
        peak = max(self._held_before, peak_bytes(), of_steps or 0)
        columns: dict[str, Any] = {"host_peak_memory_bytes": peak, "step_peak_memory_bytes": of_steps}
        if self.adapter.device_kind in ON_HOST:
            columns["peak_memory_bytes"] = peak
        folders = self.request.artifacts.values()
        if folders:
            files = [path for folder in folders for path in folder.iterdir() if path.name != MANIFEST]
            columns["graph_bytes"] = sum(path.stat().st_size for path in files)
        return columns


def measure_cell(
    adapter: Adapter,
    cell: Cell,
    entries: Mapping[str, Path],
    effort: Effort,
    enter: Callable[[str], None],
    options: Mapping[str, str] | None = None,
) -> tuple[Step, dict[str, Any]]:
    """Returns the step of a cell that nothing is compared with, still open, and its columns and samples."""
    trial = Trial(adapter, cell, entries, effort, enter, options or {})
    trial.prepare()
    trial.settle()
    trial.slice(0, effort.slice_s)
    return trial.step, trial.finish([0])


def _thinned(samples: list[float]) -> list[float]:
    """Returns at most `MAX_SAMPLES` of the samples, evenly spread over them."""
    if len(samples) <= MAX_SAMPLES:
        return samples
    return [samples[i * len(samples) // MAX_SAMPLES] for i in range(MAX_SAMPLES)]


def _device_time(step: Step, clock: Clock) -> float | None:
    """Returns the median of a few steps by the device's own clock, None where it has none."""
    seconds: list[float] = []
    while (step_s := step.device_step(clock.i)) is not None:
        clock.i += 1
        seconds.append(step_s)
        if len(seconds) >= DEVICE_STEPS or (len(seconds) >= LEAST_DEVICE_STEPS and sum(seconds) > DEVICE_TIME_S):
            break
    return median(seconds) if seconds else None


def _check_quiet_interpreter() -> None:
    """Raises `Refused` where something listens to every line that Python runs."""
    listening = [name for name in ("gettrace", "getprofile") if getattr(sys, name)() is not None]
    if listening:
        raise Refused("implausible", f"a tracer or profiler is on (sys.{listening[0]}): its time would be measured")
