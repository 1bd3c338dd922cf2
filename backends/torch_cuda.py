"""PyTorch, eager, on an NVIDIA GPU. Requires torch built for CUDA. Not yet run on hardware."""

from __future__ import annotations

from backends._nvidia import probe_torch_cuda
from backends.base import Adapter, Probe, Request, Step


class TorchCuda(Adapter):
    """Eager PyTorch on one GPU; steps queue."""

    device_kind = "cuda"
    distributions = ("torch", "nvidia-ml-py")

    def probe(self) -> Probe:
        return probe_torch_cuda()

    def load(self, threads: int) -> None:
        import torch

        from backends._torch_cuda import set_fp32

        torch.set_num_threads(threads)
        set_fp32()

    def prepare(self, request: Request) -> Step:
        from backends._torch_cuda import TorchCudaStep, cuda_device

        return TorchCudaStep(request, cuda_device(request.device_index))

    def is_out_of_memory(self, error: BaseException) -> bool:
        from backends._torch_cuda import is_out_of_memory

        return is_out_of_memory(error)
