"""PyTorch on the CPU, whose every step ends with a busy-wait of `planted` parts in a thousand of what it took."""

from __future__ import annotations

from time import perf_counter
from typing import ClassVar

from backends._torch import TorchStep
from backends.base import Options, Request, Step
from backends.torch_cpu import TorchCpu


class SlowedStep(TorchStep):
    """Computes what it should, and takes longer."""

    part = 0.0

    def step(self, i: int) -> None:
        start = perf_counter()
        super().step(i)
        now = perf_counter()
        end = now + self.part * (now - start)
        while now < end:
            now = perf_counter()


class Slowed(TorchCpu):
    """Takes `planted=50` for a step that is 5 % slower; all else is as `torch_cpu` has it."""

    options: ClassVar[Options] = {**TorchCpu.options, "planted": ("0", "50")}

    def prepare(self, request: Request) -> Step:
        step = super().prepare(request)
        step.__class__ = SlowedStep
        assert isinstance(step, SlowedStep)
        step.part = int(request.options["planted"]) / 1000
        return step
