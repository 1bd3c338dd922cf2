"""PyTorch, eager, on an NVIDIA GPU. Requires torch built for CUDA. Not yet run on hardware."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from backends._nvidia import energy_counter, is_lost, is_out_of_memory, probe_torch_cuda, read_device, why_too_old
from backends.base import Adapter, DeviceReading, EnergyCounter, Options, Probe, Request, Setting, Step
from workloads.models._transfer import Transfer
from workloads.precision import BF16, FP8, FP16, FP32, INT8, TF32, W8


class TorchCuda(Adapter):
    """Eager PyTorch on one GPU; steps queue."""

    device_kind = "cuda"
    precisions = (FP32.name, TF32.name, BF16.name, FP16.name, W8.name, FP8.name)
    lacks: ClassVar[Mapping[str, str]] = {
        INT8.name: "on CUDA torch's product of int8 takes sizes that are multiples of 8 alone, which models have not"
    }
    phases = None
    transfers = True
    extra = "cuda"
    cpu_torch = False
    distributions: ClassVar[tuple[str, ...]] = ("torch", "nvidia-ml-py")
    options: ClassVar[Options] = {"memory_format": ("contiguous", "channels_last")}

    def why_unsupported(self, phase: str, precision: str) -> tuple[str, str] | None:
        return why_too_old(self.name, precision) or super().why_unsupported(phase, precision)

    def probe(self) -> Probe:
        return probe_torch_cuda()

    def load(self, setting: Setting) -> None:
        import torch

        from backends._torch_cuda import set_products

        torch.set_num_threads(setting.threads)
        set_products(setting.precision)

    def prepare(self, request: Request) -> Step:
        from backends._torch_cuda import TorchCudaStep, cuda_device

        if isinstance(request.program, Transfer):
            from backends._torch_transfer import TransferStep

            return TransferStep(request, cuda_device(request.device_index))
        return TorchCudaStep(request, cuda_device(request.device_index))

    def device_reading(self, index: int) -> DeviceReading | None:
        return read_device(index)

    def energy_counter(self, index: int) -> EnergyCounter:
        return energy_counter(index)

    def is_out_of_memory(self, error: BaseException) -> bool:
        return is_out_of_memory(error)

    def is_lost(self, error: BaseException) -> bool:
        return is_lost(error)
