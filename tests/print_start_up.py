"""Prints how long the doors take to open, median of 7 fresh processes: `python tests/print_start_up.py`."""

import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

ROOT = Path(__file__).resolve().parent.parent
# Without hypothesis' plugin, which belongs to this project's own tests.
DOORS = {
    "pytest bench/ --co -q": (["-m", "pytest", "bench/", "--co", "-q", "-p", "no:hypothesispytest"], 1.0),
    "python -m backends": (["-m", "backends"], 0.5),
    "python -c pass": (["-c", "pass"], None),
}


def seconds(arguments: list[str]) -> float:
    start = perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - start


for name, (arguments, target) in DOORS.items():
    aim = "" if target is None else f"  (at most {target:g} s)"
    print(f"{name:24} {median(seconds(arguments) for _ in range(7)):.2f} s{aim}")
