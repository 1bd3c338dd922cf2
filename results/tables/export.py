"""Rows as files that other tools keep histories of: github-action-benchmark and Bencher.

A benchmark's name is made of what identifies its cell, so a cell has the same name every night. Only what was measured
and verified has a value; what is left out comes back beside it, with why.

github-action-benchmark (its README; `BenchmarkResult` in its src/extract.ts): a list of {name, unit, value, range,
extra}. It has no place for the machine, so that is in the name.

Bencher Metric Format (https://bencher.dev/docs/reference/bencher-metric-format): `latency` in nanoseconds and
`throughput` in operations per second, as its built-in measures are defined; an operation is a step. Its place for the
machine is the testbed that `bencher run --testbed` names, so a file is of one machine.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from results.record.dimensions import name_parts
from results.record.row import Row, describe_cell
from results.record.schema import COLUMN

NS_PER_S = 1e9


@dataclass(frozen=True)
class Exported:
    """The text of a file, how many benchmarks have a value in it, and notes on what has none or does not fit in."""

    text: str
    benchmarks: int
    notes: tuple[str, ...]


def export_github(rows: Sequence[Row], metric: str) -> Exported:
    """Returns the metric in its SI unit for `customSmallerIsBetter` (a time) or `customBiggerIsBetter` (a rate).

    Raises ValueError where two rows, or two machines, would have one name, and where no row has a value.
    """
    ids = {(row["machine"], row["machine_id"]) for row in rows}
    names = [name for name, _ in ids]
    if twice := sorted({str(name) for name in names if names.count(name) > 1}):
        raise ValueError(f"several machines are called {', '.join(twice)}; export each by itself, into its own suite")
    named, left_out = by_name(rows, name_with_machine, metric)
    return exported([_github(label, row, metric) for label, row in named.items()], len(named), left_out)


def export_bencher(rows: Sequence[Row]) -> Exported:
    """Returns latencies and throughputs in BMF.

    Raises ValueError for several machines, where two rows would have one name, and where no row has a value.
    """
    one_machine(rows, "Bencher's")
    named, notes = by_name(rows, name_of)
    for label, row in named.items():
        if row["quality"] == "degraded":
            notes.append(f"{label} is degraded ({row['flags']}), and the format has no place to say so")
        if _steps_per_s(row) is None:
            notes.append(f"{label} has no throughput")
    return exported({label: _measures(row) for label, row in named.items()}, len(named), notes)


def exported(content: object, benchmarks: int, notes: Sequence[str]) -> Exported:
    """Returns the content as JSON.

    Raises ValueError where it has no benchmark: an older file is not to be replaced, nor an empty one published, as if
    it were the result of tonight.
    """
    if not benchmarks:
        raise ValueError(f"nothing to export, no row has a verified number: {'; '.join(notes) or 'there is no row'}")
    return Exported(json.dumps(content, indent=1, allow_nan=False) + "\n", benchmarks, tuple(notes))


def name_of(row: Mapping[str, object]) -> str:
    """Returns the name of the row's cell, in [A-Za-z0-9._:=/-]: `gpt2/124m/infer/b2/s128/fp32/t8/torch_cuda`.

    Its parts are workload, size, phase, batch, sequence, precision, threads and backend, with `:1` for the second
    device of its kind, and the side of an A/B; a part that the cell has not, or that is at its default, is left out.
    """
    requested = row["precision_requested"] or row["precision"]
    parts = name_parts({**row, "precision_requested": requested})
    return "/".join(re.sub(r"[^A-Za-z0-9._:=]+", "-", part) for part in parts)


def name_with_machine(row: Mapping[str, object]) -> str:
    """Returns the name with `@machine` behind it, also where there is one machine: so it stays when a second comes."""
    return f"{name_of(row)}@{row['machine'] or 'unknown'}"


def by_name(
    rows: Iterable[Row], name: Callable[[Row], str], metric: str = "latency_p50_s"
) -> tuple[dict[str, Row], list[str]]:
    """Returns the rows that have the metric by their names, in order of these, and why others are left out.

    Raises ValueError where two rows would have one name: those of a cell in two runs, or of sides that differ in
    nothing that a name can hold.
    """
    row_of_label: dict[str, Row] = {}
    left_out = []
    for row in rows:
        label, reason = name(row), _why_left_out(row, metric)
        if reason is not None:
            left_out.append(f"{label} is left out: {reason}")
        elif label in row_of_label:
            other, this = (f"{describe_cell(one)} of run {one['run_id']}" for one in (row_of_label[label], row))
            raise ValueError(f"two rows would be {label}: {other}, and {this}; export one run of a machine at a time")
        else:
            row_of_label[label] = row
    return dict(sorted(row_of_label.items())), left_out


def one_machine(rows: Iterable[Row], whose: str) -> None:
    """Raises ValueError where the rows are of several machines, for a format with one place for a machine."""
    machines = sorted({f"{row['machine']} ({row['machine_id']})" for row in rows})
    if len(machines) > 1:
        raise ValueError(f"a file of {whose} is of one machine, and there are {', '.join(machines)}: export each alone")


def _why_left_out(row: Mapping[str, object], metric: str) -> str | None:
    if row["status"] != "ok":
        return f"{row['status']}: {row['reason']}"
    if row["verification"] != "passed":
        return "nothing could be verified, since it computes nothing"
    if row["quality"] == "invalid":
        return f"its measurement is invalid: {row['flags']}"
    return f"it has no {metric}" if row[metric] is None else None


def _github(label: str, row: Mapping[str, Any], metric: str) -> dict[str, object]:
    entry = {"name": label, "unit": COLUMN[metric].unit, "value": row[metric]}
    low, high = row["latency_ci_low_s"], row["latency_ci_high_s"]
    if metric == "latency_p50_s" and low is not None and high is not None:
        # Its reader takes `±` and one number, so the wider half of the interval: src/extractRangeInfo.ts.
        entry["range"] = f"± {max(row[metric] - low, high - row[metric], 0.0)!r}"
    quality = row["quality"] or "unknown"
    details = {
        "quality": f"{quality} ({row['flags']})" if row["flags"] else quality,
        "95 % interval": f"{low!r} to {high!r} s" if metric == "latency_p50_s" and None not in (low, high) else None,
        "samples": row["latency_n"] if metric == "latency_p50_s" else row["throughput_n"],
        "launches": row["launches_ok"],
        "run": row["run_id"],
        "software": row["software_id"],
        "method": row["method_version"],
    }
    return entry | {"extra": "\n".join(f"{key}: {value}" for key, value in details.items() if value is not None)}


def _measures(row: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    median, low, high = (row[f"latency_{end}_s"] for end in ("p50", "ci_low", "ci_high"))
    latency = {"value": NS_PER_S * median}
    # The interval of several launches is about their mean; a bound on the wrong side of the median is none.
    if low is not None and low <= median:
        latency["lower_value"] = NS_PER_S * low
    if high is not None and high >= median:
        latency["upper_value"] = NS_PER_S * high
    steps_per_s = _steps_per_s(row)
    return {"latency": latency} | ({} if steps_per_s is None else {"throughput": {"value": steps_per_s}})


def _steps_per_s(row: Mapping[str, Any]) -> float | None:
    samples_per_s, samples = row["throughput_samples_per_s"], row["samples_per_step"] or row["batch"]
    return samples_per_s / samples if samples_per_s is not None and samples else None
