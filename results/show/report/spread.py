"""How the report shows the spread of latency: histograms of samples, and strips where none were kept."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from results.record.human import in_time_unit, ratio, time_unit
from results.record.row import cell_of
from results.record.samples import Samples
from results.show.report import svg
from results.show.report.rows import Line, by_machine
from results.show.report.tables import OPEN_CHARTS

LEAST_SPAN = 1.01
"""Of a histogram's axis."""


def spreads(rows: Sequence[Line], samples: Samples) -> tuple[list[Line], str]:
    """Returns, for each machine, how each cell's latency is spread, and what the axis of strips is.

    That is a histogram where there are samples of the row, and a strip from shortest to longest where there are none.
    """
    shown = [row for row in rows if row["is_work"] and None not in (row["latency_min_s"], row["latency_max_s"])]
    if not shown:
        return [], ""
    scale = svg.axis([0.8, 2.0])
    machines = []
    for number, (machine, of_machine) in enumerate(by_machine(shown)):
        lines = [_spread(row, scale, samples.get((row["run_id"], *cell_of(row)))) for row in of_machine]
        machines.append({"name": machine, "lines": lines, "open": number == 0 and len(shown) <= 4 * OPEN_CHARTS})
    return machines, f"{ratio(scale[0])} to {ratio(scale[1])}"


def _spread(row: Line, scale: tuple[float, float], samples: Sequence[float] | None) -> Line:
    middle = row["latency_p50_s"]
    low, high = row["latency_ci_low_s"], row["latency_p90_s"]
    high = row["latency_ci_high_s"] if high is None else high
    measured = (row["latency_min_s"], low, middle, high, row["latency_max_s"])
    ends: list[float] = [middle if end is None else end for end in measured]
    unit = time_unit([middle])
    names = ("latency_min_s", "latency_p50_s", "latency_p90_s", "latency_p99_s", "latency_max_s")
    values = ["" if row[name] is None else in_time_unit(row[name], unit) for name in names]
    return {
        "what": f"{row['cell']}, {row['plain']}",
        "anchor": row["anchor"],
        "as": "strip" if samples is None else "histogram",
        "svg": svg.strip([end / middle for end in ends], scale) if samples is None else _histogram(samples, middle),
        "values": [*values, "" if row["latency_n"] is None else f"{row['latency_n']:,}"],
    }


def _histogram(samples: Sequence[float], middle: float) -> str:
    """Returns the histogram from the shortest to p99, so that one late step does not press all others into a bin.

    The axis spans a percent at least: below that lies what a clock resolves.
    """
    ordered = np.sort(samples)
    least, most = float(ordered[0]), float(np.quantile(ordered, 0.99, method="higher"))
    if most < LEAST_SPAN * least:
        centre = math.sqrt(least * most)
        least, most = centre / math.sqrt(LEAST_SPAN), centre * math.sqrt(LEAST_SPAN)
    return svg.histogram(ordered.tolist(), least, most, middle)
