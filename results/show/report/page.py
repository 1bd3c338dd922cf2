"""The report: one HTML file without network or JavaScript, failures first, every number linked to its row."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from results.nights.history import History
from results.nights.store import series_of
from results.record.row import Row
from results.record.samples import Samples
from results.record.text import directions_written_out
from results.show.report.batches import batch_lines
from results.show.report.rows import Line, numbered, of_backend, row_lines
from results.show.report.series import alarm_lines, first_night, histories, missing_lines
from results.show.report.spread import spreads
from results.show.report.tables import (
    chosen_baseline,
    comparisons,
    failures,
    means,
    summary,
    training_against_inference,
)
from results.show.report.tokens import drawn, served
from results.show.services.lines import service_lines
from results.tables.table import placed

TEMPLATE, STYLE = "report.html.j2", "report.css"
CONTENTS = {
    "failures": "What needs attention",
    "summary": "Who is fastest",
    "batches": "Which batch",
    "tokens": "Prompt and generated tokens",
    "comparisons": "Side by side",
    "phases": "Training against inference",
    "histories": "Night after night",
    "services": "Services",
    "distributions": "Distributions",
    "rows": "Rows",
}


def page(
    frame: pd.DataFrame,
    history: History | None = None,
    baseline: str | None = None,
    samples: Samples | None = None,
    services: Sequence[Row] = (),
) -> str:
    """Returns the page of the rows in `frame`, and of the nights in `history`: the same text for the same rows.

    `samples` are those behind the rows, as far as they were kept. Where nobody ran in the last of the nights there is
    no row: it says so, and what is missing. Raises ValueError where there is neither row nor night, or an unknown
    baseline.
    """
    if frame.empty and history is None and not services:
        raise ValueError("no row to report; expected runs of `samestep run`")
    rows = numbered(placed(frame))
    chosen = None if frame.empty else chosen_baseline(frame, sorted({row["label"] for row in rows}), baseline)
    failed, absent = failures(rows)
    mean_lines, means_axis = means(frame, chosen)
    of_phases = training_against_inference(frame)
    spread_lines, spreads_axis = spreads(rows, samples or {})
    nights = [] if history is None else histories(history, _anchors(rows))
    shown = {line["id"][1:] for machine in nights for line in machine["lines"]}
    alarms = [] if history is None else alarm_lines(history, shown)
    missing = [] if history is None else missing_lines(history)
    of_tokens, fastest = served(rows, chosen), summary(rows, chosen)
    has_rows = dict.fromkeys(("comparisons", "rows"), not frame.empty) | {"summary": fastest, "tokens": of_tokens}
    sections = has_rows | {
        "batches": (of_batches := batch_lines(frame)),
        "phases": of_phases.lines,
        "histories": nights,
        "distributions": spread_lines,
        "services": services,
    }
    style = (Path(__file__).parent / STYLE).read_text(encoding="utf-8")
    context = {
        "style": style,
        "style_hash": b64encode(sha256(style.encode()).digest()).decode(),
        **_headings(rows, history, len(alarms), len(failed), len(frame) - len(rows)),
        "contents": [(name, text) for name, text in CONTENTS.items() if sections.get(name, True)],
        "alarms": alarms,
        "missing": missing,
        "failures": failed,
        "absent": absent,
        "baseline": of_backend(chosen),
        "summary": fastest,
        "batches": of_batches,
        "tokens": of_tokens,
        "curves": drawn(frame) if of_tokens else [],
        "means": mean_lines,
        "means_axis": means_axis,
        "comparisons": comparisons(rows, chosen),
        "phases": of_phases,
        "histories": nights,
        "first_night": "" if history is None or not nights else str(history.nights.nights[first_night(history.nights)]),
        "last_night": "" if history is None else str(history.nights.nights[-1]),
        "spreads": spread_lines,
        "spreads_axis": spreads_axis,
        "spread_as": {line["as"] for machine in spread_lines for line in machine["lines"]},
        "rows": row_lines(rows),
        "services": service_lines(services),
    }
    if frame.empty and history is None:
        context |= {"title": "Services", "subtitle": "No cell was measured, and nothing here is verified."}
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    # Of the whole page at once, so that no text can be forgotten.
    return directions_written_out(environment.get_template(TEMPLATE).render(context))


def _anchors(rows: Iterable[Line]) -> dict[tuple[str, str], str]:
    """Returns where the row of a run and a series is on the page."""
    return {(str(row["run_id"]), series_of(row)): row["anchor"] for row in rows}


def _headings(rows: Sequence[Line], history: History | None, alarms: int, failed: int, older: int) -> dict[str, object]:
    """Returns title, tiles and foot of the page; the only dates are those of the runs. `older` rows are not shown."""
    runs, machines = {row["run_id"] for row in rows} - {None}, sorted({row["machine"] for row in rows})
    days = sorted({run[:8] for run in runs})
    nobody_ran = "" if history is None or rows else f"No machine ran in the night {history.nights.nights[-1]}"
    day = f"{days[-1][:4]}-{days[-1][4:6]}-{days[-1][6:8]}" if days else "unknown day"
    ok = sum(row["status"] == "ok" for row in rows)
    tiles = [
        _tile(len(machines), "machine", "machines"),
        _tile(len(rows), "cell", "cells"),
        {"value": ok, "name": "verified and timed", "kind": "good"},
        _tile(failed, "kind of failure", "kinds of failure", "bad" if failed else ""),
    ]
    if history is not None:
        away = int(history.missing_machines["is_away"].sum())
        if not history.unjudged:
            tiles.append(_tile(alarms, "open regression", "open regressions", "bad" if alarms else "good"))
        tiles.append(_tile(away, "machine away", "machines away", "bad" if away else ""))
    versions = ", ".join(sorted({row["samestep_version"] for row in rows} - {None})) or "of unknown version"
    return {
        "nobody_ran": nobody_ran,
        "title": nobody_ran
        or f"The same step on {', '.join(machines) if len(machines) < 4 else f'{len(machines)} machines'}",
        "subtitle": "There is no number of it, and none of another night stands in for it."
        if nobody_ran
        else f"Runs of {day}, by samestep {versions}. Every number is a number about the same computation, "
        "verified against a float64 reference."
        + (f" Of each cell the newest: {older} older rows are not shown." * (older > 0)),
        "tiles": tiles,
        "footer": f"{len(rows)} rows of {len(runs)} {'run' if len(runs) == 1 else 'runs'}. What each column means: "
        "docs/reading-the-numbers.md; how a number is made: docs/measuring.md.",
    }


def _tile(value: int, one: str, many: str, kind: str = "") -> dict[str, object]:
    return {"value": value, "name": one if value == 1 else many, "kind": kind}
