"""ONNX Runtime: a session with bound buffers, on any execution provider."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from backends.base import Request, Step
from workloads.workload import initial_state

DTYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


class OnnxRuntimeStep(Step):
    """A step of an ONNX graph with all inputs and outputs bound.

    Training state lives in two sets of buffers that swap roles from step to step: with one buffer bound as
    input and as output ONNX Runtime trains to garbage without an error (1.32.0).
    """

    def __init__(self, request: Request, provider: str) -> None:
        self.request = request
        self.provider = provider
        self.count = 0
        self.options = ort.SessionOptions()
        self.options.intra_op_num_threads = request.threads
        self.options.inter_op_num_threads = 1
        self.options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")

    def compile(self) -> None:
        request = self.request
        self.session = ort.InferenceSession(str(request.graph), self.options, providers=[self.provider])
        self.session.disable_fallback()
        batches = [
            {s.name: self._value(b[s.name]) for s in request.workload.phase_inputs(request.phase)}
            for b in request.batches
        ]
        self.buffers: list[dict[str, Any]] = [{}, {}]
        if request.phase == "train":
            initial = initial_state(request.workload, request.parameters, np.zeros_like)
            self.buffers = [{name: self._value(a) for name, a in initial.items()} for _ in range(2)]
        held = {f"next.{name}" for name in self.buffers[0]}
        self.results = {
            o.name: self._value(np.zeros(o.shape, DTYPES[o.type]))
            for o in self.session.get_outputs()
            if o.name not in held
        }
        # One binding for each batch and each direction between the two sets of buffers.
        self.bindings = [[self._bind(batch, *pair) for batch in batches] for pair in self._directions()]

    def _value(self, array: NDArray[Any]) -> Any:
        return ort.OrtValue.ortvalue_from_numpy(np.array(array))

    def _directions(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        a, b = self.buffers
        return [(a, b), (b, a)]

    def _bind(self, batch: dict[str, Any], source: dict[str, Any], target: dict[str, Any]) -> Any:
        binding = self.session.io_binding()
        for name, value in (batch | source).items():
            binding.bind_ortvalue_input(name, value)
        for name, value in self.results.items():
            binding.bind_ortvalue_output(name, value)
        for name, value in target.items():
            binding.bind_ortvalue_output(f"next.{name}", value)
        return binding

    def step(self, i: int) -> None:
        bindings = self.bindings[self.count & 1]
        self.last = bindings[i % len(bindings)]
        self.session.run_with_iobinding(self.last)
        self.count += 1

    def sync(self) -> None:
        self.last.synchronize_outputs()

    def touch(self) -> None:
        for value in (*self.results.values(), *self.buffers[self.count & 1].values()):
            value.numpy().reshape(-1)[0].item()

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        return {name: value.numpy() for name, value in self.results.items()}

    def state(self) -> Iterator[tuple[str, NDArray[Any]]]:
        for name, value in self.buffers[self.count & 1].items():
            yield name, value.numpy()

    def effective(self) -> Mapping[str, str | int | float | bool]:
        placed: Counter[str] = Counter()
        for group in self.session.get_provider_graph_assignment_info():
            placed[group.ep_name] += len(group.get_nodes())
        floats = {o.type for o in (*self.session.get_inputs(), *self.session.get_outputs()) if "int" not in o.type}
        options = self.session.get_session_options()
        return {
            "device": "cpu" if set(placed) == {"CPUExecutionProvider"} else "/".join(sorted(placed)),
            "precision": "fp32" if floats == {"tensor(float)"} else "/".join(sorted(floats)),
            "provider": self.session.get_providers()[0],
            "nodes_by_provider": " ".join(f"{name}:{n}" for name, n in sorted(placed.items())),
            "threads": options.intra_op_num_threads,
            "compile_mode": f"graph optimisation {options.graph_optimization_level.name}",
            "optimizer": f"workloads.optim.{type(self.request.workload.optimizer).__name__}",
        }
