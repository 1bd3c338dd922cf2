"""PyTorch on the CPU, whose every step ends with a busy-wait of `planted` parts in a thousand of what it took."""

from __future__ import annotations

from time import perf_counter
from typing import ClassVar

import torch

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
    """Takes `planted=50` for a step that is 5 % slower."""

    options: ClassVar[Options] = {"planted": ("0", "50")}

    def prepare(self, request: Request) -> Step:
        step = SlowedStep(request, torch.device("cpu"))
        step.part = int(request.options.get("planted", "0")) / 1000
        return step
