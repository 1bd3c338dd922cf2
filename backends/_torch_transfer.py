"""PyTorch: copies between host and device as steps. Not yet run on hardware."""

from __future__ import annotations

from dataclasses import replace

import torch

from backends._torch import device_types
from backends._torch_cuda import TorchCudaStep
from backends._torch_module import CPU
from backends._torch_ops import to_torch
from backends.base import Effective, Request
from workloads.models._transfer import Transfer


class TransferStep(TorchCudaStep):
    """A copy in one direction. The host's memory is page-locked, so that the device reads and writes it itself."""

    def __init__(self, request: Request, device: torch.device) -> None:
        super().__init__(request, device)
        assert isinstance(self.program, Transfer)
        on_device = [batch["x"] for batch in self.batches]
        on_host = [to_torch(batch["x"], CPU).pin_memory() for batch in self.on_host]
        self.sources, goal = (on_host, on_device) if self.program.to_device else (on_device, on_host)
        self.arrived = torch.empty_like(goal[0], pin_memory=goal is on_host)
        self.of_device = self.arrived if self.program.to_device else self.sources[0]

    def step(self, i: int) -> None:
        self.last = {"y": self.arrived.copy_(self.sources[i % len(self.sources)], non_blocking=True)}

    def effective(self) -> Effective:
        effective = super().effective()
        more = {**effective.more, "host_memory": "page-locked"}
        return replace(effective, device=device_types([self.of_device]), more=more)
