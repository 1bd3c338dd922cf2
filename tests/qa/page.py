"""Page: the report of 200 cells on 10 machines over 90 nights is at most 5 MB, and opens in under 2 s in Chromium."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import pandas as pd

from results.nights.alarms import alarms_of
from results.nights.history import History
from results.nights.missing import missing_machines
from results.nights.nights import Nights
from results.nights.store import SERIES_COLUMNS, series_of
from results.show.report.page import page
from results.tables.table import to_frame, to_rows
from tests.browser import Browser, chromium
from tests.fakes.runs import FIRST, rows_of_run

MACHINES, BACKENDS, WORKLOADS, NIGHTS = 10, 5, 20, 90
MOST_BYTES, MOST_S, TRIES = 5_000_000, 2.0, 5


def made_up() -> tuple[pd.DataFrame, History]:
    """Returns the rows of the newest night, and 90 nights of the same cells, noisy, some disturbed, some slower."""
    generator = np.random.default_rng(1)
    nights = tuple(FIRST + timedelta(number) for number in range(NIGHTS))
    newest = [row for machine in range(MACHINES) for row in _rows(f"machine-{machine}", nights[-1])]
    frame = to_frame(newest)
    kept = ["machine", "status", "verification", "latency_p50_s", "throughput_samples_per_s"]
    names = [series_of(row) for row in newest]
    factors = np.exp(generator.normal(0, 0.01, (len(newest), NIGHTS)))
    factors[::97, 60:] *= 1.1
    parts = []
    for number, night in enumerate(nights):
        rows = frame[kept].copy()
        rows["series"], rows["night"] = names, pd.Timestamp(night)
        rows["run_id"] = frame["run_id"].str.replace(f"{nights[-1]:%Y%m%d}", f"{night:%Y%m%d}")
        rows["software_id"] = f"s{number // 30}"
        rows["throughput_mode"] = "serial"
        rows["quality"] = np.where(generator.random(len(rows)) < 0.05, "degraded", "valid")
        rows["latency_p50_s"] = rows["latency_p50_s"].to_numpy(float) * factors[:, number]
        parts.append(rows)
    series = frame[list(SERIES_COLUMNS)].set_index(pd.Index(names, name="series"))
    seen = pd.DataFrame(columns=["machine", "machine_id", "first", "last"])
    whole = Nights(nights, series, pd.concat(parts, ignore_index=True), seen, ())
    cells = pd.DataFrame(columns=["machine", "run_id", "cell", "status", "reason"])
    return frame, History(whole, alarms_of(whole), missing_machines(whole), cells, ())


def _rows(machine: str, day: object) -> list[dict[str, object]]:
    found = []
    for workload in range(WORKLOADS):
        for phase, factor in (("infer", 1), ("train", 3)):
            times = {f"backend_{backend}": 1e-3 * factor * (1 + 0.3 * backend) for backend in range(BACKENDS)}
            known = {"workload": f"workload_{workload}", "phase": phase, "workload_digest": f"digest{workload}"}
            found += rows_of_run(machine, day, times, **known)
    for row in found:
        middle = row["latency_p50_s"]
        row |= {"latency_min_s": 0.95 * middle, "latency_max_s": 1.6 * middle, "latency_n": 800}
        row |= {"latency_ci_low_s": 0.995 * middle, "latency_ci_high_s": 1.005 * middle, "latency_p90_s": 1.1 * middle}
        row |= {"library_versions": '{"torch": "2.13.0"}', "samestep_version": "0.1.0", "error_worst": 1e-6}
    return found


def main() -> int:
    frame, found = made_up()
    start = perf_counter()
    text = page(frame, found)
    made_s, size = perf_counter() - start, len(text.encode())
    print(f"{len(to_rows(frame)):,} cells, {NIGHTS} nights: made in {made_s:.1f} s, {size / 1e6:.2f} MB")
    good = size <= MOST_BYTES
    if chromium() is None:
        print("not shown: no Chromium to open it (apt-get install chromium)")
        return 2 if good else 1
    with tempfile.TemporaryDirectory() as folder:
        path, empty = Path(folder) / "report.html", Path(folder) / "empty.html"
        path.write_text(text)
        empty.write_text("<!doctype html><title>empty</title>")
        for scripts in (True, False):
            browser = Browser(scripts=scripts)
            opened = [browser.open(path) for _ in range(TRIES)]
            began = [browser.open(empty) for _ in range(TRIES)]
            seconds = median(one.seconds for one in opened) - median(one.seconds for one in began)
            errors = [text for one in opened for text in one.errors]
            requests = [url for one in opened for url in one.requests]
            said = "with JavaScript" if scripts else "without"
            print(f"{said}: {seconds:.2f} s beyond an empty page, {len(errors)} errors, {len(requests)} requests")
            good &= seconds < MOST_S and not errors and not requests
    print("ok" if good else "MISSED")
    return 0 if good else 1
