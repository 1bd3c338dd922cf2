"""What the report shows of rows: failures, the fastest, means, bars, training against inference."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import compress

import pandas as pd

from results.record.cells.ladder import NOT_NEEDED
from results.record.dimensions import SETTINGS
from results.record.human import in_time_unit, rate, ratio, time_unit
from results.show.legend import BY_URGENCY
from results.show.money import Sources, dollars
from results.show.numbers import plus_minus
from results.show.phases_text import half_width_of, named, step_words
from results.show.report import svg
from results.show.report.rows import SAMPLES, Line, by_machine, grouped, mark, of_backend, records, time
from results.tables.batches.rungs import are_read
from results.tables.choice import as_good, least
from results.tables.means import means_by_machine
from results.tables.phases import PHASES, STEP, at_common, phases
from results.tables.ratio import Fastest, fastest, half_width, times_as_fast
from results.tables.table import default_baseline
from results.tables.tokens.kinds import TOKENS_OF

EXPECTED_ABSENT = ("unavailable", "unsupported", NOT_NEEDED)
OPEN_CHARTS = 40
"""Machines with more cells than this are folded."""


def failures(rows: Sequence[Line]) -> tuple[list[Line], list[Line]]:
    """Returns cells without a number by status, backend and reason, the most urgent first; and those not expected."""
    missing = [{**row, "reason": row["reason"] or ""} for row in rows if row["status"] != "ok"]
    groups = grouped(missing, "status", "label", "reason")
    failed = []
    for (status, label, reason), members in sorted(groups.items(), key=lambda item: BY_URGENCY.index(item[0][0])):
        cells = members[0]["cell"] if len(members) == 1 else f"{len(members)} cells"
        kind = "warn" if status in ("known_failure", "not_run", "disturbed") else "bad"
        anchor = members[0]["anchor"]
        failed.append(
            {"status": status, "label": label, "reason": reason, "cells": cells, "kind": kind, "anchor": anchor}
        )
    absent = [line for line in failed if line["status"] in EXPECTED_ABSENT]
    return [line for line in failed if line["status"] not in EXPECTED_ABSENT], absent


def summary(rows: Sequence[Line], baseline: str | None) -> list[Line]:
    """Returns, for each machine, the fastest of each workload and phase, by latency and by throughput.

    What measures limits is in it where there is nothing else; language models as they are served have a part of
    their own.
    """
    work = [row for row in rows if row["is_work"] and row["phase"] not in TOKENS_OF]
    models = [row for row in work if not row["is_limit"]]
    served = any(row["is_work"] and row["phase"] in TOKENS_OF for row in rows)
    return [
        {"name": machine, "lines": [fastest_line(of_cell, baseline) for of_cell in equal_work(of_machine)]}
        for machine, of_machine in by_machine(models if models or served else work)
    ]


def equal_work(rows: Iterable[Line]) -> list[list[Line]]:
    """Returns the rows that may be set against each other; of many batches of a step those that a person reads of."""
    with_digest = [row for row in rows if row["workload_digest"] is not None]
    with_digest = [*compress(with_digest, are_read(with_digest))]
    return list(grouped(with_digest, "cell", "workload_digest").values())


def fastest_line(of_cell: Sequence[Line], baseline: str | None, shown: str = SAMPLES) -> Line:
    """Returns who is fastest, and who has the most throughput: with those that cannot be told from it.

    `shown` is the rate that is told, which goes with that of samples.
    """
    of_latency = fastest(of_cell, "latency_p50_s")
    by_label = {row["label"]: row for row in of_cell}
    first = by_label[of_latency.labels[0]]
    with_rate = [row for row in of_cell if row[SAMPLES] is not None]
    of_rate = fastest(with_rate, SAMPLES) if with_rate else of_latency
    most = by_label[of_rate.labels[0]]
    base = [row for row in of_cell if row["plain"] == of_backend(baseline)]
    return {
        "workload": _unbroken(first["cell"].replace(f" {first['phase']}", "", 1)),
        "phase": first["phase"],
        "latency_label": _named(of_latency),
        "latency": time(first["latency_p50_s"]) + mark(first) + plus_minus(half_width(first, "latency_p50_s")),
        "latency_anchor": first["anchor"],
        "ratio": ratio(times_as_fast(first, base[0], "latency_p50_s").value) if base else "",
        "rate_label": _named(of_rate),
        "rate": "" if not with_rate else rate(most[shown] or 0) + mark(most) + plus_minus(half_width(most, SAMPLES)),
        "rate_anchor": most["anchor"],
    }


def _named(first: Fastest) -> str:
    """Returns who is fastest, with those that nothing tells from it, and by how much they may differ."""
    within = "" if first.within is None else _unbroken(f" (within {100 * first.within:.0f} %)")
    unsure = "" if first.is_sure else ", too few rounds to be sure"
    return ", ".join(str(of_backend(label)) for label in first.labels) + within + unsure


def _unbroken(text: str) -> str:
    """Returns the text with shapes, depths and per cents in one piece wherever a line ends."""
    return re.sub(r"(?<=\d) (?=%)|(?<=\d) (?=×)|(?<=×) |(?<=depth) |(?<=batch) ", "\N{NO-BREAK SPACE}", text)


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
        low, high = line["ratio_low"], line["ratio_high"]
        kind = "" if low is None else "faster" if low > 1 else "slower" if high < 1 else ""
        lines.append(
            {
                "label": line["label"] + (f", {line['machine']}" if several else ""),
                "phase": line["phase"],
                "metric": "throughput" if line["metric"] == SAMPLES else "latency",
                "ratio": ratio(line["ratio"]),
                "svg": svg.dot(line["ratio"], low, high, least, most, kind),
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
    best = _best_of(verified)
    longest = max(row["latency_ci_high_s"] or 0 for row in verified)
    base = next((row for row in of_cell if row["plain"] == of_backend(baseline)), None)
    bars = (_bar(row, max(longest, *times), time_unit(times), row["label"] in best, base) for row in of_cell)
    return [bar for bar in bars if bar is not None]


def _best_of(verified: Sequence[Line]) -> set[str]:
    """Returns the labels of the shortest time, and of those that nothing tells from it."""
    shortest = min(verified, key=lambda row: row["latency_p50_s"])
    of_work = [row for row in verified if row["workload_digest"] == shortest["workload_digest"]]
    return {shortest["label"], *fastest(of_work, "latency_p50_s").labels}


def _bar(row: Line, longest: float, unit: str, is_best: bool, base: Line | None) -> Line | None:
    """Returns a backend's bar; a word where it has no number, and nothing where it is not here."""
    if not row["is_verified"]:
        if row["status"] in EXPECTED_ABSENT:
            return None
        return {"label": row["plain"], "svg": "", "value": row["status"], "ratio": "", "anchor": row["anchor"]}
    seconds, low, high = row["latency_p50_s"], row["latency_ci_low_s"], row["latency_ci_high_s"]
    ends = (None, None) if low is None or high is None else (low / longest, high / longest)
    kind = "best" if is_best else ""
    kind += " fuzzy" if row["quality"] == "degraded" else ""
    same = base is not None and base["is_verified"] and base["workload_digest"] == row["workload_digest"]
    return {
        "label": row["plain"],
        "svg": svg.bar(seconds / longest, ends[0], ends[1], kind),
        "value": in_time_unit(seconds, unit) + mark(row) + plus_minus(half_width(row, "latency_p50_s")),
        "ratio": ratio(times_as_fast(row, base, "latency_p50_s").value) if base is not None and same else "",
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
    rows = at_common(records(compared))
    ends = [end for row in rows for end in (row["time_ratio"], *_ends(row)) if end is not None]
    least, most = svg.axis(ends)
    several = compared["machine"].nunique() > 1
    of_cell = grouped(rows, *(name for name in STEP if name not in SETTINGS))
    words = {phase: _words_of_best(of_cell.values(), phase) for phase in PHASES}
    lines = []
    for row in rows:
        train, infer = row["train_s_per_sample"], row["infer_s_per_sample"]
        lines.append(
            {
                "workload": step_words(row),
                "label": named(row) + (f", {row['machine']}" if several and "@" not in row["backend"] else ""),
                "train": time(train) + plus_minus(half_width_of(row, "train")),
                "infer": time(infer) + plus_minus(half_width_of(row, "infer")),
                "best_train": words["train"].get(id(row), ""),
                "best_infer": words["infer"].get(id(row), ""),
                "ratio": ratio(row["time_ratio"]),
                "svg": svg.dot(row["time_ratio"], *_ends(row), least, most),
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


def _words_of_best(cells: Iterable[Sequence[Line]], phase: str) -> dict[int, str]:
    """Returns `best` for the least time of each cell, and `as good` for those that are as good, by the row's id."""
    words: dict[int, str] = {}
    for rows in cells:
        chosen = least(rows, column := f"{phase}_s_per_sample")
        if chosen is not None:
            words |= {id(row): "as good" for row in as_good(rows, chosen, column, phase)} | {id(chosen): "best"}
    return words


def _ends(row: Line) -> tuple[float | None, float | None]:
    """Returns the ends of the interval of training / inference."""
    half = half_width_of(row, *PHASES)
    return (None, None) if half is None else (row["time_ratio"] / (1 + half), row["time_ratio"] * (1 + half))


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
