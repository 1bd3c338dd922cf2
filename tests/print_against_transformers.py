"""Prints how long our steps take beside those of Hugging Face's models: same weights, same optimiser, same threads.

    python tests/print_against_transformers.py [PAIRS] [WORKLOAD…]

At the published size, each comparison in a process of its own: the torch training step, the torch inference step, and
the inference graph on ONNX Runtime beside an export of theirs by the same exporter. ABBA pairs, the median of their
ratios ours/theirs, and its 95 % interval by order statistics. Needs the extra `world`; nothing is downloaded.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# ruff: noqa: E402 - a script that imports from its own checkout
import numpy as np

import backends
from backends._graphs import ONNX, ONNX_FILE
from backends.base import Request, Step
from bench.cell import Cell
from bench.effort import Effort
from bench.parent.cache import Cache, default_root
from bench.parent.environment import child_environment
from bench.parent.suite import Suite
from host.topology import usable_cpus
from tests.fakes.steps import request_in, widest
from tests.print_fidelity import interval
from workloads.catalog import load

COMPARISONS = (("train", "torch_cpu"), ("infer", "torch_cpu"), ("infer", "onnxruntime_cpu"))
WARM_UP = 3
LEAST_PAIRS = 6
"""The range of 5 values holds their median with 94 % only."""


class TheirTorch:
    """Their model in eager torch, as in any tutorial."""

    def __init__(self, request: Request) -> None:
        import torch

        from backends._torch import native_optimizer
        from backends._torch_ops import to_torch
        from tests import transformers_models as theirs

        self.torch, self.theirs, self.request = torch, theirs, request
        name = request.workload.name
        self.model = theirs.with_our_weights(name, theirs.build(name, request.workload.size), request.parameters)
        self.model.train(request.program.update is not None)
        self.batches = [{k: to_torch(a, theirs.CPU) for k, a in batch.items()} for batch in request.batches]
        if request.program.update is not None:
            self.optimizer = native_optimizer(request.program.update.rule, list(self.model.parameters()))

    def step(self, i: int) -> None:
        name, batch = self.request.workload.name, self.batches[i % 2]
        if self.request.program.update is None:
            with self.torch.inference_mode():
                self.last = self.theirs.infer(name, self.model, batch)
            return
        self.optimizer.zero_grad()
        loss = self.theirs.loss(name, self.model, batch)
        loss.backward()
        self.optimizer.step()
        self.last = {"loss": loss.detach()}

    def sync(self) -> None:
        """On the CPU every call has already waited."""

    def outputs(self) -> dict[str, np.ndarray]:
        return {name: tensor.numpy() for name, tensor in self.last.items()}


def export_theirs(request: Request, path: Path) -> None:
    """Writes their inference step as our exporter writes ours: same opset, same names of inputs and outputs."""
    import torch

    from backends._onnx_export import OPSET
    from backends._torch_ops import to_torch
    from tests import transformers_models as theirs

    workload = request.workload

    class Inference(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            model = theirs.build(workload.name, workload.size)
            self.model = theirs.with_our_weights(workload.name, model, request.parameters).eval()

        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            batch = {spec.name: x for spec, x in zip(request.program.inputs, inputs, strict=True)}
            return tuple(theirs.infer(workload.name, self.model, batch).values())

    module = Inference().eval()
    inputs = tuple(to_torch(request.batches[0][spec.name], theirs.CPU) for spec in request.program.inputs)
    with torch.no_grad():
        batch = {spec.name: x for spec, x in zip(request.program.inputs, inputs, strict=True)}
        names = list(theirs.infer(workload.name, module.model, batch))
    program = torch.onnx.export(
        module,
        inputs,
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=[spec.name for spec in request.program.inputs],
        output_names=names,
    )
    program.save(str(path), external_data=True)


def prepared(request: Request, backend: str) -> Step:
    """Returns our step, compiled."""
    step = backends.get(backend).prepare(request)
    step.compile()
    return step


def must_agree(ours: Step, theirs: Step | TheirTorch, request: Request) -> None:
    """Raises ValueError unless the first step of both computes the same."""
    quantity = request.program.checks.quantity
    allowed = widest(request.workload)[quantity]
    ours.step(0)
    theirs.step(0)
    other = theirs.outputs()
    for name, array in ours.outputs().items():
        error = np.linalg.norm(np.float64(array) - np.float64(other[name])) / np.linalg.norm(np.float64(other[name]))
        if not error <= allowed:
            raise ValueError(f"{name} differs by {error:.1e}, at most {allowed:.1e} is rounding: not the same step")


def measure(workload_name: str, phase: str, backend: str, pairs: int) -> None:
    """Prints one line: the time of both steps and the ratio ours/theirs."""
    adapter, workload, threads = backends.get(backend), load(workload_name), len(usable_cpus())
    cell = Cell(workload_name, workload.size, phase, backend, workload.batch, workload.sequence, "fp32", threads)
    with tempfile.TemporaryDirectory() as folder:
        suite = Suite(Cache(default_root(os.environ), print), Path(folder), Effort(0, 0, 0, 1))
        # Both steps are held against each other: what the reference computes need not be made.
        entries = suite.entries(cell, workload, SimpleNamespace(verifiable=False, artifacts=adapter.artifacts))
        request = request_in(entries, adapter, workload, phase, threads)
        adapter.load(request)
        ours = prepared(request, backend)
        theirs: Step | TheirTorch
        if not request.artifacts:
            theirs = TheirTorch(request)
        else:
            of_theirs = Path(folder) / "theirs"
            of_theirs.mkdir()
            export_theirs(request, of_theirs / ONNX_FILE)
            theirs = prepared(replace(request, artifacts={ONNX.name: of_theirs}), backend)
        must_agree(ours, theirs, request)

        def seconds(step: Step | TheirTorch, i: int) -> float:
            start = perf_counter()
            step.step(i)
            step.sync()
            return perf_counter() - start

        for i in range(WARM_UP):
            seconds(ours, i)
            seconds(theirs, i)
        our_times, their_times = [], []
        for _ in range(pairs):
            a, b = seconds(ours, 0), seconds(theirs, 0)
            b, a = b + seconds(theirs, 1), a + seconds(ours, 1)
            our_times.append(a / 2)
            their_times.append(b / 2)
    ratios = [a / b for a, b in zip(our_times, their_times, strict=True)]
    low, high = interval(ratios)
    ours_ms, theirs_ms = median(our_times) * 1e3, median(their_times) * 1e3
    print(
        f"{workload_name:10} {phase:6} {backend:16} {ours_ms:8.0f} ms {theirs_ms:8.0f} ms"
        f"  {median(ratios):.3f}  [{low:.3f}, {high:.3f}]  {'ok' if low <= 1 else 'SLOWER'}",
        flush=True,
    )


def main() -> None:
    """Runs every comparison in a process of its own."""
    if len(sys.argv) == 5 and (sys.argv[2], sys.argv[3]) in COMPARISONS:
        measure(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
        return
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    if pairs < LEAST_PAIRS:
        raise SystemExit(f"{pairs} pairs have no 95 % interval; give at least {LEAST_PAIRS}")
    print(f"ours, theirs, ours / theirs: {pairs} ABBA pairs, median and 95 % interval; aim: the lower end at most 1")
    for workload_name in sys.argv[2:] or ("gpt2", "bert_base", "resnet50"):
        for phase, backend in COMPARISONS:
            command = [sys.executable, __file__, workload_name, phase, backend, str(pairs)]
            subprocess.run(command, env=child_environment(os.environ, len(usable_cpus())), check=True)


if __name__ == "__main__":
    main()
