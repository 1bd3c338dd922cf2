"""ONNX Runtime: a session with bound buffers, on any execution provider."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier
from time import perf_counter_ns
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from backends._arithmetic import in_words
from backends._graphs import carries_a_cache, graph_of, with_optimizer, zeros
from backends._onnx_arithmetic import graph_products
from backends.base import ONE_GRAPH, Effective, Flow, Operator, Request, Step
from workloads.own.onnx_file import FileProgram
from workloads.precision import CODES_TYPE, FP32

LEVELS = {
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
}
NOT_IN_8_BITS = ["MatMulAddFusion"]
"""What of the optimiser is left out there: with it products of codes become float32 ones (1.32)."""
SWITCH = {"on": "1", "off": "0"}
DTYPES: Mapping[str, type[np.generic]] = {
    **{"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16},
    **{"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(int16)": np.int16, "tensor(int8)": np.int8},
    **{"tensor(uint64)": np.uint64, "tensor(uint32)": np.uint32, "tensor(uint16)": np.uint16},
    **{"tensor(uint8)": np.uint8, "tensor(bool)": np.bool_},
}
"""What ONNX Runtime calls the types that its buffers and NumPy's share."""


class OnnxRuntimeStep(Step):
    """A step of an ONNX graph with all inputs and outputs bound.

    Training state lives in two sets of buffers that swap roles from step to step: with one buffer bound as
    input and as output ONNX Runtime trains to garbage without an error (1.32.0). A cache has one: TensorScatter, the
    only reader of the old one, writes in place.
    """

    def __init__(self, request: Request, provider: str) -> None:
        self.request = request
        self.provider = provider
        self.count = 0

    def compile(self) -> None:
        request = self.request
        self.session, self.arithmetic = open_session(request, self.provider, request.threads), ""
        if request.precision.is_lower or isinstance(request.program, FileProgram):
            self.arithmetic = in_words(products_of(request, self.provider))
        self.batches = [{s.name: self._value(b[s.name]) for s in request.program.inputs} for b in request.batches]
        initial = request.program.initial_state(request.parameters, zeros)
        first = {name: self._value(array) for name, array in initial.items()}
        in_place = carries_a_cache(request.program)
        self.buffers = [first, first if in_place else {name: self._value(array) for name, array in initial.items()}]
        held = {f"next.{name}" for name in self.buffers[0]}
        self.results = {
            o.name: self._value(np.zeros(o.shape, DTYPES[o.type]))
            for o in self.session.get_outputs()
            if o.name not in held
        }
        self._bind_all()

    def _value(self, array: NDArray[Any]) -> Any:
        return ort.OrtValue.ortvalue_from_numpy(np.array(array))

    def _bind_all(self) -> None:
        """Makes one binding for each batch and each direction between the two sets of buffers."""
        a, b = self.buffers
        self.bindings = [[self._bind(batch, *pair) for batch in self.batches] for pair in ((a, b), (b, a))]

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

    def parts(self) -> str:
        return ONE_GRAPH

    def touch(self) -> None:
        for value in (*self.results.values(), *self.buffers[self.count & 1].values()):
            value.numpy().reshape(-1)[0].item()

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        return {name: value.numpy() for name, value in self.results.items()}

    def state(self) -> Iterator[tuple[str, NDArray[Any]]]:
        for name, value in self.buffers[self.count & 1].items():
            yield name, value.numpy()

    def restart(self, parameters: Mapping[str, NDArray[Any]]) -> None:
        initial = self.request.program.initial_state(parameters, zeros)
        for buffers in self.buffers:
            for name, value in buffers.items():
                value.update_inplace(np.array(initial[name]))
        self.count = 0

    def operators(self, steps: int) -> list[Operator]:
        with TemporaryDirectory(prefix="samestep-operators-") as folder:
            self.session = open_session(self.request, self.provider, self.request.threads, Path(folder) / "profile")
            self._bind_all()
            # Two that are not counted: the second run takes new memory, by the pattern that the first one has shown.
            for i in range(2 + steps):
                self.step(i)
                self.sync()
            events = json.loads(Path(self.session.end_profiling()).read_bytes())
        return operators_of(events, steps)

    def effective(self) -> Effective:
        return with_optimizer(effective_of(self.session, self.arithmetic), self.request.program)

    def flows(self) -> list[Callable[[], Flow]]:
        """Several runs at once on one session, from a thread each: every way to share out the threads evenly."""
        threads = self.request.threads
        if self.request.program.state:
            return []
        counts = [n for n in range(2, threads + 1) if threads % n == 0]
        return [partial(OnnxRuntimeFlow, self.request, self.provider, streams, self.arithmetic) for streams in counts]


class OnnxRuntimeFlow(Flow):
    """Runs of one session from `streams` threads, each with buffers of its own. `run` lets go of Python's lock."""

    def __init__(self, request: Request, provider: str, streams: int, arithmetic: str = "") -> None:
        self.arithmetic = arithmetic
        each = request.threads // streams
        self.session = open_session(request, provider, each)
        self.in_flight = streams
        self.setting = {"streams": streams, "threads_per_stream": each, "requests": streams}
        value = ort.OrtValue.ortvalue_from_numpy
        self.results = [[self._results() for _ in request.batches] for _ in range(streams)]
        self.bindings = []
        for results in self.results:
            bindings = []
            for batch, result in zip(request.batches, results, strict=True):
                binding = self.session.io_binding()
                for spec in request.program.inputs:
                    binding.bind_ortvalue_input(spec.name, value(np.array(batch[spec.name])))
                for name, array in result.items():
                    binding.bind_ortvalue_output(name, array)
                bindings.append(binding)
            self.bindings.append(bindings)

    def _results(self) -> dict[str, Any]:
        value = ort.OrtValue.ortvalue_from_numpy
        return {o.name: value(np.zeros(o.shape, DTYPES[o.type])) for o in self.session.get_outputs()}

    def run(self, least: int, seconds: float) -> list[tuple[int, int]]:
        # Whole turns through the batches, so that every buffer is written.
        turns = len(self.bindings[0])
        quota = turns * ceil(least / self.in_flight / turns)
        begin = Barrier(self.in_flight)

        def stream(number: int) -> list[tuple[int, int]]:
            bindings, run = self.bindings[number], self.session.run_with_iobinding
            spans: list[tuple[int, int]] = []
            begin.wait()
            end = perf_counter_ns() + round(seconds * 1e9)
            i = number
            while len(spans) < quota or perf_counter_ns() < end:
                start = perf_counter_ns()
                run(bindings[i % turns])
                spans.append((start, perf_counter_ns()))
                i += 1
            return spans

        with ThreadPoolExecutor(self.in_flight) as pool:
            return [span for spans in pool.map(stream, range(self.in_flight)) for span in spans]

    def outputs(self) -> Iterator[tuple[int, Mapping[str, NDArray[Any]]]]:
        for results in self.results:
            for batch, result in enumerate(results):
                yield batch, {name: value.numpy() for name, value in result.items()}

    def effective(self) -> Effective:
        effective = effective_of(self.session, self.arithmetic)
        return replace(effective, threads=(effective.threads or 0) * self.in_flight)


def open_session(
    request: Request, provider: str, threads: int, profile: Path | None = None, optimized: Path | None = None
) -> Any:
    """Returns a session of the request's graph on `threads` threads, which never falls back to another provider.

    With `profile` it writes where time goes into a file whose name begins so, with `optimized` the graph that it runs.
    """
    options = ort.SessionOptions()
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    chosen = request.options
    options.graph_optimization_level = LEVELS[chosen.get("graph_level", "all")]
    options.add_session_config_entry("session.intra_op.allow_spinning", SWITCH[chosen.get("spinning", "on")])
    options.enable_cpu_mem_arena = chosen.get("arena", "on") == "on"
    options.enable_mem_pattern = chosen.get("memory_pattern", "on") == "on"
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    left_out: list[str] = []
    if request.precision.multiplied == CODES_TYPE:
        left_out = NOT_IN_8_BITS
        # Else sums of 8-bit products saturate at 16 bits on a CPU without VNNI.
        options.add_session_config_entry("session.x64quantprecision", "1")
    elif request.precision.is_quantized:
        # By its default it reads activations in codes where weights alone are.
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    path = str(graph_of(request))
    session = ort.InferenceSession(path, options, providers=[provider], disabled_optimizers=left_out)
    session.disable_fallback()
    return session


def operators_of(events: Sequence[Mapping[str, Any]], steps: int) -> list[Operator]:
    """Returns what a profile says of the last `steps` runs, by type of node; times in it are in microseconds."""
    runs = sorted((event for event in events if event["name"] == "model_run"), key=lambda event: int(event["ts"]))
    begin = int(runs[-steps]["ts"])
    seconds: defaultdict[str, float] = defaultdict(float)
    calls: Counter[str] = Counter()
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time") and int(event["ts"]) >= begin:
            name = event["args"]["op_name"]
            seconds[name] += event["dur"] * 1e-6
            calls[name] += 1
    return [Operator(name, seconds[name] / steps, calls[name] / steps) for name in seconds]


def products_of(request: Request, provider: str) -> Counter[str]:
    """Returns how many products of the graph that is run take operands of each type: of one opened for the purpose."""
    import onnx

    with TemporaryDirectory(prefix="samestep-optimized-") as folder:
        path = Path(folder) / "optimized.onnx"
        open_session(request, provider, 1, optimized=path)
        return graph_products(onnx.load(str(path), load_external_data=False).graph)


def effective_of(session: Any, arithmetic: str = "") -> Effective:
    """Returns what a session says of itself: where its nodes run, in what precision, on how many threads.

    `arithmetic` is what its products run in, where that is a precision that its inputs and outputs do not show.
    """
    placed: Counter[str] = Counter()
    for group in session.get_provider_graph_assignment_info():
        placed[group.ep_name] += len(group.get_nodes())
    floats = {
        o.type
        for o in (*session.get_inputs(), *session.get_outputs())
        if not any(kind in o.type for kind in ("int", "bool"))
    }
    options = session.get_session_options()
    provider = session.get_providers()[0]
    return Effective(
        device="cpu" if set(placed) == {"CPUExecutionProvider"} else "/".join(sorted(placed)),
        precision=None if arithmetic else FP32.name if floats == {"tensor(float)"} else "/".join(sorted(floats)),
        threads=options.intra_op_num_threads,
        more={
            "provider": provider,
            "nodes_by_provider": " ".join(f"{name}:{n}" for name, n in sorted(placed.items())),
            "nodes_share": placed[provider] / max(1, placed.total()),
            "compile_mode": f"graph optimisation {options.graph_optimization_level.name}",
            "spinning": options.get_session_config_entry("session.intra_op.allow_spinning"),
            "cpu_mem_arena": options.enable_cpu_mem_arena,
            "memory_pattern": options.enable_mem_pattern,
        }
        | ({"arithmetic": arithmetic} if arithmetic else {}),
    )
