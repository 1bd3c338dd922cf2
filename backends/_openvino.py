"""OpenVINO: a compiled model with its buffers shared, on any OpenVINO device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from backends.base import Request, Step
from workloads.workload import initial_state


class OpenVinoStep(Step):
    """A step of an ONNX graph as OpenVINO infer requests that share NumPy's memory.

    Training state lives in two sets of buffers that swap roles from step to step; one buffer as input and
    output is undefined.
    """

    def __init__(self, request: Request, device: str) -> None:
        self.request = request
        self.device = device
        self.core = ov.Core()
        self.count = 0
        self.model = self.core.read_model(str(request.graph))
        initial: dict[str, Any] = {}
        if request.phase == "train":
            initial = initial_state(request.workload, request.parameters, np.zeros_like)
        self.buffers = [{name: np.array(a) for name, a in initial.items()} for _ in range(2)]
        self.batches = [
            {s.name: np.array(b[s.name]) for s in request.workload.phase_inputs(request.phase)} for b in request.batches
        ]

    def compile(self) -> None:
        self.compiled = self.core.compile_model(
            self.model,
            self.device,
            {
                "PERFORMANCE_HINT": "LATENCY",
                # Without it a CPU that can do bf16 runs an fp32 model in bf16.
                "INFERENCE_PRECISION_HINT": "f32",
                "INFERENCE_NUM_THREADS": self.request.threads,
                # The parent has pinned the process already.
                "ENABLE_CPU_PINNING": False,
            },
        )
        held = {f"next.{name}" for name in self.buffers[0]}
        self.results = {
            name: np.zeros(tuple(port.shape), port.element_type.to_dtype())
            for port in self.compiled.outputs
            for name in port.get_names()
            if name in self._result_names() and name not in held
        }
        directions = [self.buffers, self.buffers[::-1]]
        self.requests = [[self._bind(batch, *pair) for batch in self.batches] for pair in directions]

    def _result_names(self) -> set[str]:
        if self.request.phase == "train":
            return {"loss"}
        return {name for port in self.compiled.outputs for name in port.get_names()}

    def _bind(self, batch: dict[str, Any], source: dict[str, Any], target: dict[str, Any]) -> Any:
        request = self.compiled.create_infer_request()
        values = batch | source
        for port in self.compiled.inputs:
            name = _one(port.get_names(), values)
            request.set_tensor(port, ov.Tensor(values[name], shared_memory=True))
        written = self.results | {f"next.{name}": array for name, array in target.items()}
        for port in self.compiled.outputs:
            name = _one(port.get_names(), written)
            request.set_tensor(port, ov.Tensor(written[name], shared_memory=True))
        return request

    def step(self, i: int) -> None:
        requests = self.requests[self.count & 1]
        self.last = requests[i % len(requests)]
        self.last.infer()
        self.count += 1

    def sync(self) -> None:
        self.last.wait()

    def touch(self) -> None:
        for array in (*self.results.values(), *self.buffers[self.count & 1].values()):
            array.reshape(-1)[0].item()

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        return self.results

    def state(self) -> Iterator[tuple[str, NDArray[Any]]]:
        yield from self.buffers[self.count & 1].items()

    def effective(self) -> Mapping[str, str | int | float | bool]:
        def read(key: str) -> Any:
            return self.compiled.get_property(key)

        precision = str(read("INFERENCE_PRECISION_HINT")).lower()
        return {
            "device": "/".join(read("EXECUTION_DEVICES")).lower(),
            "precision": "fp32" if "float32" in precision or "f32" in precision else precision,
            "inference_precision_hint": precision,
            "performance_hint": str(read("PERFORMANCE_HINT")),
            "threads": int(read("INFERENCE_NUM_THREADS")),
            "streams": str(read("NUM_STREAMS")),
            "compile_mode": "openvino",
            "optimizer": f"workloads.optim.{type(self.request.workload.optimizer).__name__}",
        }


def _one(names: set[str], known: Mapping[str, Any]) -> str:
    """Returns the one of a port's names that is ours: OpenVINO adds aliases of its own."""
    ours = sorted(name for name in names if name in known)
    if len(ours) != 1:
        raise ValueError(f"expected exactly one of the port's names {sorted(names)} among {sorted(known)[:8]} …")
    return ours[0]
