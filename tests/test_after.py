"""Verified once more when it was timed: what an adapter does only later, when nobody looks any more."""

import os

import numpy as np
import pytest
import torch

from backends._torch import TorchStep
from backends.base import Step
from bench.cell import Cell
from bench.child.checks.proof import WrongResult
from bench.child.trial import Trial
from bench.effort import Effort
from bench.parent.cache import Cache, default_root
from bench.parent.suite import Suite
from tests.planted import PlantedAdapter
from workloads.catalog import load

pytestmark = pytest.mark.alone  # `settle` looks whether steps wait, and another test beside it would disturb that

EFFORT = Effort(warm_up_s=0.0, warm_up_steps=1, budget_s=0.0, min_rounds=1)


class LaterStep(TorchStep):
    """Honest until `is_lazy` is set, which is when verification and warm-up are behind it."""

    is_lazy = False

    def step(self, i):
        if self.is_lazy:
            self.lazy(i)
        else:
            super().step(i)

    def lazy(self, i):
        super().step(i)


class SkipsTheUpdate(LaterStep):
    def lazy(self, i):
        self.optimizer.zero_grad()
        loss = self._forward(self.batches[i % 2])
        loss.backward()
        self.last = {"loss": loss.detach()}


class ComputesHalfABatch(LaterStep):
    def outputs_of(self, p, batch):
        return super().outputs_of(p, self.halved(batch))

    def loss(self, p, batch):
        return super().loss(p, self.halved(batch))

    def halved(self, batch):
        return {name: half(tensor) for name, tensor in batch.items()} if self.is_lazy else batch


class ReturnsTheSameLoss(LaterStep):
    def lazy(self, i):
        before = self.last
        super().lazy(i)
        self.last = before


class AtLowerPrecision(LaterStep):
    def lazy(self, i):
        with torch.autocast("cpu", torch.bfloat16):
            super().lazy(i)
        self.last = {name: tensor.float() for name, tensor in self.last.items()}


class HalvesTheStepOfTheOptimizer(LaterStep):
    def lazy(self, i):
        for group in self.optimizer.param_groups:
            group["lr"] *= 0.5
        super().lazy(i)
        for group in self.optimizer.param_groups:
            group["lr"] *= 2


class ReturnsTheSameOutput(LaterStep):
    def lazy(self, i):
        """Computes nothing."""


class HalfOfItsOutput(LaterStep):
    def lazy(self, i):
        super().lazy(i)
        self.last = {name: torch.cat([x[: len(x) // 2]] * 2) for name, x in self.last.items()}


def half(tensor):
    return torch.cat([tensor[: len(tensor) // 2]] * 2)


def trial_of(step_class, phase, tmp_path):
    """Returns a trial of `mlp` tiny on a planted adapter, its artifacts made."""
    tiny = load("mlp", "tiny")
    cell = Cell("mlp", "tiny", phase, "torch_cpu", tiny.batch, None, "fp32", 2)
    suite = Suite(Cache(default_root(os.environ), print), tmp_path, EFFORT)
    adapter = type("Planted", (PlantedAdapter,), {"Step": step_class, "overlap": "none", "__module__": __name__})()
    entries = {name: entry.path for name, entry in suite.entries(cell, tiny, suite.find_adapter("torch_cpu")).items()}
    return Trial(adapter, cell, entries, EFFORT, lambda stage: None)


def timed(trial, slices=2):
    trial.prepare()
    trial.settle()
    trial.step.is_lazy = True
    for number in range(slices):
        trial.slice(number, 0.0)
    return trial.finish(list(range(slices)))


@pytest.mark.parametrize("phase", ["train", "infer"])
def test_an_honest_step_passes_twice(phase, tmp_path):
    columns = timed(trial_of(TorchStep, phase, tmp_path))
    assert columns["verification"] == "passed"
    assert columns["after_s"] > 0


TRAINED = (SkipsTheUpdate, ComputesHalfABatch, ReturnsTheSameLoss, AtLowerPrecision, HalvesTheStepOfTheOptimizer)
INFERRED = (ComputesHalfABatch, AtLowerPrecision, ReturnsTheSameOutput, HalfOfItsOutput)


@pytest.mark.parametrize(
    ("step_class", "phase"), [*((step, "train") for step in TRAINED), *((step, "infer") for step in INFERRED)]
)
def test_what_is_lazy_later_is_wrong(step_class, phase, tmp_path):
    with pytest.raises(WrongResult) as wrong:
        timed(trial_of(step_class, phase, tmp_path))
    assert "after it was timed" in str(wrong.value) or "while it was timed" in str(wrong.value)


def test_a_step_that_cannot_restart_was_verified_before_only(tmp_path):
    class NoRestart(TorchStep):
        restart = Step.restart

    assert timed(trial_of(NoRestart, "train", tmp_path))["verification"] == "before only"
    assert timed(trial_of(NoRestart, "infer", tmp_path))["verification"] == "passed"


def test_a_state_that_is_not_finite_is_wrong(tmp_path):
    class Diverges(LaterStep):
        def lazy(self, i):
            super().lazy(i)
            with torch.no_grad():
                next(iter(self.parameters.values())).fill_(np.nan)

    with pytest.raises(WrongResult) as wrong:
        timed(trial_of(Diverges, "train", tmp_path))
    assert wrong.value.code == "not_finite"
