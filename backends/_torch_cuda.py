"""PyTorch on NVIDIA GPUs: switches, waiting, and the device's own clock and memory. Not yet run on hardware."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, ClassVar

import torch

from backends._torch import TorchStep
from backends.base import Effective, Request
from workloads.precision import Precision

TF32, IEEE = "tf32", "ieee"


def set_products(precision: Precision) -> None:
    """Has products of float32 be what the precision says. torch's own default for convolutions is TF32 (2.13)."""
    of_products = TF32 if precision.operands else IEEE
    torch.backends.cuda.matmul.fp32_precision = of_products
    torch.backends.cudnn.conv.fp32_precision = of_products


def cuda_device(index: int) -> torch.device:
    """Returns CUDA device `index`. Raises RuntimeError where there is none: never the CPU instead."""
    if not torch.cuda.is_available():
        raise RuntimeError(f"torch {torch.__version__} sees no CUDA device, though its files are there")
    count = torch.cuda.device_count()
    if not 0 <= index < count:
        raise RuntimeError(f"asked for CUDA device {index}; torch sees {count}")
    return torch.device("cuda", index)


class TorchCudaStep(TorchStep):
    """A step on a CUDA device: calls queue on its stream."""

    fp32_switches: ClassVar[tuple[str, ...]] = (IEEE, "unset", "0")
    tf32_switches: ClassVar[tuple[str, ...]] = (TF32, "unset", "1")

    def __init__(self, request: Request, device: torch.device) -> None:
        super().__init__(request, device)
        torch.cuda.set_device(device)  # events are recorded on the current device's stream
        self.events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]

    def sync(self) -> None:
        torch.cuda.synchronize(self.device)

    def mark(self) -> object:
        event = torch.cuda.Event()
        event.record()
        return event

    def wait(self, token: Any) -> None:
        token.synchronize()

    def device_step(self, i: int) -> float | None:
        start, end = self.events
        start.record()
        self.step(i)
        end.record()
        self.sync()
        return float(start.elapsed_time(end)) / 1e3  # CUDA says milliseconds

    def precision_switches(self) -> dict[str, str]:
        return {
            "cuda_matmul_fp32_precision": torch.backends.cuda.matmul.fp32_precision,
            "cudnn_conv_fp32_precision": torch.backends.cudnn.conv.fp32_precision,
            # NVIDIA's libraries obey it above every switch of torch: 1 means TF32 everywhere.
            "NVIDIA_TF32_OVERRIDE": os.environ.get("NVIDIA_TF32_OVERRIDE", "unset"),
        }

    def effective(self) -> Effective:
        effective = super().effective()
        major, minor = torch.cuda.get_device_capability(self.device)
        more: dict[str, str | int | float | bool] = {
            "device_name": torch.cuda.get_device_name(self.device),
            "compute_capability": f"{major}.{minor}",
            "device_peak_memory_bytes": torch.cuda.max_memory_allocated(self.device),
        }
        return replace(effective, more={**effective.more, **more})
