"""JAX on the CPU. Requires jax."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from backends._memory import MEMORY, set_memory
from backends._probes import probe_cpu, xla_is_out_of_memory
from backends.base import Adapter, Options, Probe, Request, Setting, Step
from workloads.generate import Generating
from workloads.precision import BF16, FP8, FP16, FP32, INT8, W8


class JaxCpu(Adapter):
    """XLA on the CPU. Training steps chain through their state; inference steps may queue."""

    device_kind = "cpu"
    phases = None
    generates = True
    extra = "jax"
    kinds = ("cpu",)
    overlap = "stateless"
    precisions = (FP32.name, BF16.name, FP16.name, INT8.name, W8.name, FP8.name)
    emulates: ClassVar[Mapping[str, str]] = dict.fromkeys(
        (BF16.name, FP16.name, FP8.name), "XLA widens operands to float32 on a CPU"
    )
    distributions = ("jax", "jaxlib")
    options: ClassVar[Options] = {"conv_1x1": ("matmul", "conv"), "conv_layout": ("nchw", "nhwc"), "memory": MEMORY}

    def probe(self) -> Probe:
        return probe_cpu("jax", self.distributions, "jax")

    def missing_operators(self, setting: Setting) -> Sequence[str]:
        from backends._graph_lacks import in_jax

        return in_jax(setting)

    def load(self, setting: Setting) -> None:
        # XLA sizes its pool by the process's affinity, which the parent has set (jax issue 1539).
        import jax

        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_default_matmul_precision", "highest")

    def prepare(self, request: Request) -> Step:
        from backends._jax import JaxStep, device_at

        set_memory(request.options.get("memory", "returned"))
        if isinstance(request.program, Generating):
            from backends._jax_generate import JaxGenerateStep

            return JaxGenerateStep(request, device_at("cpu", request.device_index))
        return JaxStep(request, device_at("cpu", request.device_index))

    def is_out_of_memory(self, error: BaseException) -> bool:
        return xla_is_out_of_memory(error)
