"""Prints what each option of each adapter does to `gpt2` and `resnet50`, both phases: an A/B against the default.

    python -m tests.print_tuning [PAIRS [BACKEND…]]

A run of `--ab` for each line; the runs stay under results/tuning, and a line that is there already is not measured
again. On a machine that does nothing else.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import backends
from results.record.dimensions import SHARED
from results.record.run import find_runs, read_run
from results.tables.pairs import pairs_of

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "results" / "tuning"
BACKENDS = ("torch_cpu", "jax_cpu", "onnxruntime_cpu", "openvino_cpu", "torch_compile_cpu")
ONLY = {
    "memory_format": ("--workloads", "resnet50"),
    "conv_1x1": ("--workloads", "resnet50"),
    "conv_layout": ("--workloads", "resnet50"),
    "freezing": ("--phases", "infer"),
}
"""What an option can change, where that is not all."""
KEPT = "env.MALLOC_MMAP_MAX_=0,env.MALLOC_TRIM_THRESHOLD_=17179869184,env.MALLOC_TOP_PAD_=1073741824"
AROUND = {
    "torch_cpu": (KEPT,),
    "jax_cpu": (KEPT, "env.XLA_FLAGS=--xla_cpu_prefer_vector_width=512"),
}
"""What is around a runtime rather than in it: glibc's allocator (mallopt(3)), the compiler's flags."""


def settings(backend: str) -> list[str]:
    """Returns what is held against the default of `backend`."""
    options = backends.get(backend).options
    return [f"{option}={value}" for option, (_, *others) in options.items() for value in others] + [
        *AROUND.get(backend, ())
    ]


def main(pairs: str, names: list[str]) -> None:
    print("backend, setting: workload phase (metric) time over the default's, 99 % interval: verdict")
    for backend in names or BACKENDS:
        for setting in settings(backend):
            folder = FOLDER / f"{backend}-{''.join(c if c.isalnum() else '-' for c in setting)[:60]}"
            if not (folder.is_dir() and find_runs(folder)):
                command = [sys.executable, "-m", "pytest", "bench", "-q", "--backends", backend]
                command += ["--workloads", "gpt2,resnet50", *ONLY.get(setting.partition("=")[0], ())]
                command += ["--ab", "base", setting, "--pairs", pairs, "--benchmark-max-time", "1"]
                command += ["--results-dir", str(folder)]
                subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
            for run in find_runs(folder):
                for one in pairs_of(read_run(run)):
                    cell, found = dict(zip(SHARED, one.cell, strict=True)), one.result
                    said = one.reason
                    if found is not None:
                        interval = "" if found.low is None else f" [{found.low:.3f}, {found.high:.3f}]"
                        said = f"{found.ratio:.3f}{interval}: {found.verdict}"
                    print(f"{backend}, {setting}: {cell['workload']} {cell['phase']} ({one.metric}) {said}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1:] else "8", sys.argv[2:])
