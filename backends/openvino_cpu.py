"""OpenVINO's CPU plugin (Intel, AMD, ARM). Requires openvino; its graphs are made with torch and onnxscript."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from backends._arithmetic import cpu_has
from backends._graphs import ONNX
from backends._probes import probe_cpu
from backends.base import Adapter, Options, Probe, Request, Setting, Step
from workloads.generate import Generating
from workloads.precision import BF16, FP16, FP32, INT8, PRECISIONS, W8

ASKS_OF_CHIP: Mapping[str, str] = {
    BF16.name: "without instructions for bf16 it computes a graph of that type in float32",
    INT8.name: "without VNNI its sums of 8-bit products saturate at 16 bits, so that outputs are off by 6 % and more",
}
"""What it runs where the CPU multiplies the type, and what it would compute elsewhere."""


class OpenVinoCpu(Adapter):
    """OpenVINO on the CPU. Training steps chain through their state; inference requests may overlap."""

    device_kind = "cpu"
    phases = None
    generates = True
    extra = "openvino"
    kinds = ("cpu", "openvino")
    overlap = "stateless"
    precisions = (FP32.name, BF16.name, INT8.name, W8.name)
    lacks: ClassVar[Mapping[str, str]] = {
        FP16.name: "OpenVINO's CPU plugin computes it in another type: FP16 is none of its capabilities (2026.4)",
    }
    artifacts = (ONNX,)
    distributions = ("openvino",)
    options: ClassVar[Options] = {"hint": ("latency", "throughput"), "pinning": ("off", "on")}

    def why_unsupported(self, phase: str, precision: str) -> tuple[str, str] | None:
        if precision in ASKS_OF_CHIP and not cpu_has(PRECISIONS[precision].multiplied):
            reason = f"{self.name} cannot run in {precision} on this CPU: {ASKS_OF_CHIP[precision]} (2026.4)"
            return "precision_not_supported", reason
        return super().why_unsupported(phase, precision)

    def probe(self) -> Probe:
        return probe_cpu("openvino", self.distributions, "openvino")

    def missing_operators(self, setting: Setting) -> Sequence[str]:
        from backends._graph_lacks import in_onnx

        return in_onnx(setting)

    def load(self, setting: Setting) -> None:
        import openvino  # noqa: F401 - imported here so that its time counts as import

    def prepare(self, request: Request) -> Step:
        from backends._openvino_cached import opened

        if isinstance(request.program, Generating):
            from backends._openvino_generate import OpenVinoGenerateStep

            return OpenVinoGenerateStep(request, "CPU")
        return opened(request, "CPU")
