"""From what a launch reported to its record, and from a cell's launches to the columns of its row."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import floor
from typing import TYPE_CHECKING, Any

from backends._probes import versions
from backends.base import Adapter, Probe
from bench.cell import Cell
from bench.effort import METHOD_VERSION
from bench.parent.children.child import Outcome
from bench.parent.merge import arithmetic, of_rounds
from bench.parent.verdict import Bounds, Verdict, of_cell, of_launch
from results.record import rounds
from results.record.dimensions import CELL_COLUMNS
from results.record.schema import COLUMN
from results.record.vocabulary import REASON_CODES, STATUSES
from workloads.count import count
from workloads.precision import DEFAULT, Precision
from workloads.workload import Workload

if TYPE_CHECKING:
    from bench.parent.children.member import Measured, Slice

SERIES = ("samples_s", "throughput_samples_s", "warm_up_samples_s", "operators")
"""What a launch measured, sample by sample and operator by operator, in seconds per step: in its record, not in a row.
"""
AS_JSON = ("requested", "effective", "throughput_setting", "not_measured")
BEFORE_LAUNCH = ("plan", "artifacts")
"""Stages in which no process of the cell was started yet."""


@dataclass(frozen=True)
class Launch:
    """One launch of a cell: the columns of a row that it alone would make, and its samples.

    `number` counts the launches of the cell from 0; `attempt` is 2 where an invalid or doubtful first one was repeated;
    `order` is its place among all launches of the run. `is_timed` is False where nothing but the verification counts.
    """

    columns: dict[str, Any]
    series: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    number: int = 0
    attempt: int = 1
    order: int = 0
    is_timed: bool = True

    @cached_property
    def verdict(self) -> Verdict:
        """What is said of this launch alone."""
        return of_launch(self.columns, self.is_timed)

    @property
    def status(self) -> str:
        """The status of a row of this launch."""
        return str(self.columns["status"])

    @property
    def was_launched(self) -> bool:
        """Whether a process of the cell was started: not where it is unavailable, or what it needs cannot be made."""
        return self.columns.get("stage") not in BEFORE_LAUNCH

    @property
    def is_invalid(self) -> bool:
        """Whether it was measured, and disturbed so that its numbers enter no statistic."""
        return self.verdict.quality == "invalid"

    @property
    def is_doubtful(self) -> bool:
        """Whether it was refused by the clock alone: a disturbance may have made it look as if it did not wait."""
        return self.status == "refused" and self.columns.get("reason_code") == "does_not_wait"

    @property
    def is_repeated(self) -> bool:
        """Whether the cell is launched once more in its place."""
        return self.attempt == 1 and (self.is_disturbed or self.is_doubtful)

    @property
    def is_disturbed(self) -> bool:
        """Whether the machine did not let it be measured: its numbers enter no statistic."""
        return self.is_invalid or self.status == "disturbed"

    def to_record(self, cell: Cell) -> dict[str, Any]:
        """Returns all of it in a form that JSON can hold. Samples of what computes nothing are left out.

        They were nine tenths of a journal, and say nothing that the row does not.
        """
        place = {"number": self.number, "attempt": self.attempt, "order": self.order}
        kept = {} if self.columns.get("verification") == "not applicable" else self.series
        series = {name: list(values) for name, values in kept.items()}
        timed = {} if self.is_timed else {"is_timed": False}
        columns = self.columns | self.verdict.columns()
        return {**cell.columns(), "status": self.status, **place, **timed, "columns": columns, **series}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Launch:
        """Returns what `to_record` was called on, but for samples that it left out."""
        series = {name: tuple(record[name]) for name in SERIES if name in record}
        # The verdict is made anew, by the same rules: a run goes on with the samestep that began it.
        columns = {name: value for name, value in record["columns"].items() if name not in ("quality", "flags")}
        place = (record["number"], record["attempt"], record["order"])
        return cls(columns, series, *place, record.get("is_timed", True))


def percentile(ordered: Sequence[float], q: float) -> float | None:
    """Returns the q-quantile of sorted values by Hyndman & Fan's type 7, None unless 10 values lie above it."""
    if round(len(ordered) * (1 - q), 6) < 10:
        return None
    k = (len(ordered) - 1) * q
    low = floor(k)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (k - low) * (ordered[high] - ordered[low])


def workload_columns(workload: Workload, phase: str, precision: Precision = DEFAULT) -> dict[str, Any]:
    """Returns what is known of a cell before it runs, whatever comes of it."""
    program = workload.programs[phase]
    counts = count(program, precision.bytes_each)
    return {
        "samples_per_step": program.work.samples,
        "tokens_per_step": program.work.tokens,
        "parameters": sum(spec.size for spec in program.update.trained) if program.update else workload.parameter_count,
        "weights_bytes": workload.weights_bytes,
        "state_bytes": program.moments_bytes,
        "flops_per_step": counts.flops,
        "minimum_bytes_per_step": counts.minimum_bytes,
        "optimizer": json.dumps(workload.description()["optimizer"], sort_keys=True),
        "reference": workload.said or None,
        "python_version": platform.python_version(),
        "method_version": str(METHOD_VERSION),
    }


def adapter_columns(adapter: Adapter, probe: Probe) -> dict[str, Any]:
    """Returns what a probe saw: the device, and the versions of the libraries behind the number."""
    libraries = (*adapter.distributions, "numpy")
    return {"device": probe.device or None, "library_versions": json.dumps(versions(libraries), sort_keys=True)}


def to_launch(
    cell: Cell, before: Mapping[str, Any], outcome: Outcome, is_timed: bool = True, measured: Measured | None = None
) -> Launch:
    """Returns the record of a launch: what was known `before` it, and numbers or a reason.

    Its samples are kept where it is `ok`. What the child of another checkout reports and no row can hold is left out.
    """
    result = dict(outcome.result)
    series = {name: tuple(result.pop(name)) for name in SERIES if name in result}
    status = outcome.status if outcome.status in STATUSES else "broken"
    code = outcome.reason_code if outcome.reason_code in REASON_CODES else None
    columns: dict[str, Any] = {
        **before,
        **{name: value for name, value in result.items() if name in COLUMN},
        "status": status,
        "stage": outcome.stage,
        "reason_code": code,
        "reason": outcome.reason,
    }
    if outcome.stage not in BEFORE_LAUNCH:
        columns["launch_s"] = outcome.launch_s
    if "effective" in result:
        columns["precision"] = result["effective"].get("precision")
        name = str(result["effective"].get("device_name") or "")
        if cell.device_index and name not in str(before.get("device")):
            columns["device"] = name  # a probe names the first device, and this one may be another model
    columns |= {name: json.dumps(result[name], sort_keys=True) for name in AS_JSON if name in result}
    if status != "ok":
        return Launch(columns, is_timed=is_timed)
    speed = latency_columns(series["samples_s"], columns.get("steps_per_sample", 1))
    speed |= throughput_columns(cell, series["throughput_samples_s"], columns["tokens_per_step"])
    if measured is not None:
        columns |= rounds_columns(measured)
        speed |= of_rounds(columns | speed)
    return Launch(columns | speed | arithmetic(columns | speed), series, is_timed=is_timed)


def to_round(cell: Cell, launch: int, number: int, one: Slice) -> dict[str, Any]:
    """Returns what a cell gave in a round of a launch, as the journal has it."""
    identity = {name: value for name, value in cell.columns().items() if name in CELL_COLUMNS}
    beside = [[reading.alone_s, reading.together_s, reading.worth] for reading in one.readings]
    numbers = {"latency_s": one.latency_s, "samples_per_s": one.samples_per_s, "n": one.n, "control": beside}
    return {**identity, "launch": launch, "round": number, **numbers}


def rounds_columns(measured: Measured) -> dict[str, Any]:
    """Returns the columns that rounds make: what each that counts gave, and how many were left out."""
    kept = measured.kept
    return {
        "rounds_n": len(kept),
        "rounds_left_out": measured.left_out,
        "rounds_latency_s": rounds.to_text({number: one.latency_s for number, one in kept.items()}),
        "rounds_samples_per_s": rounds.to_text(
            {number: one.samples_per_s for number, one in kept.items() if one.samples_per_s is not None}
        ),
        **measured.columns,
    }


def latency_columns(samples: Sequence[float], steps_per_sample: int = 1) -> dict[str, Any]:
    """Returns the latency columns of samples in seconds per step.

    A sample of several steps is their mean. The median of such means is taken for that of the steps; their extremes and
    percentiles are not those of a step, which lie further out, and are left empty.
    """
    ordered = sorted(samples)
    n = len(ordered)
    columns: dict[str, Any] = {
        "latency_p50_s": (ordered[(n - 1) // 2] + ordered[n // 2]) / 2,
        "latency_mean_s": sum(ordered) / n,
        "latency_n": n,
    }
    of_steps = ("latency_min_s", "latency_max_s", "latency_p90_s", "latency_p99_s")
    if steps_per_sample > 1:
        return columns | dict.fromkeys(of_steps)
    extremes = ordered[0], ordered[-1], percentile(ordered, 0.90), percentile(ordered, 0.99)
    return columns | dict(zip(of_steps, extremes, strict=True))


def throughput_columns(cell: Cell, samples: Sequence[float], tokens: int | None) -> dict[str, Any]:
    """Returns the throughput columns: all steps over all seconds, so that slow steps count in full."""
    steps_per_s = len(samples) / sum(samples)
    return {
        "throughput_samples_per_s": cell.batch * steps_per_s,
        "throughput_tokens_per_s": None if tokens is None else tokens * steps_per_s,
        "throughput_n": len(samples),
    }


def to_row(
    launches: Sequence[Launch], bounds: Callable[[Mapping[str, Any]], Bounds] = lambda columns: (None, None)
) -> dict[str, Any]:
    """Returns the columns of a cell's row, from all of its launches, at least one: the verdict, and how many count.

    `bounds` returns the most FLOP/s and byte/s that a row with these columns may reach.
    """
    verdict, columns = of_cell(launches, bounds)
    launched = [launch for launch in launches if launch.was_launched]
    invalid = sum(launch.is_invalid for launch in launched)
    measured = sum(launch.status == "ok" for launch in launched)
    counts = {
        "launches_ok": measured - invalid,
        "launches_failed": len(launched) - measured,
        "launches_invalid": invalid,
    }
    return columns | verdict.columns() | counts
