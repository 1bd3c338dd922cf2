"""OpenVINO: a compiled model with its buffers shared, on any OpenVINO device."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from time import perf_counter_ns
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from backends._arithmetic import SHORT, in_words
from backends._graphs import graph_of, with_optimizer, zeros
from backends._openvino_constants import separate_squares
from backends._openvino_lacks import compiled, read
from backends.base import ONE_GRAPH, Effective, Flow, Operator, Request, Step
from workloads.count import output_names
from workloads.precision import FLOAT32, Precision

PRODUCTS = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul", "ScaledDotProductAttention"})
"""Types of executed layers that multiply matrices (CPU plugin, 2026.4)."""


class OpenVinoStep(Step):
    """A step of an ONNX graph as OpenVINO infer requests that share NumPy's memory.

    Training state lives in two sets of buffers that swap roles from step to step; one buffer as input and
    output is undefined.
    """

    def __init__(self, request: Request, device: str) -> None:
        self.request = request
        self.device = device
        self.core = ov.Core()
        self.hint = {"PERFORMANCE_HINT": request.options.get("hint", "latency").upper()}
        self.count = 0
        self.model = read(self.core, str(graph_of(request)))
        if request.program.update is not None:
            separate_squares(self.model)
        initial = request.program.initial_state(request.parameters, zeros)
        self.buffers = [{name: np.array(a) for name, a in initial.items()} for _ in range(2)]
        self.batches = [{s.name: np.array(b[s.name]) for s in request.program.inputs} for b in request.batches]

    def compile(self) -> None:
        self.compiled = self.compile_model(self.hint)
        ours = output_names(self.request.program)
        self.results = {
            name: np.zeros(tuple(port.shape), port.element_type.to_dtype())
            for port in self.compiled.outputs
            for name in port.get_names()
            if name in ours
        }
        self._bind_all()

    def _bind_all(self) -> None:
        """Makes one request for each batch and each direction between the two sets of buffers."""
        directions = [self.buffers, self.buffers[::-1]]
        self.requests = [[self._bind(batch, *pair) for batch in self.batches] for pair in directions]

    def compile_model(self, hints: Mapping[str, Any]) -> Any:
        """Returns the model compiled with these hints, in the precision and with the threads of the request."""
        fixed: dict[str, Any] = {
            # Without it a CPU that can do bf16 runs an fp32 model in bf16.
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": self.request.threads,
            # Off by default: the parent has pinned the process already.
            "ENABLE_CPU_PINNING": self.request.options.get("pinning") == "on",
        }
        if self.request.precision.is_quantized:
            fixed["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 0  # else activations are in codes where weights alone are
        return compiled(self.core, self.model, self.device, {**fixed, **hints})

    def _bind(self, batch: dict[str, Any], source: dict[str, Any], target: dict[str, Any]) -> Any:
        request = self.compiled.create_infer_request()
        values = batch | source
        for port in self.compiled.inputs:
            name = one_name(port.get_names(), values)
            request.set_tensor(port, ov.Tensor(values[name], shared_memory=True))
        written = self.results | {f"next.{name}": array for name, array in target.items()}
        for port in self.compiled.outputs:
            name = one_name(port.get_names(), written)
            request.set_tensor(port, ov.Tensor(written[name], shared_memory=True))
        return request

    def step(self, i: int) -> None:
        requests = self.requests[self.count & 1]
        self.last = requests[i % len(requests)]
        self.last.infer()
        self.count += 1

    def sync(self) -> None:
        self.last.wait()

    def parts(self) -> str:
        return ONE_GRAPH

    def touch(self) -> None:
        for array in (*self.results.values(), *self.buffers[self.count & 1].values()):
            array.reshape(-1)[0].item()

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        return self.results

    def state(self) -> Iterator[tuple[str, NDArray[Any]]]:
        yield from self.buffers[self.count & 1].items()

    def restart(self, parameters: Mapping[str, NDArray[Any]]) -> None:
        initial = self.request.program.initial_state(parameters, zeros)
        for buffers in self.buffers:
            for name, array in buffers.items():
                np.copyto(array, initial[name])
        self.count = 0

    def operators(self, steps: int) -> list[Operator]:
        self.compiled = self.compile_model({**self.hint, "PERF_COUNT": True})
        self._bind_all()
        self.step(0)
        first = self.last.get_profiling_info()
        for i in range(1, 1 + steps):
            self.step(i)
        return operators_of(first, self.last.get_profiling_info(), steps)

    def effective(self) -> Effective:
        return with_optimizer(effective_of(self.compiled, self.request.precision), self.request.program)

    def flows(self) -> list[Callable[[], Flow]]:
        """Requests in flight as OpenVINO's own hint for throughput has it, and with a stream for every thread."""
        if self.request.program.state or self.request.precision.is_quantized:
            # With several streams OpenVINO (2026.4) computes convolutions of weights in codes wrongly, now and then.
            return []
        hints: list[dict[str, Any]] = [{"PERFORMANCE_HINT": "THROUGHPUT"}]
        if self.request.threads > 1:
            hints.append({"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": self.request.threads})
        return [partial(OpenVinoFlow, self, hint) for hint in hints]


class OpenVinoFlow(Flow):
    """An `AsyncInferQueue` of requests, each bound to one batch and to results of its own."""

    def __init__(self, step: OpenVinoStep, hints: Mapping[str, Any]) -> None:
        self.compiled = step.compile_model(hints)
        self.precision = step.request.precision
        batches = step.batches
        # At least one for each batch, so that batches rotate though every request keeps its own.
        self.in_flight = max(len(batches), int(self.compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")))
        streams = int(self.compiled.get_property("NUM_STREAMS"))
        each = int(self.compiled.get_property("INFERENCE_NUM_THREADS")) // max(1, streams)
        self.setting = {"streams": streams, "threads_per_stream": each, "requests": self.in_flight}
        self.queue = ov.AsyncInferQueue(self.compiled, self.in_flight)
        self.written: list[tuple[int, dict[str, Any]]] = []
        for number in range(self.in_flight):
            batch = number % len(batches)
            request = self.queue[number]
            for port in self.compiled.inputs:
                array = batches[batch][one_name(port.get_names(), batches[batch])]
                request.set_tensor(port, ov.Tensor(array, shared_memory=True))
            results: dict[str, Any] = {}
            for port in self.compiled.outputs:
                array = np.zeros(tuple(port.shape), port.element_type.to_dtype())
                request.set_tensor(port, ov.Tensor(array, shared_memory=True))
                results |= dict.fromkeys(port.get_names(), array)
            self.written.append((batch, results))
        self.queue.set_callback(self._complete)

    def _complete(self, request: Any, number: int) -> None:
        self.ends[number] = perf_counter_ns()

    def run(self, least: int, seconds: float) -> list[tuple[int, int]]:
        starts: list[int] = []
        self.ends: dict[int, int] = {}
        queue = self.queue
        end = perf_counter_ns() + round(seconds * 1e9)
        while len(starts) < max(least, self.in_flight) or perf_counter_ns() < end:
            queue.get_idle_request_id()  # waits for one
            starts.append(perf_counter_ns())
            queue.start_async(userdata=len(starts) - 1)
        queue.wait_all()
        return [(start, self.ends[number]) for number, start in enumerate(starts)]

    def outputs(self) -> Iterator[tuple[int, Mapping[str, NDArray[Any]]]]:
        yield from self.written

    def effective(self) -> Effective:
        return effective_of(self.compiled, self.precision)

    def close(self) -> None:
        del self.queue, self.compiled


def operators_of(first: Iterable[Any], last: Iterable[Any], steps: int) -> list[Operator]:
    """Returns the time by type of node of `steps` steps, from what the counters said before and after them.

    The CPU plugin's counters are means over all steps so far, in whole microseconds (2026.4), so that the first step
    has to be taken out again.
    """
    before = {node.node_name: node.real_time.total_seconds() for node in first}
    seconds: defaultdict[str, float] = defaultdict(float)
    calls: Counter[str] = Counter()
    for node in last:
        mean_s = node.real_time.total_seconds()
        if mean_s > 0:  # else fused into another node, or too short for the counter
            # A reference implementation has one type whatever it does; its name says more.
            name = f"Reference:{node.node_name}" if node.node_type == "Reference" else node.node_type
            seconds[name] += ((1 + steps) * mean_s - before[node.node_name]) / steps
            calls[name] += 1
    return [Operator(name, max(0.0, seconds[name]), calls[name]) for name in seconds]


def products_of(compiled: Any) -> Counter[str]:
    """Returns how many products of the executed layers run in each type. A `Subgraph` may hide one that it fused.

    The kernel's own name is believed before the layer's type, which is that of a weight too: `brgemm_avx2_f32`.
    """
    found: Counter[str] = Counter()
    for layer in compiled.get_runtime_model().get_ordered_ops():
        told = layer.get_rt_info()
        if str(told["layerType"].value) in PRODUCTS:
            of_kernel = str(told["primitiveType"].value).rpartition("_")[2].lower()
            found[of_kernel if of_kernel in SHORT.values() else str(told["runtimePrecision"].value)] += 1
    return found


def effective_of(compiled: Any, asked: Precision) -> Effective:
    """Returns what a compiled model says of itself: device, precision, threads, streams.

    Its hint lowers float32 and raises nothing: under `f32` the graph's own types are what runs.
    """

    def read(key: str) -> Any:
        return compiled.get_property(key)

    precision = str(read("INFERENCE_PRECISION_HINT")).lower()
    more: dict[str, str | int | float | bool] = (
        {"arithmetic": in_words(products_of(compiled))} if asked.is_lower else {}
    )
    return Effective(
        device="/".join(read("EXECUTION_DEVICES")).lower(),
        precision=asked.name if FLOAT32 in precision or "f32" in precision else precision,
        threads=int(read("INFERENCE_NUM_THREADS")),
        more=more
        | {
            "inference_precision_hint": precision,
            "performance_hint": str(read("PERFORMANCE_HINT")),
            "streams": int(read("NUM_STREAMS")),
            "cpu_pinning": bool(read("ENABLE_CPU_PINNING")),
            "compile_mode": "openvino",
        },
    )


def one_name(names: set[str], tensors: Mapping[str, Any]) -> str:
    """Returns the one of a port's names that is ours: OpenVINO adds aliases of its own."""
    ours = sorted(name for name in names if name in tensors)
    if len(ours) != 1:
        raise ValueError(f"expected exactly one of the port's names {sorted(names)} among {sorted(tensors)[:8]} …")
    return ours[0]
