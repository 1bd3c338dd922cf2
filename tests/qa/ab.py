"""A/B: with nothing planted hardly a trial is called different, and a busy-wait of 2 % of the step is found."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from math import log
from pathlib import Path
from random import Random
from statistics import median

import numpy as np

from bench.effort import Effort
from bench.parent.children.group import Group
from bench.parent.plans.variant import side_of
from bench.parent.suite import Suite
from results.tables.pairs import Ratio, compare
from tests.fakes.bench import CELL, filled_cache
from tests.fakes.busy import Busy

TRIALS, PAIRS = 20, 12
SPREADS = (0.003, 0.006, 0.01, 0.013, 0.02, 0.03)
SMALL_SPREAD = 0.013
EFFORT = Effort(warm_up_s=0.05, warm_up_steps=5, budget_s=0.25, min_rounds=3)


def simulated(spread: float, difference: float, pairs: int, series: int = 2_000) -> float:
    """Returns the share of simulated A/Bs, of pairs with normal noise, that are called different."""
    generator = np.random.default_rng(1)
    found = 0
    for _ in range(series):
        noise = generator.normal(0, spread, pairs)
        verdict = compare([(1.0, float(b)) for b in (1 + difference) * np.exp(noise)]).verdict
        found += verdict in ("B slower", "B faster")
    return found / series


def trial(suite: Suite, planted: str, pairs: int, work: str = "product") -> Ratio:
    """Returns what an A/B of real child processes says, side B with so many thousandths of a step planted."""
    sides = [
        replace(CELL, variant=side_of("A", f"work={work}")),
        replace(CELL, variant=side_of("B", f"work={work},planted={planted}")),
    ]
    times: list[tuple[float, float]] = []
    readies = [suite.ready(cell) for cell in sides]
    for number in range(pairs):
        seen = {}
        for ready, measured in zip(readies, Group(suite.effort, Random(number)).run(readies).values(), strict=True):
            columns = suite.concluded(ready, measured).columns
            if columns["status"] != "ok":
                raise RuntimeError(f"{ready.cell.title}: {columns['status']}: {columns['reason']}")
            seen[ready.cell] = columns["latency_p50_s"]
        times.append((seen[sides[0]], seen[sides[1]]))
    return compare(times)


def told(what: str, found: Sequence[Ratio]) -> int:
    """Prints what came of the trials and returns how many are called different."""
    different = [one for one in found if one.verdict in ("B slower", "B faster")]
    spreads = sorted(one.spread for one in found)
    ratios = [one.ratio for one in found]
    needed = median(one.pairs_needed for one in found)
    print(
        f"{what}: {len(different)} of {len(found)} called different; ratio {median(ratios):.4f}"
        f" ({min(ratios):.4f} to {max(ratios):.4f}); spread of pairs {100 * median(spreads):.2f} %"
        f" ({100 * spreads[0]:.2f} to {100 * spreads[-1]:.2f}); pairs needed {needed:.0f}",
        flush=True,
    )
    return len(different)


def main(trials: int = TRIALS, pairs: int = PAIRS) -> int:
    print(f"simulated, {pairs} pairs of normal noise: called different with nothing planted, and with 2 %")
    for spread in SPREADS:
        needed = Ratio(1.0, None, None, pairs, spread).pairs_needed
        print(
            f"  spread {100 * spread:.1f} %: {100 * simulated(spread, 0.0, pairs):4.1f} %"
            f"  {100 * simulated(spread, 0.02, pairs):5.1f} %; with the {needed} pairs needed"
            f" {100 * simulated(spread, 0.02, needed):5.1f} %",
            flush=True,
        )
    adapter = Busy()
    with tempfile.TemporaryDirectory() as folder:
        cache = filled_cache(Path(folder) / "cache")
        suite = Suite(cache, Path(folder), EFFORT, find_adapter=lambda name: adapter)
        good, shown = True, False
        for work in ("product", "clock"):
            print(f"steps of a {work}")
            nothing = [trial(suite, "0", pairs, work) for _ in range(trials)]
            good &= told("  nothing planted", nothing) <= trials / 20
            planted = [trial(suite, "20", pairs, work) for _ in range(trials)]
            told("  2 % planted", planted)
            quiet = [one for one in planted if one.spread <= SMALL_SPREAD]
            hits = sum(one.verdict == "B slower" for one in quiet)
            off = median(log(one.ratio / 1.02) for one in planted)
            print(
                f"  {len(quiet)} spread by at most 1.3 %: {hits} of them found; error of the ratio {100 * off:+.2f} %"
            )
            if len(quiet) >= trials / 2:
                shown = True
                good &= hits >= 0.85 * len(quiet)
    print("MISSED" if not good else "ok" if shown else "not shown: fewer than half of the trials were as quiet as that")
    return 0 if good and shown else 2 if good else 1
