"""What the report shows of rows: failures, the fastest, means, bars, training against inference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pandas as pd

from results.record.dimensions import SETTINGS
from results.record.human import in_time_unit, rate, ratio, time_unit
from results.show.legend import BY_URGENCY
from results.show.money import Sources, dollars
from results.show.phases_text import step_words
from results.show.report import svg
from results.show.report.rows import SAMPLES, Line, by_machine, grouped, mark, of_backend, records, time
from results.tables.means import means_by_machine
from results.tables.phases import STEP, phases
from results.tables.table import default_baseline

EXPECTED_ABSENT = ("unavailable", "unsupported")
OPEN_CHARTS = 40
"""Machines with more cells than this are folded."""


def failures(rows: Sequence[Line]) -> tuple[list[Line], list[Line]]:
    """Returns cells without a number by status, backend and reason, the most urgent first; and those not expected."""
    missing = [{**row, "reason": row["reason"] or ""} for row in rows if row["status"] != "ok"]
    groups = grouped(missing, "status", "label", "reason")
    failed = []
    for (status, label, reason), members in sorted(groups.items(), key=lambda item: BY_URGENCY.index(item[0][0])):
        cells = members[0]["cell"] if len(members) == 1 else f"{len(members)} cells"
        kind = "warn" if status in ("known_failure", "not_run") else "bad"
        anchor = members[0]["anchor"]
        failed.append(
            {"status": status, "label": label, "reason": reason, "cells": cells, "kind": kind, "anchor": anchor}
        )
    absent = [line for line in failed if line["status"] in EXPECTED_ABSENT]
    return [line for line in failed if line["status"] not in EXPECTED_ABSENT], absent


def summary(rows: Sequence[Line], baseline: str | None) -> list[Line]:
    """Returns, for each machine, the fastest of each workload and phase, by latency and by throughput."""
    return [
        {"name": machine, "lines": [_fastest(of_cell, baseline) for of_cell in equal_work(of_machine)]}
        for machine, of_machine in by_machine(row for row in rows if row["is_work"])
    ]


def equal_work(rows: Iterable[Line]) -> list[list[Line]]:
    """Returns the rows that may be set against each other."""
    with_digest = (row for row in rows if row["workload_digest"] is not None)
    return list(grouped(with_digest, "cell", "workload_digest").values())


def _fastest(of_cell: Sequence[Line], baseline: str | None) -> Line:
    """Returns the first of the fastest, and of those with the most throughput."""
    first = min(of_cell, key=lambda row: row["latency_p50_s"])
    most = max(of_cell, key=lambda row: -1 if row[SAMPLES] is None else row[SAMPLES])
    base = [row["latency_p50_s"] for row in of_cell if row["plain"] == of_backend(baseline)]
    return {
        "workload": first["cell"].replace(f" {first['phase']}", "", 1),
        "phase": first["phase"],
        "latency_label": first["plain"],
        "latency": time(first["latency_p50_s"]) + mark(first),
        "latency_anchor": first["anchor"],
        "ratio": ratio(base[0] / first["latency_p50_s"]) if base else "",
        "rate_label": most["plain"],
        "rate": "" if most[SAMPLES] is None else rate(most[SAMPLES]) + mark(most),
        "rate_anchor": most["anchor"],
    }


def means(frame: pd.DataFrame, baseline: str | None) -> tuple[list[Line], str]:
    """Returns a line per machine, backend, phase and metric, and what the axis of their dots is.

    Ratios refer to the baseline of the same machine; the control, and what measures limits, enter no mean.
    """
    of_machines = pd.concat([means_by_machine(frame, metric, baseline) for metric in ("latency_p50_s", SAMPLES)])
    of_machines = of_machines[of_machines["cells"] > 1]
    if of_machines.empty:
        return [], ""
    ends = [value for name in ("ratio", "ratio_low", "ratio_high") for value in of_machines[name].dropna().tolist()]
    least, most = svg.axis(ends)
    several = of_machines["machine"].nunique() > 1
    lines = []
    for line in records(of_machines):
        kind = "faster" if line["ratio_low"] > 1 else "slower" if line["ratio_high"] < 1 else ""
        lines.append(
            {
                "label": line["label"] + (f", {line['machine']}" if several else ""),
                "phase": line["phase"],
                "metric": "throughput" if line["metric"] == SAMPLES else "latency",
                "ratio": ratio(line["ratio"]),
                "svg": svg.dot(line["ratio"], line["ratio_low"], line["ratio_high"], least, most, kind),
                "cells": line["cells"],
                "without": line["missing_cells"] or "",
            }
        )
    return lines, axis_text(least, most)


def comparisons(rows: Sequence[Line], baseline: str | None) -> list[Line]:
    """Returns, for each machine, a chart per cell: a bar per backend, or the word in its place."""
    machines: list[Line] = []
    for machine, of_machine in by_machine(row for row in rows if row["is_compared"]):
        charts = [
            {"title": cell, "bars": _bars(of_cell, baseline)}
            for (cell,), of_cell in grouped(of_machine, "cell").items()
            if any(row["is_verified"] for row in of_cell)
        ]
        machines.append({"name": machine, "charts": charts, "cells": sum(len(chart["bars"]) for chart in charts)})
    total = sum(machine["cells"] for machine in machines)
    return [{**machine, "open": number == 0 and total <= 4 * OPEN_CHARTS} for number, machine in enumerate(machines)]


def _bars(of_cell: Sequence[Line], baseline: str | None) -> list[Line]:
    verified = [row for row in of_cell if row["is_verified"]]
    times = [row["latency_p50_s"] for row in verified]
    longest = max(row["latency_ci_high_s"] or 0 for row in verified)
    base = next((row for row in of_cell if row["plain"] == of_backend(baseline)), None)
    bars = (_bar(row, max(longest, *times), time_unit(times), min(times), base) for row in of_cell)
    return [bar for bar in bars if bar is not None]


def _bar(row: Line, longest: float, unit: str, shortest: float, base: Line | None) -> Line | None:
    """Returns a backend's bar; a word where it has no number, and nothing where it is not here."""
    if not row["is_verified"]:
        if row["status"] in EXPECTED_ABSENT:
            return None
        return {"label": row["plain"], "svg": "", "value": row["status"], "ratio": "", "anchor": row["anchor"]}
    seconds, low, high = row["latency_p50_s"], row["latency_ci_low_s"], row["latency_ci_high_s"]
    ends = (None, None) if low is None or high is None else (low / longest, high / longest)
    kind = "best" if seconds == shortest else ""
    kind += " fuzzy" if row["quality"] == "degraded" else ""
    same = base is not None and base["is_verified"] and base["workload_digest"] == row["workload_digest"]
    return {
        "label": row["plain"],
        "svg": svg.bar(seconds / longest, ends[0], ends[1], kind),
        "value": in_time_unit(seconds, unit) + mark(row),
        "ratio": ratio(base["latency_p50_s"] / seconds) if base is not None and same else "",
        "anchor": row["anchor"],
    }


@dataclass(frozen=True)
class Phases:
    """Training against inference: a line per workload and backend, what the axis is, whether any row has energy or a
    price, where the prices are from, and why others are not.
    """

    lines: list[Line] = field(default_factory=list)
    axis: str = ""
    has_energy: bool = False
    has_money: bool = False
    prices: list[str] = field(default_factory=list)
    no_prices: list[str] = field(default_factory=list)


def training_against_inference(frame: pd.DataFrame) -> Phases:
    """Returns that part of the page, at the prices of `results.tables.prices.known_prices`."""
    compared = phases(frame)
    compared = compared[compared["time_ratio"].notna()]
    if compared.empty:
        return Phases()
    sources = Sources()
    least, most = svg.axis(compared["time_ratio"].tolist())
    several = compared["machine"].nunique() > 1
    cell = [name for name in STEP if name not in SETTINGS]
    fastest = compared.groupby(cell, dropna=False)[["train_s_per_sample", "infer_s_per_sample"]].transform("min")
    lines = []
    for row, best in zip(records(compared), records(fastest), strict=True):
        train, infer = row["train_s_per_sample"], row["infer_s_per_sample"]
        lines.append(
            {
                "workload": step_words(row),
                "label": row["backend"] + (f", {row['machine']}" if several and "@" not in row["backend"] else ""),
                "train": time(train),
                "infer": time(infer),
                "best_train": train == best["train_s_per_sample"],
                "best_infer": infer == best["infer_s_per_sample"],
                "ratio": ratio(row["time_ratio"]),
                "svg": svg.dot(row["time_ratio"], None, None, least, most),
                "energy": "" if row["energy_ratio"] is None else ratio(row["energy_ratio"]),
                "money": [
                    "" if (usd := row[f"{phase}_usd_per_million_samples"]) is None else dollars(usd)
                    for phase in ("train", "infer")
                ],
                "price": "" if row["usd_per_hour"] is None else sources.price(row),
            }
        )
    return Phases(
        lines,
        axis_text(least, most),
        bool(compared["energy_ratio"].notna().any()),
        bool(compared["usd_per_hour"].notna().any()),
        sources.lines()[1:],
        sorted(compared["no_price"].dropna().unique()),
    )


def axis_text(least: float, most: float) -> str:
    """Returns what a logarithmic axis spans, in words."""
    return f"{ratio(least)} to {ratio(most)}, log scale"


def chosen_baseline(frame: pd.DataFrame, labels: Sequence[str], wanted: str | None) -> str | None:
    """Returns the label that ratios refer to; raises ValueError for one that the rows do not have."""
    if wanted is None:
        return default_baseline(frame)
    if wanted not in labels:
        raise ValueError(f"unknown baseline {wanted!r}; known: {', '.join(labels)}")
    return wanted
