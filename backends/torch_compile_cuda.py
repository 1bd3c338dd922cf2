"""PyTorch under torch.compile on an NVIDIA GPU. Requires torch built for CUDA, and Triton. Not yet run on hardware."""

from __future__ import annotations

from importlib.util import find_spec

from backends._nvidia import probe_torch_cuda
from backends.base import Adapter, Probe, Request, Step


class TorchCompileCuda(Adapter):
    """Compiled by Inductor to Triton kernels; steps queue."""

    device_kind = "cuda"
    distributions = ("torch", "triton", "nvidia-ml-py")
    presets = ("full",)

    def probe(self) -> Probe:
        found = probe_torch_cuda()
        if found.status == "usable" and find_spec("triton") is None:
            reason = "triton is not installed, which torch.compile needs on a GPU: pip install triton"
            return Probe("absent", found.device, found.version, reason, "not_installed")
        return found

    def load(self, threads: int) -> None:
        import torch

        from backends._torch_cuda import set_fp32

        torch.set_num_threads(threads)
        set_fp32()

    def prepare(self, request: Request) -> Step:
        from backends._torch_compile import CompiledCudaStep
        from backends._torch_cuda import cuda_device

        return CompiledCudaStep(request, cuda_device(request.device_index))

    def is_out_of_memory(self, error: BaseException) -> bool:
        from backends._torch_cuda import is_out_of_memory

        return is_out_of_memory(error)
