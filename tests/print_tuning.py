"""Prints what each option of each adapter does to each workload that it can change: an A/B against the default.

    python -m tests.print_tuning [PAIRS [BACKEND…]]

A run of `--ab` for each line; the runs stay under results/runs/tuning, and a line that is there already is not measured
again. On a machine that does nothing else.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import backends
from results.pairs import pairs_of, render_pairs
from results.run import find_runs, read_run

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "results" / "runs" / "tuning"
IMAGES = ("resnet50",)
ALL = ("mlp", "resnet50", "gpt2", "bert_base")
CHANGES = {"memory_format": IMAGES, "conv_1x1": IMAGES, "conv_layout": IMAGES}
"""The workloads that an option can change; all of them where it is not named."""


def main(pairs: str, names: list[str]) -> None:
    for backend in names or ["torch_cpu", "jax_cpu", "onnxruntime_cpu", "openvino_cpu", "torch_compile_cpu"]:
        for option, (_, *others) in backends.get(backend).options.items():
            for value in others:
                setting = f"{option}={value}"
                folder = FOLDER / f"{backend}-{option}-{value}"
                if not (folder.is_dir() and find_runs(folder)):
                    workloads = ",".join(CHANGES.get(option, ALL))
                    command = [sys.executable, "-m", "pytest", "bench", "-q", "--workloads", workloads]
                    command += ["--backends", backend, "--ab", "base", setting, "--pairs", pairs]
                    command += ["--benchmark-max-time", "1.5", "--results-dir", str(folder)]
                    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
                for run in find_runs(folder):
                    print(f"\n{backend} {setting}\n{render_pairs(pairs_of(read_run(run)))}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1:] else "12", sys.argv[2:])
