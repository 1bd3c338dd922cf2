"""The report: one HTML file without network or JavaScript, failures first, every number linked to its row."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from results.history import History
from results.report_history import alarm_lines, histories, missing_lines
from results.report_spread import spreads
from results.report_tables import (
    chosen_baseline,
    comparisons,
    failures,
    means,
    numbered,
    of_backend,
    row_lines,
    summary,
    training_against_inference,
)
from results.samples import Samples
from results.store import series_of
from results.table import placed, to_rows

TEMPLATE = "report.html.j2"
CONTENTS = {
    "failures": "What needs attention",
    "summary": "Who is fastest",
    "comparisons": "Side by side",
    "phases": "Training against inference",
    "histories": "Night after night",
    "distributions": "Distributions",
    "rows": "Rows",
}


def page(
    frame: pd.DataFrame, found: History | None = None, baseline: str | None = None, samples: Samples | None = None
) -> str:
    """Returns the page of the rows in `frame`, and of the nights in `found`: the same text for the same rows.

    `samples` are those behind the rows, as far as they were kept. Where nobody ran in the last of the nights there is
    no row: it says so, and what is missing. Raises ValueError where there is neither row nor night, or an unknown
    baseline.
    """
    if frame.empty and found is None:
        raise ValueError("no row to report; expected runs of `pytest bench/`")
    rows = numbered(placed(frame))
    chosen = None if frame.empty else chosen_baseline(frame, sorted(rows["label"].unique()), baseline)
    failed, absent = failures(rows)
    mean_lines, means_axis = means(frame, chosen)
    of_phases = training_against_inference(frame)
    spread_lines, spreads_axis = spreads(rows, samples or {})
    nights = [] if found is None else histories(found, _anchors(rows))
    shown = {line["id"][1:] for machine in nights for line in machine["lines"]}
    alarms = [] if found is None else alarm_lines(found, shown)
    missing = [] if found is None else missing_lines(found)
    has_rows = dict.fromkeys(("summary", "comparisons", "rows"), not frame.empty)
    sections = has_rows | {"phases": of_phases.lines, "histories": nights, "distributions": spread_lines}
    context = {
        **_headings(rows, found, len(alarms), len(failed)),
        "contents": [(name, text) for name, text in CONTENTS.items() if sections.get(name, True)],
        "alarms": alarms,
        "missing": missing,
        "failures": failed,
        "absent": absent,
        "baseline": of_backend(chosen),
        "summary": summary(rows, chosen),
        "means": mean_lines,
        "means_axis": means_axis,
        "comparisons": comparisons(rows, chosen),
        "phases": of_phases,
        "histories": nights,
        "first_night": "" if found is None else str(found.nights.nights[0]),
        "last_night": "" if found is None else str(found.nights.nights[-1]),
        "spreads": spread_lines,
        "spreads_axis": spreads_axis,
        "spread_as": {line["as"] for machine in spread_lines for line in machine["lines"]},
        "rows": row_lines(rows),
    }
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(TEMPLATE).render(context, style_hash=_style_hash())


def _style_hash() -> str:
    """Returns the one style that the page's Content-Security-Policy lets act: what text might bring along does not."""
    style = (Path(__file__).parent / TEMPLATE).read_text("utf-8").partition("<style>")[2].partition("</style>")[0]
    return f"sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}"


def _anchors(rows: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Returns where the row of a run and a series is on the page."""
    records = to_rows(rows)
    return {(str(row["run_id"]), series_of(row)): str(row["anchor"]) for row in records}


def _headings(rows: pd.DataFrame, found: History | None, alarms: int, failed: int) -> dict[str, object]:
    """Returns title, tiles and foot of the page; the only dates are those of the runs."""
    runs, machines = rows["run_id"].dropna().unique(), sorted(rows["machine"].unique())
    days = sorted({str(run)[:8] for run in runs})
    nobody_ran = "" if found is None or len(rows) else f"No machine ran in the night {found.nights.nights[-1]}"
    day = f"{days[-1][:4]}-{days[-1][4:6]}-{days[-1][6:8]}" if days else "unknown day"
    ok = int((rows["status"] == "ok").sum())
    tiles: list[dict[str, object]] = [
        {"value": len(machines), "name": "machine" if len(machines) == 1 else "machines", "kind": ""},
        {"value": len(rows), "name": "cells", "kind": ""},
        {"value": ok, "name": "verified and timed", "kind": "good"},
        {"value": failed, "name": "kinds of failure", "kind": "bad" if failed else ""},
    ]
    if found is not None:
        away = int(found.missing_machines["is_away"].sum())
        tiles.append({"value": alarms, "name": "open regressions", "kind": "bad" if alarms else "good"})
        tiles.append({"value": away, "name": "machines away", "kind": "bad" if away else ""})
    versions = ", ".join(sorted(rows["samestep_version"].dropna().unique())) or "of unknown version"
    return {
        "nobody_ran": nobody_ran,
        "title": nobody_ran
        or f"The same step on {', '.join(machines) if len(machines) < 4 else f'{len(machines)} machines'}",
        "subtitle": "There is no number of it, and none of another night stands in for it."
        if nobody_ran
        else f"Runs of {day}, by samestep {versions}. Every number is a number about the same computation, "
        "verified against a float64 reference before it was timed.",
        "tiles": tiles,
        "footer": f"{len(rows)} rows of {len(runs)} runs. What each column means: docs/reading-the-numbers.md; how a "
        "number is made: docs/measuring.md.",
    }
