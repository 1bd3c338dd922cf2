"""What the report shows of nights: each series as a line, with its levels, marks and disturbed nights."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd

from results.nights.changepoints import NORMAL
from results.nights.history import History
from results.nights.nights import Nights
from results.show.report import svg
from results.show.report.rows import Line, in_words, records, time
from results.show.terminal import share

OPEN_SERIES = 60


def histories(history: History, anchors: dict[tuple[str, str], str]) -> list[Line]:
    """Returns, for each machine, a line per series; `anchors` has the row of a series' last run, by (run, series).

    Nothing where there is but one night, which is in the rows.
    """
    nights = history.nights
    if nights.rows["night"].nunique() < 2:
        return []
    cells = dict(zip(nights.series.index, records(nights.series), strict=True))
    first = first_night(nights)
    names, x = nights.matrix("latency")
    disturbed = _disturbed(nights, names)
    marks = _software_marks(nights)
    last_run = _last_runs(nights)
    changes = {
        alarm["series"]: alarm
        for alarm in history.alarms.to_dict("records")
        if alarm["metric"] == "latency" and alarm["is_confirmed"]
    }
    away = set(history.missing_machines.loc[history.missing_machines["is_away"], "machine"])
    machines: dict[str, list[Line]] = {}
    for name, logs in zip(names, x, strict=True):
        cell, change = cells[name], changes.get(name)
        rings, values = disturbed.get(name, {}), np.exp(logs)
        drawn = [rings.get(i, None if np.isnan(v) else float(v)) for i, v in enumerate(values)]
        began = None if change is None else nights.nights.index(change["began"])
        line = svg.Series(drawn, sorted(rings), marks.get(cell["machine"], ()), _levels(values, began), began)
        machines.setdefault(cell["machine"], []).append(
            {
                "id": f"s{name}",
                "what": f"{in_words({**cell, 'precision': cell['precision_requested']})}, {cell['backend']}",
                "svg": svg.history(line.since(first)),
                "anchor": anchors.get((last_run.get(name, ""), name), ""),
                "kind": "bad" if change is not None and change["direction"] == "slower" else "",
                **_statistics(drawn, values[~np.isnan(values)]),
            }
        )
    few = sum(map(len, machines.values())) <= OPEN_SERIES
    return [
        {"name": machine, "lines": sorted(lines, key=_by_cell), "open": few, "away": machine in away}
        for machine, lines in sorted(machines.items())
    ]


def _statistics(drawn: list[float | None], values: np.ndarray) -> Line:
    """Returns the last number that is drawn, and how it and the others lie about the median of those that count."""
    last = next(value for value in reversed(drawn) if value is not None)
    middle = float(np.median(values))
    scatter = NORMAL * float(np.median(np.abs(values / middle - 1)))
    return {
        "last": time(last),
        "change": share(last / middle) if len(values) > 1 else "",
        "scatter": f"{100 * scatter:.1f} %" if len(values) > 2 else "",
    }


def first_night(nights: Nights) -> int:
    """Returns the night, by index, on which the first run of all was: what is drawn begins there."""
    return int((nights.rows["night"].min().date() - nights.nights[0]).days)


def _by_cell(line: Line) -> tuple[str, str]:
    return line["what"], line["id"]


def _levels(values: np.ndarray, began: int | None) -> tuple[tuple[int, int, float], ...]:
    """Returns the levels before and after a change, none where nothing changed."""
    if began is None:
        return ()
    parts = ((0, began - 1), (began, len(values) - 1))
    levels = []
    for first, last in parts:
        part = values[first : last + 1]
        if not np.isnan(part).all():
            start = first + int(np.argmax(~np.isnan(part)))
            levels.append((start, last, float(np.nanmedian(part))))
    return tuple(levels)


def _disturbed(nights: Nights, names: list[str]) -> dict[str, dict[int, float]]:
    """Returns the nights, by index, on which a series has a disturbed number only, and that number."""
    rows = nights.rows
    bad = rows[rows["status"].eq("ok") & rows["quality"].eq("degraded") & rows["series"].isin(names)]
    undisturbed = rows[rows["status"].eq("ok") & rows["quality"].ne("degraded")]
    valid = set(zip(undisturbed["series"].astype(str), undisturbed["night"], strict=True))
    by_series: dict[str, dict[int, float]] = {}
    for series, night, seconds in zip(bad["series"].astype(str), bad["night"], bad["latency_p50_s"], strict=True):
        if (series, night) not in valid and pd.notna(seconds):
            by_series.setdefault(series, {})[(night.date() - nights.nights[0]).days] = float(seconds)
    return by_series


def _software_marks(nights: Nights) -> dict[str, tuple[int, ...]]:
    """Returns the nights, by index, on which a machine ran with other software than the night before."""
    by_machine: dict[str, tuple[int, ...]] = {}
    for machine, ran in nights.machines().groupby("machine", sort=True, observed=True):
        ordered = ran.sort_values("night")
        changed = ordered["software_id"].ne(ordered["software_id"].shift()) & ordered["software_id"].shift().notna()
        days = ((night.date() - nights.nights[0]).days for night in ordered.loc[changed, "night"])
        by_machine[str(machine)] = tuple(days)
    return by_machine


def _last_runs(nights: Nights) -> dict[str, str]:
    """Returns the last run of each series."""
    rows = nights.rows[["series", "run_id"]].astype(str)
    return {str(name): str(run) for name, run in rows.groupby("series")["run_id"].max().items()}


def alarm_lines(history: History, shown: set[str]) -> list[Line]:
    """Returns the open regressions; each links to its series where that is on the page."""
    lines = []
    for alarm in records(history.alarms[history.alarms["is_open"].astype(bool)]):
        series = f"{in_words({**alarm, 'precision': alarm['precision_requested']})}, {alarm['backend']}"
        on_page = alarm["series"] in shown
        lines.append(
            {
                "began": f"{alarm['began']}",
                "is_new": alarm["is_new"],
                "what": f"{series}, {alarm['machine']} ({alarm['metric']})",
                "change": share(alarm["ratio"]),
                "cause": alarm["cause"],
                "id": alarm["alarm_id"],
                "anchor": f"s{alarm['series']}" if on_page else "histories",
            }
        )
    return sorted(lines, key=lambda line: (not line["is_new"], line["began"]))


def missing_lines(history: History) -> list[Line]:
    """Returns machines that are away, nights that were missed, and cells that lost their number."""
    lines: list[Line] = []
    for row in history.missing_machines.to_dict("records"):
        last = row["last_night"]
        if row["is_away"]:
            text = "never ran" if not isinstance(last, date) else f"did not run in the newest night; last on {last}"
            lines.append({"what": row["machine"], "text": text})
        elif row["missed"]:
            lines.append(
                {"what": row["machine"], "text": f"missed {row['missed']} nights, of late {row['missed_nights']}"}
            )
    if history.unjudged:
        lines.append({"what": "Regressions", "text": f"not looked for: {history.unjudged}"})
    for line in (*history.names, *history.breaks):
        title, _, text = line.partition(": ")
        lines.append({"what": title, "text": text})
    for row in history.missing_cells.to_dict("records"):
        text = f"had its last number on {row['last_ok']}, now {row['status']}: {row['reason']}"
        lines.append({"what": f"{row['cell']} on {row['machine']}", "text": text})
    return lines
