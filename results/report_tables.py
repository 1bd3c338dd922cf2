"""What the report shows of rows: failures, the fastest, bars, training against inference, distributions, the rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from results import svg
from results.human import in_time_unit, rate, ratio, time_unit
from results.means import means_by_machine
from results.money import Sources, dollars
from results.phases import phases
from results.render import BY_URGENCY, DEGRADED
from results.table import POSITION, default_baseline, idle_labels, is_control, is_verified, to_rows

Line = dict[str, Any]
SAMPLES = "throughput_samples_per_s"
EXPECTED_ABSENT = ("unavailable", "unsupported")
OPEN_CHARTS = 40
"""Machines with more cells than this are folded."""


def numbered(placed_rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows in the order of the page, with `anchor`, their place in it, and `cell`, in words."""
    rows = placed_rows.sort_values(["machine", *POSITION, "label"], kind="stable", na_position="first")
    rows = rows.reset_index(drop=True)
    anchors = pd.Series([f"r{number}" for number in range(len(rows))], dtype="string")
    cells = pd.Series([in_words(row) for row in records(rows)], dtype="string")
    plain = rows["label"].str.replace(r"@.*$", "", regex=True)
    return rows.assign(anchor=anchors, cell=cells, plain=plain, machine=rows["machine"].fillna("unknown"))


def in_words(row: Line) -> str:
    """Returns a cell without its backend, such as `gpt2 124m infer, batch 2 × 128`."""
    shape = "" if row["batch"] is None else f", batch {row['batch']}"
    shape += "" if row["sequence"] is None else f" × {row['sequence']}"
    more = "" if row["precision"] == "fp32" or row["precision"] is None else f", {row['precision']}"
    return f"{row['workload']} {row['size']} {row['phase']}{shape}{more}"


def records(frame: pd.DataFrame) -> list[Line]:
    """Returns the frame's rows with Python's own values, None where there is none."""
    return [dict(row) for row in to_rows(frame)]


def failures(rows: pd.DataFrame) -> tuple[list[Line], list[Line]]:
    """Returns cells without a number by status, backend and reason, the most urgent first; and those not expected."""
    missing = rows[(rows["status"] != "ok").fillna(True)].fillna({"reason": ""})
    groups: dict[tuple[str, str, str], list[Line]] = {}
    for row in records(missing):
        groups.setdefault((row["status"], row["label"], row["reason"]), []).append(row)
    found = []
    for (status, label, reason), members in sorted(groups.items(), key=lambda item: BY_URGENCY.index(item[0][0])):
        cells = members[0]["cell"] if len(members) == 1 else f"{len(members)} cells"
        kind = "warn" if status in ("known_failure", "not_run") else "bad"
        anchor = members[0]["anchor"]
        found.append(
            {"status": status, "label": label, "reason": reason, "cells": cells, "kind": kind, "anchor": anchor}
        )
    absent = [line for line in found if line["status"] in EXPECTED_ABSENT]
    return [line for line in found if line["status"] not in EXPECTED_ABSENT], absent


def summary(rows: pd.DataFrame, baseline: str | None) -> list[Line]:
    """Returns, for each machine, the fastest of each workload and phase, by latency and by throughput."""
    found = []
    for machine, of_machine in work(rows).groupby("machine", sort=True):
        lines = []
        for _, of_cell in of_machine.groupby(["cell", "workload_digest"], sort=False):
            first = records(of_cell.sort_values("latency_p50_s", kind="stable"))[0]
            most = records(of_cell.sort_values(SAMPLES, ascending=False, kind="stable", na_position="last"))[0]
            base = of_cell.loc[of_cell["plain"] == of_backend(baseline), "latency_p50_s"]
            lines.append(
                {
                    "workload": first["cell"].replace(f" {first['phase']}", "", 1),
                    "phase": first["phase"],
                    "latency_label": first["plain"],
                    "latency": time(first["latency_p50_s"]) + mark(first),
                    "latency_anchor": first["anchor"],
                    "ratio": ratio(base.iloc[0] / first["latency_p50_s"]) if len(base) else "",
                    "rate_label": most["plain"],
                    "rate": "" if most[SAMPLES] is None else rate(most[SAMPLES]) + mark(most),
                    "rate_anchor": most["anchor"],
                }
            )
        found.append({"name": machine, "lines": lines})
    return found


def of_backend(label: str | None) -> str | None:
    """Returns a label without its machine: on each machine ratios refer to its own baseline."""
    return None if label is None else label.partition("@")[0]


def work(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the verified rows, without the control's."""
    return rows[is_verified(rows) & ~is_control(rows)]


def means(frame: pd.DataFrame, baseline: str | None) -> tuple[list[Line], str]:
    """Returns a line per machine, backend, phase and metric, and what the axis of their dots is.

    Ratios refer to the baseline of the same machine; the control, and what measures limits, enter no mean.
    """
    whole = pd.concat([means_by_machine(frame, metric, baseline) for metric in ("latency_p50_s", SAMPLES)])
    whole = whole[whole["cells"] > 1]
    if whole.empty:
        return [], ""
    ends = [value for name in ("ratio", "ratio_low", "ratio_high") for value in whole[name].dropna().tolist()]
    least, most = svg.axis(ends)
    several = whole["machine"].nunique() > 1
    lines = []
    for line in records(whole):
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


def comparisons(rows: pd.DataFrame, baseline: str | None) -> list[Line]:
    """Returns, for each machine, a chart per cell: a bar per backend, or the word in its place."""
    found: list[Line] = []
    shown = rows[~is_control(rows) & ~rows["label"].isin(idle_labels(rows))]
    for machine, of_machine in shown.groupby("machine", sort=True):
        charts: list[Line] = []
        for cell, of_cell in of_machine.groupby("cell", sort=False):
            times = of_cell.loc[is_verified(of_cell), ["latency_p50_s", "latency_ci_high_s"]]
            if times.empty:
                continue
            unit, longest = time_unit(times["latency_p50_s"].tolist()), times.max().max()
            base = of_cell[of_cell["plain"] == of_backend(baseline)]
            bars = [_bar(row, longest, unit, times["latency_p50_s"].min(), base) for row in records(of_cell)]
            charts.append({"title": cell, "bars": [one for one in bars if one]})
        cells = sum(len(chart["bars"]) for chart in charts)
        found.append({"name": machine, "charts": charts, "cells": cells})
    total = sum(machine["cells"] for machine in found)
    return [{**machine, "open": number == 0 and total <= 4 * OPEN_CHARTS} for number, machine in enumerate(found)]


def _bar(row: Line, longest: float, unit: str, shortest: float, base: pd.DataFrame) -> Line | None:
    """Returns a backend's bar; a word where it has no number, and nothing where it is not here."""
    if row["status"] != "ok" or row["verification"] != "passed":
        if row["status"] in EXPECTED_ABSENT:
            return None
        return {"label": row["plain"], "svg": "", "value": row["status"], "ratio": "", "anchor": row["anchor"]}
    seconds, low, high = row["latency_p50_s"], row["latency_ci_low_s"], row["latency_ci_high_s"]
    ends = (None, None) if low is None or high is None else (low / longest, high / longest)
    kind = "best" if seconds == shortest else ""
    kind += " fuzzy" if row["quality"] == "degraded" else ""
    same = not base.empty and base["workload_digest"].iloc[0] == row["workload_digest"] and is_verified(base).iloc[0]
    return {
        "label": row["plain"],
        "svg": svg.bar(seconds / longest, ends[0], ends[1], kind),
        "value": in_time_unit(seconds, unit) + mark(row),
        "ratio": ratio(base["latency_p50_s"].iloc[0] / seconds) if same else "",
        "anchor": row["anchor"],
    }


@dataclass(frozen=True)
class Phases:
    """Training against inference: a line per workload and backend, what the axis is, whether any energy or price is
    known, where the prices are from, and why others are not.
    """

    lines: list[Line] = field(default_factory=list)
    axis: str = ""
    has_energy: bool = False
    has_money: bool = False
    prices: list[str] = field(default_factory=list)
    no_prices: list[str] = field(default_factory=list)


def training_against_inference(frame: pd.DataFrame) -> Phases:
    """Returns what the page says of it, at the prices of `results.prices.known_prices`."""
    compared = phases(frame)
    compared = compared[compared["time_ratio"].notna()]
    if compared.empty:
        return Phases()
    sources = Sources()
    least, most = svg.axis(compared["time_ratio"].tolist())
    several = compared["machine"].nunique() > 1
    cell = ["workload", "size", "precision", "batch", "sequence", "workload_digest"]
    fastest = compared.groupby(cell, dropna=False)[["train_s_per_sample", "infer_s_per_sample"]].transform("min")
    lines = []
    for row, best in zip(records(compared), records(fastest), strict=True):
        train, infer = row["train_s_per_sample"], row["infer_s_per_sample"]
        lines.append(
            {
                "workload": f"{row['workload']} {row['size']}, batch {row['batch']}",
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


def row_lines(rows: pd.DataFrame) -> list[Line]:
    """Returns the rows as they are shown, each with the anchor that numbers link to."""
    return [
        {
            "id": row["anchor"],
            "machine": row["machine"],
            "cell": row["cell"],
            "label": row["plain"],
            "status": row["status"],
            "latency": "" if row["latency_p50_s"] is None else time(row["latency_p50_s"]) + mark(row),
            "rate": "" if row[SAMPLES] is None else rate(row[SAMPLES]),
            "error": "" if row["error_worst"] is None else f"{row['error_worst']:.1e}",
            "quality": " ".join(str(row[name]) for name in ("quality", "flags") if row[name] is not None),
            "run": "" if row["run_id"] is None else row["run_id"],
            "software": "" if row["software_id"] is None else row["software_id"],
            "digest": "" if row["workload_digest"] is None else row["workload_digest"],
            "versions": versions(row["library_versions"]),
        }
        for row in records(rows)
    ]


def versions(text: object) -> str:
    """Returns `torch 2.13.0, onnx 1.20` of a row's JSON; nothing where it is none."""
    if not isinstance(text, str):
        return ""
    try:
        known = json.loads(text)
    except ValueError:
        return ""
    return ", ".join(f"{name} {version}" for name, version in known.items()) if isinstance(known, dict) else ""


def time(seconds: float) -> str:
    """Returns a time in the unit in which it reads best."""
    return in_time_unit(seconds, time_unit([seconds]))


def mark(row: Any) -> str:
    """Returns the mark of a disturbed number."""
    return DEGRADED if row["quality"] == "degraded" else ""


def axis_text(least: float, most: float) -> str:
    """Returns what a logarithmic axis spans, in words."""
    return f"{ratio(least)} to {ratio(most)}, log scale"


def chosen_baseline(frame: pd.DataFrame, labels: Sequence[str], given: str | None) -> str | None:
    """Returns the label that ratios refer to; raises ValueError for a given one that is not there."""
    if given is None:
        return default_baseline(frame)
    if given not in labels:
        raise ValueError(f"unknown baseline {given!r}; known: {', '.join(labels)}")
    return given
