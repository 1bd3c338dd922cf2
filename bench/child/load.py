"""How a device is kept full: serial steps, queued blocks, or the fastest way to overlap requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from backends.base import Flow, Step
from bench.child.checks.proof import Proof
from bench.child.measure import Clock, Throughput, flow_throughput
from bench.effort import Effort

TRIAL_S = 0.5
"""How long each way to overlap steps is tried, at least, before the fastest is measured."""
GAIN = 1.05
"""By so much a way must be faster than steps one after the other; below that its slices would tell nothing new."""


@dataclass
class Load:
    """One way to keep the device full, chosen once before the rounds; `flow` is open where requests overlap."""

    mode: str
    setting: Mapping[str, Any]
    flow: Flow | None = None

    def take(self, clock: Clock, effort: Effort, step_s: float) -> Throughput:
        """Returns a slice's samples; `step_s` is the time of a step with one in flight. Not of serial steps."""
        if self.flow is not None:
            return flow_throughput(self.flow, self.flow.in_flight, effort.budget_s)
        return clock.queued(effort, step_s)

    def close(self) -> None:
        """Gives back what the flow holds."""
        if self.flow is not None:
            self.flow.close()


def choose(step: Step, proof: Proof, clock: Clock, step_s: float, effort: Effort) -> Load:
    """Returns the way that was fastest in a short trial, each verified; `step_s` is what a step takes by itself.

    Steps one after the other are a way too, and the one that is taken where no other is faster by `GAIN`. Raises
    `Refused` or `WrongResult`.
    """
    if proof.adapter.is_serial(proof.request.program):
        return Load("serial", {})
    tried = {"1": 1 / step_s}
    openers = step.flows()
    if not openers:
        trial = clock.queued(replace(effort, budget_s=min(TRIAL_S, effort.budget_s), min_rounds=1), step_s)
        tried["queued"] = 1 / fmean(trial.seconds)
        is_best = tried["queued"] > GAIN * tried["1"] or not effort.is_timed
        return Load("queued" if is_best else "serial", _told(tried))
    best: Flow | None = None
    for opener in openers:
        flow = opener()
        name = "{streams}x{threads_per_stream}".format(**flow.setting)
        if name in tried:
            flow.close()
            continue
        trial = flow_throughput(flow, 2 * flow.in_flight, min(TRIAL_S, effort.budget_s))
        rate = 1 / fmean(trial.seconds)
        proof.of_flow(flow)
        is_best = rate > max(GAIN * tried["1"], *tried.values())
        tried[name] = rate
        worse, best = (best, flow) if is_best else (flow, best)
        if worse is not None:
            worse.close()
    setting = _told(tried)
    return Load("serial", setting) if best is None else Load("requests", setting | dict(best.setting), best)


def _told(tried: Mapping[str, float]) -> dict[str, Any]:
    """Returns the rates of the ways that were tried, as a row has them."""
    return {"tried_steps_per_s": {name: float(f"{rate:.4g}") for name, rate in tried.items()}}
