"""Prints what the names of ResNet-50's blocks cost a step: searched each time, and looked up; and copies of statistics.

    python tests/print_names.py

The eager torch step searched and copied before 0.2; medians of turns that alternate, in one process.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from workloads.catalog import load
from workloads.ops import Parameters, Scoped, subset

TURNS = 200


def seconds(run: Callable[[], object]) -> float:
    start = perf_counter()
    run()
    return perf_counter() - start


def main() -> None:
    tensors = {spec.name: torch.zeros(spec.shape) for spec in load("resnet50").tensors}
    statistics = [name for name in tensors if name.endswith(("running_mean", "running_var"))]
    blocks = sorted({name.rpartition(".")[0] + "." for name in statistics})
    plain, scoped = dict(tensors), Scoped(tensors)

    def names(arrays: Parameters) -> None:
        for block in blocks:
            subset(arrays, block)

    def copies() -> None:
        for name in statistics:
            tensors[name].clone()

    runs = (lambda: names(plain), lambda: names(scoped), copies)
    for run in runs:
        run()
    turns = [[seconds(run) for run in runs] for _ in range(TURNS)]
    searched, looked_up, copied = (1e3 * median(times) for times in zip(*turns, strict=True))
    print(f"{len(blocks)} blocks: searched {searched:.3f} ms, looked up {looked_up:.3f} ms")
    print(f"{len(statistics)} running statistics: copied {copied:.3f} ms, in place 0 ms")


if __name__ == "__main__":
    main()
