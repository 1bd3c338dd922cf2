"""PyTorch under torch.compile on an NVIDIA GPU. Requires torch built for CUDA, and Triton. Not yet run on hardware."""

from __future__ import annotations

from importlib.util import find_spec

from backends._nvidia import probe_torch_cuda
from backends.base import Probe, Request, Step
from backends.torch_cuda import TorchCuda


class TorchCompileCuda(TorchCuda):
    """Compiled by Inductor to Triton kernels; steps queue."""

    distributions = ("torch", "triton", "nvidia-ml-py")
    presets = ("full",)
    # Triton compiles its launchers with $CC, and Inductor its host code with $CXX
    environment = ("CC", "CXX", "CPATH", "LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH")

    def probe(self) -> Probe:
        probe = probe_torch_cuda()
        if probe.status == "usable" and find_spec("triton") is None:
            reason = "triton is not installed, which torch.compile needs on a GPU: pip install triton"
            return Probe("absent", probe.device, probe.version, reason, "not_installed")
        return probe

    def prepare(self, request: Request) -> Step:
        from backends._torch_compile import CompiledCudaStep
        from backends._torch_cuda import cuda_device

        return CompiledCudaStep(request, cuda_device(request.device_index))
