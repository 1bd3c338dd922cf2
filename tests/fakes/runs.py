"""Made-up runs on disk: the folder that `pytest bench/` leaves, with numbers that a test chooses."""

from datetime import UTC, date, datetime

from results.record.csvfile import write_csv
from results.record.journal import Journal
from tests.fakes.rows import CELL, HEADER, row_of

FIRST = date(2026, 9, 1)


def run_id_of(machine, day, number=0):
    return f"{day:%Y%m%d}T0300{number:02d}Z-{machine}-{number:04x}"


def rows_of_run(machine, day, latencies, number=0, **changes):
    """Returns the rows of a run: a backend per name in `latencies`, its seconds, or None for one that is refused."""
    known = {
        "run_id": run_id_of(machine, day, number),
        "machine": machine,
        "machine_id": f"id-{machine}",
        "software_id": "s1",
        "started_utc": datetime(day.year, day.month, day.day, 3, tzinfo=UTC).isoformat(),
        "method_version": "2",
    }
    rows = []
    for backend, seconds in latencies.items():
        if seconds is None:
            rows.append(row_of("refused", backend=backend, reason_code="disturbed", reason="disturbed", **known))
            continue
        numbers = {"latency_p50_s": seconds, "throughput_samples_per_s": 4 / seconds, "throughput_mode": "serial"}
        rows.append(row_of(backend=backend, **{**numbers, "quality": "valid", **known, **changes}))
    return rows


def write_run(store, machine, day, latencies, number=0, journal=False, **changes):
    """Writes the run into the store: its CSV, or its journal; returns its folder."""
    rows = rows_of_run(machine, day, latencies, number, **changes)
    run_id = run_id_of(machine, day, number)
    if journal:
        header = {**HEADER, "machine": {"name": machine, "machine_id": f"id-{machine}"}}
        with Journal.create(store, run_id, header) as written:
            written.plan([{**CELL, "backend": row["backend"]} for row in rows])
            for row in rows:
                written.row(row)
            written.end("the plan is done")
    else:
        (store / run_id).mkdir(parents=True)
        write_csv(rows, store / run_id / "results.csv")
    return store / run_id
