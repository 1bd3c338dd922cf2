"""What the report shows of language models as they are served: who is fastest at which tokens, and curves."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from results.record.human import ratio
from results.show.numbers import TOKENS
from results.show.report import chart
from results.show.report.rows import Line, by_machine
from results.show.report.tables import equal_work, fastest_line
from results.show.tokens.curves import BATCH, DEPTH, INTERACTIVITY, SHOWN, charts
from results.tables.tokens.kinds import TOKENS_OF

COLOURS = 7
"""So many the style sheet has, as classes `k0` …"""
TITLES = {
    DEPTH: "Time per token over the tokens in the cache",
    BATCH: "Time per token over the sequences of the batch",
    INTERACTIVITY: "Tokens/s of all over tokens/s of one user, from batch to batch",
}


def served(rows: Sequence[Line], baseline: str | None) -> list[Line]:
    """Returns, for each machine, a line per step that reads a prompt or generates, prompts first."""
    machines = []
    for machine, of_machine in by_machine(row for row in rows if row["is_work"] and row["phase"] in TOKENS_OF):
        cells = sorted(equal_work(of_machine), key=lambda cell: [*TOKENS_OF].index(cell[0]["phase"]))
        machines.append({"name": machine, "lines": [_line(of_cell, baseline) for of_cell in cells]})
    return machines


def _line(of_cell: Sequence[Line], baseline: str | None) -> Line:
    found = fastest_line(of_cell, baseline, TOKENS)
    first = next(row for row in of_cell if row["anchor"] == found["latency_anchor"])
    best = first["times_memory_roof"]
    of_best = "" if best is None or first["depth"] is None else ratio(best)
    return {**found, "tokens": TOKENS_OF[first["phase"]], "of_best": of_best}


def drawn(frame: pd.DataFrame) -> list[Line]:
    """Returns the curves: for each kind its title, and the charts with their drawings and the names of their lines."""
    all_charts = {show: charts(frame, show) for show in SHOWN}
    labels = sorted({curve.label for of_kind in all_charts.values() for one in of_kind for curve in one.curves})
    classes = {label: f"k{number % COLOURS}" for number, label in enumerate(labels)}
    kinds = []
    for show, of_kind in all_charts.items():
        found = [
            {
                "title": one.title,
                "svg": chart.curves(one, classes),
                "keys": [(classes[curve.label], curve.label) for curve in one.curves],
                "has_best": bool(one.best),
            }
            for one in of_kind
        ]
        if found:
            kinds.append({"title": TITLES[show], "charts": found})
    return kinds
