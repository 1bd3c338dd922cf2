"""What is missing: machines that are away, nights that they missed, cells that lost their number, and continuity."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from results.nights.identity import renamed
from results.nights.nights import Nights, rows_of_runs
from results.record.cells.ladder import NOT_NEEDED
from results.record.dimensions import CELL_COLUMNS
from results.record.row import Row
from results.tables.table import to_rows

MACHINE_COLUMNS = ("machine", "is_away", "last_night", "nights", "missed", "missed_nights")
MISSING_CELL_COLUMNS = ("machine", "run_id", "cell", "status", "reason", "last_ok")


def missing_machines(nights: Nights, expected: Sequence[str] | None = None) -> pd.DataFrame:
    """Returns a line per machine: when it ran last, how many nights it missed since its first, and if it is away.

    `expected` lists the machines that are to run: no other is ever away or misses a night. Where it is None,
    each that ever ran is expected, but for names that a machine had before (`former_names`). One that ran before these
    nights is away, and one that is expected and never ran has no last night.
    """
    former = former_names(nights, expected)
    lines: list[dict[str, Any]] = []
    for name, ran in nights.machines().groupby("machine", sort=True, observed=True):
        machine, days = str(name), {night.date() for night in ran["night"]}
        first, last = min(days), max(days)
        missed = [night for night in nights.nights if night >= first and night not in days]
        if machine in former or (expected is not None and machine not in expected):
            missed = []
        lines.append(
            {
                "machine": machine,
                "is_away": last < nights.nights[-1] and bool(missed),
                "last_night": last,
                "nights": len(days),
                "missed": len(missed),
                "missed_nights": ", ".join(f"{night:%Y-%m-%d}" for night in missed[-10:]),
            }
        )
    last_nights = nights.seen.groupby("machine")["last"].max()
    wanted = set(last_nights.index) - set(former) if expected is None else set(expected)
    gone = sorted(wanted - {line["machine"] for line in lines})
    lines += [
        dict(zip(MACHINE_COLUMNS, (machine, True, last_nights.get(machine), 0, 0, ""), strict=True)) for machine in gone
    ]
    return pd.DataFrame(lines, columns=list(MACHINE_COLUMNS))


def former_names(nights: Nights, expected: Sequence[str] | None = None) -> dict[str, str]:
    """Returns the names that did not run in the newest night and are a machine's no more, each with its name of today.

    A name that is expected is none of them, whatever hardware it had.
    """
    newest = nights.seen.groupby("machine")["last"].max()
    return {
        name: today
        for name, today in renamed(nights.seen).items()
        if newest[name] < nights.nights[-1] and name not in (expected or ())
    }


def method_breaks(nights: Nights) -> tuple[str, ...]:
    """Returns a line per machine and night from which on it was measured by another method than before."""
    rows = nights.rows[nights.rows["series"].isin(nights.series.index)]
    methods = nights.series["method_version"].astype("string").fillna("none")
    machines = nights.series["machine"].astype("string").fillna("unknown")
    names = rows["series"].astype(str)
    of_rows = pd.DataFrame({"machine": names.map(machines), "method": names.map(methods), "night": rows["night"]})
    lines: list[str] = []
    for machine, ran in of_rows.drop_duplicates().sort_values("night", kind="stable").groupby("machine", sort=True):
        began = ran.groupby("method", sort=False)["night"].min()
        lines += [
            f"{machine}: from {night:%Y-%m-%d} on measured by method {method}, before by {before}; its series begin"
            " anew, and no number compares across"
            for (before, _), (method, night) in pairwise(began.items())
        ]
    return tuple(lines)


def missing_cells(store: Path | str, nights: Nights) -> pd.DataFrame:
    """Returns the cells that had a number in these nights and have none in their machine's newest run, with the reason.

    `last_ok` is the last night with a number. A cell that is not in the newest run was renamed, or left out; that
    is reported once, where the run before had its number: `not in the run`.
    """
    ran = nights.machines().sort_values("run_id").groupby("machine", observed=True, sort=True)
    newest = {str(machine): str(runs["run_id"].iloc[-1]) for machine, runs in ran}
    before = {str(machine): runs["night"].iloc[-2].date() for machine, runs in ran if len(runs) > 1}
    keys = [name for name in CELL_COLUMNS if name != "variant"]
    columns = ("run_id", "machine", *CELL_COLUMNS, "status", "reason")
    now: dict[tuple[str, str], Row] = {}
    for row in to_rows(rows_of_runs(store, [*newest.values()], columns)):
        if row["variant"] is None:
            now[str(row["machine"]), _cell(row, keys)] = row
    ok = nights.rows[nights.rows["status"].eq("ok") & nights.rows["series"].isin(nights.series.index)]
    last_ok: dict[tuple[str, str], date] = {}
    nights_of = ok.groupby("series", observed=True)["night"].max()
    for row in to_rows(nights.series.loc[nights_of.index, ["machine", *keys]].assign(night=nights_of)):
        place, night = (str(row["machine"]), _cell(row, keys)), row["night"].date()  # type: ignore[attr-defined]
        last_ok[place] = max(night, last_ok.get(place, night))
    lines: list[dict[str, Any]] = []
    for (machine, cell), night in sorted(last_ok.items()):
        if (machine, cell) in now:
            status, reason = now[machine, cell]["status"], now[machine, cell]["reason"]
        elif night == before.get(machine):
            status, reason = "not in the run", "renamed, or left out"
        else:
            continue
        if status not in ("ok", NOT_NEEDED):  # one of several batches may gain 5 % one night and not the next
            line = (machine, newest[machine], cell, status, reason, night)
            lines.append(dict(zip(MISSING_CELL_COLUMNS, line, strict=True)))
    return pd.DataFrame(lines, columns=list(MISSING_CELL_COLUMNS))


def _cell(row: Row, keys: Sequence[str]) -> str:
    return " ".join(str(row[name]) for name in keys if row[name] is not None)
