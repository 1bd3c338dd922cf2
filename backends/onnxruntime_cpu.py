"""ONNX Runtime's CPU execution provider. Requires onnxruntime; its graphs are made with torch and onnxscript."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from backends._graphs import ONNX, ONNX_IN_PLACE, carries_a_cache
from backends._probes import probe_cpu
from backends.base import Adapter, Artifact, Options, Probe, Request, Setting, Step
from workloads.generate import Generating
from workloads.precision import BF16, FP16, FP32, INT8, W8

if TYPE_CHECKING:
    from workloads.program import Program


class OnnxRuntimeCpu(Adapter):
    """ONNX Runtime on the CPU. Training steps chain through their state; inference may run from several threads."""

    device_kind = "cpu"
    phases = None
    generates = True
    extra = "onnxruntime"
    kinds = ("cpu", "edge")
    overlap = "stateless"
    precisions = (FP32.name, INT8.name, W8.name)
    lacks: ClassVar[Mapping[str, str]] = {
        BF16.name: "ONNX Runtime's CPU provider has no kernels for it: Gemm, MatMul and Add are NOT_IMPLEMENTED (1.32)",
        FP16.name: "ONNX Runtime puts casts around float32 kernels on a CPU and drops most of them again, at every"
        " level of graph optimisation: it computes in float32 (1.32)",
    }
    artifacts = (ONNX, ONNX_IN_PLACE)
    distributions = ("onnxruntime",)
    options: ClassVar[Options] = {
        "graph_level": ("all", "extended", "basic"),
        "spinning": ("on", "off"),
        "arena": ("on", "off"),
        "memory_pattern": ("on", "off"),
    }

    def probe(self) -> Probe:
        return probe_cpu("onnxruntime", self.distributions, "onnxruntime")

    def artifacts_of(self, program: Program) -> tuple[Artifact, ...]:
        return (ONNX_IN_PLACE,) if carries_a_cache(program) else (ONNX,)

    def missing_operators(self, setting: Setting) -> Sequence[str]:
        from backends._graph_lacks import in_onnx

        return in_onnx(setting)

    def load(self, setting: Setting) -> None:
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)

    def prepare(self, request: Request) -> Step:
        from backends._onnxruntime import OnnxRuntimeStep

        if isinstance(request.program, Generating):
            from backends._onnxruntime_generate import OnnxRuntimeGenerateStep

            return OnnxRuntimeGenerateStep(request, "CPUExecutionProvider")
        return OnnxRuntimeStep(request, "CPUExecutionProvider")

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, MemoryError) or "Failed to allocate memory" in str(error)
