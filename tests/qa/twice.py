"""Twice: the same question asked several times gets the same answer, or is told that it cannot be had."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations
from math import log
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from results.record import rounds
from results.record.dimensions import MATCHED, POSITION
from results.record.run import find_runs
from results.tables.compare import compare
from results.tables.ratio import INTERVALS, ROUNDS, Fastest, fastest, times_as_fast
from results.tables.spread import known_spread
from results.tables.table import is_control, is_limit, is_verified, load, placed
from tests.fakes.door import bench

RUNS = 5
BURNT = "burnt"
"""The folder of the run beside which something burned: a run, or its CSV, lies in it."""
BURN = """
import time
while True:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        end = time.perf_counter() + 0.025
        while time.perf_counter() < end:
            pass
        time.sleep(0.025)
    time.sleep(20)
"""
BASELINE = "torch_cpu"
METRIC = "latency_p50_s"
WITHIN, WITHIN_LONG, LONG_S = 0.05, 0.08, 0.5
PLANTED = 1.2
Step = tuple[Hashable, ...]
Row = dict[Hashable, Any]


def main() -> int:
    folders = [Path(word) for word in sys.argv[2:] if Path(word).exists()]
    if not folders:
        folder = Path(tempfile.mkdtemp(prefix="samestep-twice-"))
        print(f"    runs go to {folder}", flush=True)
        for _ in range(RUNS):
            bench("--preset", "quick", "--results-dir", "runs", cwd=folder)
        with coming_and_going():
            bench("--preset", "quick", "--results-dir", BURNT, cwd=folder)
        folders = [*find_runs(folder / "runs"), *find_runs(folder / BURNT)]
    burnt = [load(folder) for folder in folders if folder.parent.name == BURNT]
    runs = [load(folder) for folder in folders if folder.parent.name != BURNT]
    if len(runs) < 2:
        raise SystemExit(f"expected two runs or more, got {len(runs)}: a folder or a CSV of each")
    good = [asked(runs, "a", winners), asked(runs, "b", ratios), asked(runs, "c", calls)]
    good += [asked(runs, "d", widths), asked(runs, "e", planted)]
    if burnt:
        print("    with a burner beside one of them")
        good += [asked([*runs[1:], *burnt], "a", winners), asked([*runs[1:], *burnt], "c", calls)]
    return 0 if all(good) else 1


@contextmanager
def coming_and_going() -> Iterator[None]:
    """Has another process take half a core for 20 s out of 40 meanwhile."""
    with subprocess.Popen([sys.executable, "-c", BURN]) as burner:
        try:
            yield
        finally:
            burner.kill()


def asked(runs: list[pd.DataFrame], letter: str, question: Any) -> bool:
    """Prints the question's answer and returns whether it is good."""
    is_good = bool(question(runs))
    print(f"  ({letter}) {'ok' if is_good else 'MISSED'}", flush=True)
    return is_good


def steps(frame: pd.DataFrame) -> Iterator[tuple[Step, dict[str, Row]]]:
    """Yields the verified rows of each step, by backend, where two backends or more have a number."""
    work = frame[~is_control(frame) & ~is_limit(frame)]
    rows = placed(work)
    for key, group in rows[is_verified(rows)].groupby(list(POSITION), dropna=False):
        if len(group) > 1:
            yield (
                tuple(part for part in key if part is not pd.NA),
                {row["label"]: row for row in group.to_dict("records")},
            )


def winners(runs: list[pd.DataFrame]) -> bool:
    """Whether the fastest of each step share a member over the runs, and no single winner is elsewhere behind."""
    by_step: dict[Step, list[tuple[Fastest, Mapping[str, Row]]]] = {}
    for run in runs:
        for step, rows in steps(run):
            by_step.setdefault(step, []).append((fastest(list(rows.values()), METRIC), rows))
    shared = behind = 0
    total = sum(map(len, by_step.values()))
    for step, answers in by_step.items():
        for one, _ in answers:
            shared += all({*one.labels} & {*other.labels} for other, _ in answers)
            if len(one.labels) == 1:
                for other, rows in answers:
                    (winner,) = one.labels
                    if winner in rows and other.labels[0] != winner and winner not in other.labels:
                        behind += 1
        print(f"    {' '.join(map(str, step)):40} {' | '.join(','.join(one.labels) for one, _ in answers)}")
    print(f"    {shared} of {total} share a member with every other run; single winners behind elsewhere: {behind}")
    return shared >= 0.95 * total and behind == 0


def ratios(runs: list[pd.DataFrame]) -> bool:
    """Whether ratios to the baseline lie near their median over the runs, and their intervals hold it."""
    estimates: dict[tuple[Step, str], list[tuple[rounds.Estimate, float]]] = {}
    for run in runs:
        for step, rows in steps(run):
            for label, row in rows.items():
                if label != BASELINE and BASELINE in rows:
                    ratio = times_as_fast(row, rows[BASELINE], METRIC)
                    estimates.setdefault((step, label), []).append((ratio, row[METRIC]))
    near = hold = total = 0
    for (step, label), of_cell in estimates.items():
        middle = median(one.value for one, _ in of_cell)
        within = WITHIN_LONG if median(seconds for _, seconds in of_cell) > LONG_S else WITHIN
        off = [abs(log(one.value / middle)) for one, _ in of_cell]
        near += sum(one <= log(1 + within) for one in off)
        hold += sum(
            one.low is not None and one.high is not None and one.low <= middle <= one.high for one, _ in of_cell
        )
        total += len(of_cell)
        values = " ".join(f"{one.value:.3f}±{100 * one.half_width:.0f}%" for one, _ in of_cell)
        print(f"    {' '.join(map(str, step)):40} {label:16} {values}  off {100 * max(off):.1f} %")
    print(f"    {near} of {total} near their median ({near / total:.1%}); {hold / total:.1%} of the intervals hold it")
    return near >= 0.9 * total and hold >= 0.93 * total


def calls(runs: list[pd.DataFrame]) -> bool:
    """Whether comparing any two of the runs calls nearly nothing different; of the control no verdict is asked."""
    verdicts: dict[Hashable, str] = {}
    spread = known_spread(pd.concat(runs, ignore_index=True))  # as the command does with runs of one folder
    print(f"    from run to run numbers vary by {spread.spread if spread else 0:.1%}")
    for before, after in combinations(runs, 2):
        compared = compare(before, after, metrics=(METRIC,), spread=spread)
        for line in answers(compared).to_dict("records"):
            verdicts[tuple(line[name] for name in (*MATCHED, "before", "after"))] = line["verdict"]
    different = sum(verdict in ("faster", "slower") for verdict in verdicts.values())
    print(f"    {different} of {len(verdicts)} called different ({different / max(1, len(verdicts)):.1%})")
    return different <= 0.01 * len(verdicts)


def answers(compared: pd.DataFrame) -> pd.DataFrame:
    """Returns the lines that say something of a backend: not the control's, nor of one measurement in both runs."""
    carried = compared["reason"].fillna("").str.startswith("one measurement")
    return compared[(compared["verdict"] != "not comparable") & ~is_control(compared) & ~carried]


def widths(runs: list[pd.DataFrame]) -> bool:
    """Whether intervals are narrow enough to say anything, and few steps are a tie of all or disturbed."""
    halves, all_tied, total, disturbed = [], 0, 0, 0
    for run in runs:
        disturbed += int((run["status"] == "disturbed").sum())
        for _, rows in steps(run):
            total += 1
            all_tied += len(fastest(list(rows.values()), METRIC).labels) == len(rows)
            base = rows.get(BASELINE)
            halves += [
                times_as_fast(row, base, METRIC).half_width
                for label, row in rows.items()
                if base is not None and label != BASELINE
            ]
    ordered = sorted(halves)
    half, most = ordered[len(ordered) // 2], ordered[int(0.9 * len(ordered))]
    print(
        f"    half of the ratios' intervals within ±{half:.1%}, nine of ten within ±{most:.1%}; "
        f"a tie of all: {all_tied} of {total}; disturbed: {disturbed} cells"
    )
    return half <= 0.03 and most <= 0.10 and all_tied <= 0.05 * total and disturbed <= 0.025 * total


def slower(frame: pd.DataFrame, backend: str) -> pd.DataFrame:
    """Returns the rows as they were if the backend were slower by `PLANTED`."""
    changed = frame.copy()
    for index in changed.index[changed["backend"] == backend]:
        for metric, column in ROUNDS.items():
            factor = PLANTED if metric == METRIC else 1 / PLANTED
            for name in (metric, *INTERVALS[metric]):
                changed.loc[index, name] *= factor
            text = changed.loc[index, column]
            if isinstance(text, str):
                values = {number: factor * value for number, value in rounds.from_text(text).items()}
                changed.loc[index, column] = rounds.to_text(values)
    return changed


def planted(runs: list[pd.DataFrame]) -> bool:
    """Whether a fifth more time of one backend is found from run to run, and little else is unclear."""
    found = possible = unclear = unchanged = 0
    spread = known_spread(pd.concat(runs, ignore_index=True))
    for before, after in combinations(runs, 2):
        compared = compare(before, slower(after, "jax_cpu"), metrics=(METRIC,), spread=spread)
        judged = answers(compared)
        ours = judged["backend"] == "jax_cpu"
        found += int((judged.loc[ours, "verdict"] == "slower").sum())
        possible += int(ours.sum())
        unclear += int((judged.loc[~ours, "verdict"] == "unclear").sum())
        unchanged += int((~ours).sum())
    print(f"    {found} of {possible} planted found; {unclear} of {unchanged} unchanged are unclear")
    return found >= 0.9 * possible and unclear <= 0.25 * unchanged
