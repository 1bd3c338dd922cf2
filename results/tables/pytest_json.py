"""Rows as the JSON of pytest-benchmark 5.3, for `pytest-benchmark compare` and what else reads it.

Statistics are those of pytest-benchmark itself, over the raw samples of the launches that made the row, in seconds per
step. Of a row alone (a CSV has no samples) they are the row's, and those that a row does not know stand at 0, as they
do for pytest-benchmark after a single round; `extra_info.stats_unknown` names them.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

from results.record.dimensions import CELL_COLUMNS
from results.record.row import Row, cell_of
from results.record.run import Run
from results.record.samples import samples_of
from results.tables.export import Exported, by_name, exported, name_of, one_machine

MOST_SAMPLES = 20_000
"""Samples of one benchmark in a file; of more, every second or third … is kept, and the statistics are over all."""
FROM_SAMPLES = ("stddev", "iqr", "q1", "q3", "iqr_outliers", "stddev_outliers", "outliers", "ld15iqr", "hd15iqr")
"""Statistics that a row has not."""


def export_pytest(rows: Sequence[Row], runs: Sequence[Run]) -> Exported:
    """Returns the rows as one session of pytest-benchmark; `runs` are those of the rows that have a journal.

    Raises ValueError for several machines, where two rows would have one name, and where no row has a value;
    ResultsError for a launch whose samples are no times.
    """
    one_machine(rows, "pytest-benchmark's")
    named, left_out = by_name(rows, name_of)
    samples: dict[tuple[object, ...], Sequence[float]] = {}
    for run in runs:
        samples |= samples_of(run)
    content = {
        "machine_info": _machine_info(rows, runs),
        "commit_info": _commit_info(rows),
        "benchmarks": [_benchmark(label, row, samples.get(_key(row), ())) for label, row in named.items()],
        "datetime": max((str(row["started_utc"]) for row in rows if row["started_utc"]), default=None),
        "version": import_module("pytest_benchmark").__version__,
        "samestep": {"without_number": left_out},
    }
    return exported(content, len(named), left_out)


def _key(row: Row) -> tuple[object, ...]:
    return (row["run_id"], *cell_of(row))


def _benchmark(label: str, row: Row, samples: Sequence[float]) -> dict[str, object]:
    every = -(-len(samples) // MOST_SAMPLES)
    statistics = _of_samples(samples) | {"data": list(samples[::every])} if samples else _of_row(row)
    extra: dict[str, object] = {name: value for name, value in row.items() if value is not None}
    if every > 1:
        extra["data_is_every"] = every
    if not samples:
        extra["stats_unknown"] = [*FROM_SAMPLES, *(name for name in ("min", "max", "mean") if _missing(row, name))]
    return {
        "group": f"{row['workload']} {row['phase']}",
        "name": label,
        "fullname": label,
        "params": {name: row[name] for name in CELL_COLUMNS},
        "param": label,
        "extra_info": extra,
        "options": {"timer": "samestep"},
        "stats": statistics | {"iterations": row["steps_per_sample"] or 1},
    }


def _of_samples(samples: Sequence[float]) -> dict[str, object]:
    stats: Any = import_module("pytest_benchmark.stats").Stats()
    for sample in samples:
        stats.update(sample)
    return dict(stats.as_dict())


def _of_row(row: Mapping[str, Any]) -> dict[str, object]:
    median = row["latency_p50_s"]
    least, most, mean = (median if _missing(row, name) else row[f"latency_{name}_s"] for name in ("min", "max", "mean"))
    rounds = row["latency_n"] or 1
    return {
        **dict.fromkeys(FROM_SAMPLES, 0),
        "outliers": "0;0",
        **dict.fromkeys(("q1", "q3", "ld15iqr", "hd15iqr"), median),
        "min": least,
        "max": most,
        "mean": mean,
        "median": median,
        "rounds": rounds,
        "ops": 1 / mean,
        "total": mean * rounds,
    }


def _missing(row: Mapping[str, object], name: str) -> bool:
    return row[f"latency_{name}_s"] is None


def _machine_info(rows: Sequence[Row], runs: Iterable[Run]) -> dict[str, object]:
    """Returns the machine that was measured, which need not be this one, by pytest-benchmark's names.

    All that the run's header has of it is under `samestep`; None where it has nothing.
    """
    machine: dict[str, Any] = {"name": rows[0]["machine"], "machine_id": rows[0]["machine_id"]} if rows else {}
    for run in runs:
        machine |= {name: value for name, value in run.header["machine"].items() if name != "packages"}
    return {
        "node": machine.get("name"),
        "processor": machine.get("cpu"),
        "machine": machine.get("architecture"),
        "python_version": machine.get("python"),
        "release": machine.get("kernel"),
        "system": machine.get("os"),
        "cpu": {"brand_raw": machine.get("cpu"), "count": machine.get("logical_cores")},
        "samestep": machine,
    }


def _commit_info(rows: Iterable[Row]) -> dict[str, object]:
    """Returns the versions of samestep; a run does not say of which commit it was, and this folder may be elsewhere."""
    versions = sorted({str(row["samestep_version"]) for row in rows if row["samestep_version"]})
    no_commit = {"id": "unknown", "time": None, "author_time": None, "dirty": False, "branch": "(unknown)"}
    return {**no_commit, "project": "samestep", "samestep_version": ", ".join(versions) or None}
