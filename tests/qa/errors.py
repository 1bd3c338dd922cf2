"""Errors: correct code of every runtime, precision, seed, thread count and instruction set, against what is predicted.

    python -m tests.qa errors            # all of it: some 40 minutes on two cores

What is made once (parameters, codes, references, noise, graphs) serves all runtimes. Each then runs in a process of its
own, as itself and as other correct code: with one thread, and with the instruction sets of older chips.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import backends
from backends._graphs import ONNX
from backends.base import Adapter
from host.topology import usable_cpus
from tests.fakes.steps import MADE, make, make_in
from workloads.catalog import load
from workloads.precision import BF16, FP8, FP16, FP32, INT8, W8, Precision, precision_of
from workloads.recipes.int8 import why_undefined
from workloads.tolerance import FACTOR

SEEDS = tuple(map(int, os.environ.get("SAMESTEP_SEEDS", "0,1,2").split(",")))
PRECISIONS = (FP32, BF16, FP16, INT8, W8, FP8)
VARIANTS: dict[str, tuple[dict[str, str], ...]] = {
    "torch_cpu": ({"ATEN_CPU_CAPABILITY": "default", "DNNL_MAX_CPU_ISA": "SSE41"},),
    "jax_cpu": ({"XLA_FLAGS": "--xla_cpu_max_isa=AVX --xla_allow_excess_precision=false"},),
    "onnxruntime_cpu": (),
    "openvino_cpu": (),
}
"""Ways to have other correct code of a runtime on this machine, beside itself with all threads and with one.

Without AVX XLA (jax 0.10.2) does not find what converts float16.
"""
WRONG = {"DNNL_MAX_CPU_ISA": (INT8,)}
"""Where such a variant is not correct code: the sums of `torch._int_mm` (2.13) saturate where there is VNNI that oneDNN
may not use."""
ASKED = tuple(os.environ.get("SAMESTEP_BACKENDS", ",".join(VARIANTS)).split(","))
HALF, SHARE = 0.5, 0.99
CORE = ("bert_base", "gpt2", "mlp", "resnet50")


@dataclass(frozen=True)
class Made:
    """One program in one precision of one seed, with the folder of what was made for it."""

    workload: str
    phase: str
    precision: str
    seed: int
    folder: Path

    @property
    def precision_of(self) -> Precision:
        return precision_of(self.precision)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="samestep-errors-") as name:
        made = list(all_made(Path(name)))
        ratios: list[float] = []
        for backend, variants in VARIANTS.items():
            if backend not in ASKED:
                continue
            for threads, environment in [(len(usable_cpus()), {}), (1, {}), *((1, more) for more in variants)]:
                asked = made if not environment and threads > 1 else [one for one in made if one.seed == SEEDS[0]]
                wrong = [precision.name for name in environment for precision in WRONG.get(name, ())]
                found = children(backend, threads, environment, [one for one in asked if one.precision not in wrong])
                ratios += told(backend, threads, environment, found)
    within = sum(one <= HALF * FACTOR for one in ratios) / len(ratios)
    over = sum(one > FACTOR for one in ratios)
    said = f"{within:.2%} within half of the tolerance, {over} over it, at most {max(ratios):.2g} of {FACTOR:g}"
    print(f"  {len(ratios)} tensors: {said}")
    return 0 if within >= SHARE and not over else 1


def all_made(folder: Path) -> Iterator[Made]:
    """Makes parameters, references, noise and graphs of all programs, and yields them."""
    for seed in SEEDS:
        for name in CORE:
            workload = replace(load(name, "tiny"), seed=seed)
            for phase, program in workload.programs.items():
                for precision in PRECISIONS if phase != "prefill" else ():
                    if why_undefined(program, precision) or not _runs(phase, precision):
                        continue
                    (at := folder / f"{name}-{phase}-{precision.name}-{seed}").mkdir()
                    folders = make_in(at, workload, phase, MADE, precision)
                    if _runs(phase, precision, lambda adapter: ONNX in adapter.artifacts):
                        (at / ONNX.name).mkdir()
                        make(ONNX, workload, phase, at / ONNX.name, folders, precision)
                    print(f"    made {name} {phase} {precision.name} of seed {seed}", flush=True)
                    yield Made(name, phase, precision.name, seed, at)


def _runs(phase: str, precision: Precision, which: Callable[[Adapter], bool] = lambda adapter: True) -> bool:
    """Returns whether a backend that is asked, one of these, computes in the precision on this machine."""
    asked = filter(which, map(backends.get, ASKED))
    return any(adapter.why_unsupported(phase, precision.name) is None for adapter in asked)


def children(backend: str, threads: int, environment: dict[str, str], asked: Sequence[Made]) -> list[dict[str, Any]]:
    """Returns the ratios of real to predicted of a backend, from a process of its own for each workload.

    After some hundred programs XLA on a CPU cannot find what it has compiled (0.10.2).
    """
    by_workload = [[one for one in asked if one.workload == name] for name in CORE]
    return [found for ours in by_workload for found in child(backend, threads, environment, ours)]


def child(backend: str, threads: int, environment: dict[str, str], asked: Sequence[Made]) -> list[dict[str, Any]]:
    jobs = [{**vars(one), "folder": str(one.folder)} for one in asked]
    code = f"from tests.qa.errors import run; run({backend!r}, {threads})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(jobs),
        env={**os.environ, **environment, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def run(backend: str, threads: int) -> None:
    """Runs the jobs of the standard input, and prints what each tensor's error is of what is predicted for it."""
    from bench.child import noise
    from bench.child.checks import verify
    from bench.child.expected import load_expected
    from bench.child.settings import request_of
    from tests.fakes.steps import setting
    from workloads.tolerance import tolerances

    adapter, found, is_loaded = backends.get(backend), [], False
    for job in json.loads(sys.stdin.read()):
        precision, at = precision_of(job["precision"]), Path(job["folder"])
        if adapter.why_unsupported(job["phase"], job["precision"]):
            continue
        workload = replace(load(job["workload"], "tiny"), seed=job["seed"])
        asked = replace(setting(workload, job["phase"], threads), precision=precision)
        asked = replace(asked, options=adapter.chosen_options({}))
        folders = {path.name: path for path in at.iterdir()}
        folders["parameters"] = folders.get("codes", folders["parameters"])
        if not is_loaded:
            adapter.load(asked)
            is_loaded = True
        request = request_of(asked, adapter, folders)
        step = adapter.prepare(request)
        step.compile()
        observed, _ = verify.observe(step, request.program, request.parameters)
        allowed = tolerances(noise.load(folders["noise"]), precision)
        expected = load_expected(folders["expected"])
        deviations = verify.compare(observed, expected, allowed).deviations
        deviations += verify.compare_update(request.program, observed, request.parameters).deviations
        found.append(
            {
                "title": f"{job['workload']} {job['phase']} {job['precision']} of seed {job['seed']}",
                "precision": job["precision"],
                "ratios": [FACTOR * one.value / one.tolerance for one in deviations],
                "worst": str(max(deviations, key=lambda one: one.value / one.tolerance)),
            }
        )
        step.close()
    print(json.dumps(found))


def told(backend: str, threads: int, environment: dict[str, str], found: Sequence[dict[str, Any]]) -> list[float]:
    """Prints a line per precision, and one for each program of which a tensor is over half of its tolerance."""
    how = " ".join([f"t{threads}", *(f"{name}={value}" for name, value in environment.items())])
    for precision in dict.fromkeys(one["precision"] for one in found):
        ours = [ratio for one in found if one["precision"] == precision for ratio in one["ratios"]]
        within = sum(ratio <= HALF * FACTOR for ratio in ours) / len(ours)
        print(
            f"  {backend:16} {how:12} {precision:5} {len(ours):5} tensors, {within:.1%} within half of the tolerance,"
            f" real/predicted at most {max(ours):.2g} of {FACTOR:g}",
            flush=True,
        )
    for one in found:
        if max(one["ratios"]) > HALF * FACTOR:
            print(f"    {one['title']}: {one['worst']}", flush=True)
    return [ratio for one in found for ratio in one["ratios"]]
