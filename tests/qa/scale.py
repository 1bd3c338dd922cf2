"""Scale: a million rows are packed in a minute; of ten million a series takes a second, a night half a minute."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from results.nights.nights import series_rows
from results.nights.store import NIGHT, PACKED, connect, pack, series_sql
from results.record.csvfile import write_csv
from tests.fakes.runs import FIRST, rows_of_run

INGEST_ROWS, STORE_ROWS = 1_000_000, 10_000_000
MACHINES, CELLS = 100, 200
INGEST_S, SERIES_S, NIGHT_S, MEMORY_BYTES = 60.0, 1.0, 30.0, 2 * 2**30


def template(folder: Path) -> str:
    """Returns the header and one line of a real CSV of results."""
    path = folder / "template.csv"
    write_csv(rows_of_run("alpha", FIRST, {"torch_cpu": 1.25e-3}), path)
    return path.read_bytes().decode()


def write_store(store: Path, rows: int) -> None:
    """Writes runs of `CELLS` rows each, every one with a backend's name of its own."""
    header, line, _ = template(store).split("\r\n")
    (store / "template.csv").unlink()
    (row,) = rows_of_run("alpha", FIRST, {"torch_cpu": 1.25e-3})
    for number in range(rows // CELLS):
        machine, night = number % MACHINES, number // MACHINES
        day = f"2026{1 + night // 28:02d}{1 + night % 28:02d}"
        run_id = f"{day}T0300{machine % 60:02d}Z-m{machine}-{number:04x}"
        lines = [
            line.replace(str(row["run_id"]), run_id)
            .replace("id-alpha", f"id-m{machine}")
            .replace("alpha", f"m{machine}")
            .replace("torch_cpu", f"backend_{cell}")
            .replace("0.00125", repr(1.25e-3 * (1 + (number * 7919 + cell * 104729) % 1000 / 1e5)))
            for cell in range(CELLS)
        ]
        (store / run_id).mkdir()
        (store / run_id / "results.csv").write_text("\r\n".join([header, *lines, ""]), newline="")


def write_large(store: Path, rows: int) -> None:
    """Writes packed rows of `MACHINES` x `CELLS` series, made by DuckDB from one that was packed."""
    (store / "one").mkdir()
    write_store(store / "one", CELLS)
    pack(store / "one")
    nights = rows // (MACHINES * CELLS)
    connection = connect()
    (store / PACKED).mkdir()
    for start in range(0, nights, 50):
        connection.execute(
            f"""COPY (SELECT {series_sql()} AS series, {NIGHT} AS night, * EXCLUDE (series, night) FROM (
                SELECT r.* REPLACE (
                    strftime(DATE '2025-01-01' + CAST(n AS INTEGER), '%Y%m%dT030000Z-m') || m || '-0000' AS run_id,
                    'm' || m AS machine, 'id-m' || m AS machine_id,
                    r.latency_p50_s * (1 + 0.01 * (random() - 0.5)) AS latency_p50_s)
                FROM read_parquet('{store}/one/{PACKED}/*.parquet') r, range({start}, {min(start + 50, nights)}) t(n),
                     range({MACHINES}) u(m)) ORDER BY series, night)
            TO '{store}/{PACKED}/{start:05d}.parquet' (FORMAT parquet, COMPRESSION zstd)"""
        )


def in_a_process(code: str) -> tuple[float, float]:
    """Returns seconds and peak bytes of Python code in a process of its own, which prints its seconds last."""
    report = "import resource; print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
    text = f"from time import perf_counter\n{code}\n{report}"
    done = subprocess.run([sys.executable, "-c", text], check=True, capture_output=True, text=True)
    seconds, peak = done.stdout.split()[-2:]
    return float(seconds), float(peak)


def main(ingest: int = INGEST_ROWS, large: int = STORE_ROWS) -> int:
    good = True
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        write_store(store, ingest)
        start = perf_counter()
        done = pack(store)
        seconds = perf_counter() - start
        size = sum(path.stat().st_size for path in (store / PACKED).iterdir())
        print(f"{done.rows:,} rows of {done.runs:,} runs packed in {seconds:.1f} s, {size / done.rows:.0f} bytes each")
        good &= done.rows == ingest and not done.problems and seconds <= INGEST_S * ingest / INGEST_ROWS
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        write_large(store, large)
        name = (
            connect()
            .execute("SELECT series FROM read_parquet(?) LIMIT 1", [f"{store}/{PACKED}/*.parquet"])
            .fetchall()[0][0]
        )
        call = f"start = perf_counter(); rows = series_rows({str(store)!r}, {name!r}); seconds = perf_counter() - start"
        seconds, peak = in_a_process(f"from results.nights.nights import series_rows\n{call}")
        rows = len(series_rows(store, name))
        print(f"of {large:,} rows, the {rows} of one series were read in {seconds:.2f} s, {peak / 2**20:.0f} MiB")
        good &= seconds <= SERIES_S and rows == large // (MACHINES * CELLS)
        call = f"start = perf_counter(); found = history({str(store)!r}); seconds = perf_counter() - start"
        seconds, peak = in_a_process(f"from results.nights.history import history\n{call}")
        print(f"the nightly comparison ({MACHINES * CELLS:,} series) took {seconds:.1f} s, {peak / 2**20:.0f} MiB")
        good &= seconds <= NIGHT_S and peak <= MEMORY_BYTES
    print("ok" if good else "MISSED")
    return 0 if good else 1
