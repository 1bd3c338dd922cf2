"""Prints what an adapter adds to its runtime: its step against a hand-written loop, same file, same settings.

    python tests/print_fidelity.py [PAIRS] [WORKLOAD…]

For each CPU runtime and phase, in a process of its own: ABBA pairs, the median of their ratios adapter/bare, and its
95 % interval by order statistics. Artifacts come from the cache.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from math import comb
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# ruff: noqa: E402 - a script that imports from its own checkout
import numpy as np

import backends
from backends._graphs import ONNX, ONNX_FILE, zeros
from backends._memory import set_memory
from backends.base import Request
from bench.cell import Cell
from bench.effort import Effort
from bench.parent.cache import Cache, default_root
from bench.parent.environment import child_environment
from bench.parent.suite import Suite
from host.topology import usable_cpus
from tests.fakes.steps import request_in
from workloads.catalog import load
from workloads.ops import Scoped

WARM_UP = 2


def bare_torch(request: Request) -> Callable[[int], None]:
    """A training loop as in any tutorial, over the same functions, with the adapter's layout and allocator."""
    import torch

    from backends._torch_ops import EagerTorchOps

    layout = request.options.get("memory_format")
    last = layout == "channels_last" or (layout == "mixed" and request.program.update is None)

    def tensor(array: np.ndarray) -> torch.Tensor:
        made = torch.from_numpy(array.copy())
        return made.to(memory_format=torch.channels_last) if last and made.dim() == 4 else made

    set_memory(request.options.get("memory", "returned"))
    program, ops = request.program, EagerTorchOps()
    tensors = {name: tensor(p) for name, p in request.parameters.items()}
    held = Scoped(tensors)
    batches = [{name: tensor(a) for name, a in batch.items()} for batch in request.batches]
    if (update := program.update) is None:

        @torch.inference_mode()
        def infer(i: int) -> None:
            program.outputs_of(ops, held, {}, batches[i % 2])

        return infer
    parameters = [tensors[spec.name].requires_grad_() for spec in update.trained]
    rule = update.rule.description()
    if rule["rule"] == "AdamW":
        optimizer: Any = torch.optim.AdamW(parameters, lr=rule["learning_rate"], weight_decay=0.01, fused=True)
    else:
        optimizer = torch.optim.SGD(parameters, lr=rule["learning_rate"], momentum=rule["momentum"], fused=True)

    def train(i: int) -> None:
        optimizer.zero_grad()
        loss, _ = update.loss(ops, held, batches[i % 2])  # running statistics change in place
        loss.backward()
        optimizer.step()

    return train


def bare_jax(request: Request) -> Callable[[int], None]:
    """`jax.jit` with donation, and a wait."""
    import jax

    from backends._jax import narrowed
    from backends._jax_ops import ops_of

    set_memory(request.options.get("memory", "returned"))
    program, ops = request.program, ops_of(request.options)
    tensors = {name: jax.numpy.array(p) for name, p in request.parameters.items()}
    batches = [{name: jax.numpy.array(narrowed(a)) for name, a in batch.items()} for batch in request.batches]
    constants = program.constants_of(tensors)
    if not program.state:
        inference = jax.jit(lambda p, batch: program.outputs_of(ops, p, {}, batch))
        return lambda i: jax.block_until_ready(inference(constants, batches[i % 2]))
    step = jax.jit(lambda s, batch: program.step(ops, constants, s, batch), donate_argnums=0)
    state = program.initial_state(tensors, jax.numpy.zeros)

    def train(i: int) -> None:
        nonlocal state
        loss, state = step(state, batches[i % 2])
        jax.block_until_ready((loss, state))

    return train


def _training_arrays(request: Request) -> list[dict[str, Any]]:
    initial = request.program.initial_state(request.parameters, zeros)
    return [{name: np.array(a) for name, a in initial.items()} for _ in range(2)]


def _batches(request: Request) -> list[dict[str, Any]]:
    names = [spec.name for spec in request.program.inputs]
    return [{name: np.array(batch[name]) for name in names} for batch in request.batches]


def bare_onnxruntime(request: Request) -> Callable[[int], None]:
    """A session with bound buffers; in training two sets of them."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = request.threads, 1
    session = ort.InferenceSession(
        str(request.artifacts[ONNX.name] / ONNX_FILE), options, providers=["CPUExecutionProvider"]
    )
    value = ort.OrtValue.ortvalue_from_numpy
    pair = [{name: value(a) for name, a in arrays.items()} for arrays in _training_arrays(request)]
    batches = [{name: value(a) for name, a in batch.items()} for batch in _batches(request)]
    bindings = []
    for i in range(2):
        binding = session.io_binding()
        for name, v in (batches[i] | pair[i]).items():
            binding.bind_ortvalue_input(name, v)
        for output in session.get_outputs():
            held = pair[1 - i].get(output.name.removeprefix("next."))
            if held is None:
                binding.bind_output(output.name)
            else:
                binding.bind_ortvalue_output(output.name, held)
        bindings.append(binding)
    return lambda i: session.run_with_iobinding(bindings[i % 2])


def bare_openvino(request: Request) -> Callable[[int], None]:
    """Two infer requests that share NumPy's memory."""
    import openvino as ov

    core = ov.Core()
    compiled = core.compile_model(
        str(request.artifacts[ONNX.name] / ONNX_FILE),
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": request.threads,
            "ENABLE_CPU_PINNING": False,
        },
    )
    pair, batches = _training_arrays(request), _batches(request)
    requests = []
    for i in range(2):
        infer_request = compiled.create_infer_request()
        for port in compiled.inputs:
            name = next(n for n in port.get_names() if n in batches[i] or n in pair[i])
            infer_request.set_tensor(port, ov.Tensor((batches[i] | pair[i])[name], shared_memory=True))
        for port in compiled.outputs:
            held = [n for n in port.get_names() if n.removeprefix("next.") in pair[1 - i]]
            if held:
                array = pair[1 - i][held[0].removeprefix("next.")]
                infer_request.set_tensor(port, ov.Tensor(array, shared_memory=True))
        requests.append(infer_request)
    shared = (core, compiled, pair, batches)  # the requests do not keep alive what they share

    def run(i: int) -> None:
        assert shared
        requests[i % 2].infer()

    return run


BARE = {
    "torch_cpu": bare_torch,
    "jax_cpu": bare_jax,
    "onnxruntime_cpu": bare_onnxruntime,
    "openvino_cpu": bare_openvino,
}


def interval(ratios: list[float]) -> tuple[float, float]:
    """Returns the 95 % interval of the median by order statistics (binomial with 1/2)."""
    ordered, n = sorted(ratios), len(ratios)
    k, below = 0, 0.0
    while (below := below + comb(n, k) / 2**n) <= 0.025:
        k += 1
    return ordered[max(k - 1, 0)], ordered[n - 1 - max(k - 1, 0)]


def measure(workload_name: str, phase: str, backend: str, pairs: int) -> None:
    """Prints one line: the ratio of the adapter's step to the bare one."""
    adapter, workload, threads = backends.get(backend), load(workload_name), len(usable_cpus())
    cell = Cell(workload_name, workload.size, phase, backend, workload.batch, workload.sequence, "fp32", threads)
    suite = Suite(Cache(default_root(os.environ), print), Path(tempfile.mkdtemp()), Effort(0, 0, 0, 1))
    entries = suite.entries(cell, workload, adapter)
    request = request_in(entries, adapter, workload, phase, threads, options=adapter.chosen_options({}))
    adapter.load(request)
    step = adapter.prepare(request)
    step.compile()
    bare = BARE[backend](request)

    def ours(i: int) -> None:
        step.step(i)
        step.sync()

    def seconds(run: Callable[[int], None], i: int) -> float:
        start = perf_counter()
        run(i)
        return perf_counter() - start

    for i in range(WARM_UP):
        ours(i)
        bare(i)
    ratios, times = [], []
    for _ in range(pairs):
        a, b = seconds(ours, 0), seconds(bare, 0)
        b, a = b + seconds(bare, 1), a + seconds(ours, 1)
        ratios.append(a / b)
        times.append(a / 2)
    low, high = interval(ratios)
    print(
        f"{workload_name:10} {phase:6} {backend:16} {median(times) * 1e3:8.0f} ms  "
        f"{median(ratios):.3f}  [{low:.3f}, {high:.3f}]  {'ok' if low <= 1.03 else 'SLOWER'}",
        flush=True,
    )


def main() -> None:
    """Runs every combination in a process of its own."""
    if len(sys.argv) == 5 and sys.argv[3] in BARE:
        measure(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
        return
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    print(f"adapter / bare loop, {pairs} ABBA pairs, median and 95 % interval; aim: the lower end at most 1.03")
    for workload_name in sys.argv[2:] or ("gpt2", "resnet50"):
        for phase in ("infer", "train"):
            for backend in BARE:
                command = [sys.executable, __file__, workload_name, phase, backend, str(pairs)]
                subprocess.run(command, env=child_environment(os.environ, len(usable_cpus())), check=True)


if __name__ == "__main__":
    main()
