"""Prints what training steps hold in memory: of all parameters, with activations computed again, of adapters alone.

    python -m tests.print_memory [WORKLOAD[-SIZE] [BATCH [SEQUENCE [BACKEND…]]]]

Each in a process of its own, in true fp32, and not verified here: so a long sequence takes minutes, not hours. Losses
are printed, and those of a step with and without `checkpoint` are to agree. Linux alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import backends
from bench.cell import Cell
from bench.child.memory import forget_peak, give_back, peak_bytes, peak_since_forgotten_bytes
from bench.effort import ONE_STEP
from bench.parent.cache import Cache, default_root
from bench.parent.plans.options import cores
from bench.parent.suite import Suite
from workloads.catalog import CATALOG, phases_of

ROOT = Path(__file__).resolve().parents[1]
BACKENDS = ("torch_cpu", "jax_cpu", "onnxruntime_cpu", "openvino_cpu")
STEPS = 3
KINDS: dict[str, dict[str, Any]] = {
    "train": {"phase": "train"},
    "train, checkpoint blocks": {"phase": "train", "checkpoint": "blocks"},
    "lora": {"phase": "lora", "rank": 8},
}


def held(columns: dict[str, Any]) -> dict[str, Any]:
    """Returns what a step holds between steps and at most in one, and what the process held before, in bytes."""
    from bench.child.settings import request_of, setting_of

    cell = Cell(**columns)
    adapter = backends.get(cell.backend)
    with tempfile.TemporaryDirectory() as logs:
        suite = Suite(Cache(default_root(os.environ), lambda text: None), Path(logs), ONE_STEP)
        setting = setting_of(cell, adapter.chosen_options({}))
        unverified = type(adapter.name, (type(adapter),), {"verifiable": False})()
        entries = {name: one.path for name, one in suite.entries(cell, setting.workload, unverified).items()}
        adapter.load(setting)
        step = adapter.prepare(request_of(setting, adapter, entries))
        step.compile()
        losses = []
        for i in range(STEPS):
            if i == 1:
                give_back()
                before = peak_bytes()
                if not forget_peak():
                    raise SystemExit("this system lets no process begin its peak anew: run it on Linux")
                at_rest = peak_since_forgotten_bytes()
            step.step(i)
            step.sync()
            losses.append(float(step.outputs()["loss"]))
        most = peak_since_forgotten_bytes()
        step.close()
    return {"at_rest": at_rest, "most": most, "before": before, "losses": losses}


def main(workload: str = "gpt2", batch: str = "1", sequence: str = "1024", *names: str) -> None:
    name, _, size = workload.partition("-")
    length = int(sequence) if CATALOG[name].SEQUENCES else None
    print("MB: between steps, at most in a step; with the first step, compiling and building; losses")
    for backend in names or BACKENDS:
        for kind, more in KINDS.items():
            if more["phase"] not in phases_of(name):
                continue
            columns = {"workload": name, "size": size or CATALOG[name].PUBLISHED, "backend": backend, **more}
            columns |= {"batch": int(batch), "sequence": length, "precision": "fp32", "threads": cores()}
            command = [sys.executable, "-m", "tests.print_memory", "--only", json.dumps(columns)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                said = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
                print(f"{backend}, {kind}: {said[-1]}", flush=True)
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            rest, most, before = (round(found[name] / 1e6) for name in ("at_rest", "most", "before"))
            losses = " ".join(f"{loss:.6f}" for loss in found["losses"])
            print(f"{backend}, {kind}: {rest:,} {most:,}; {before:,}; {losses}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--only"]:
        print(json.dumps(held(json.loads(sys.argv[2]))))
    else:
        main(*sys.argv[1:])
