"""What changed over the nights, and whether it is real: alarms in groups that share a cause, and what is missing."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from results.nights.nights import METRICS, WINDOW, Nights, read_nights, rows_of_runs
from results.nights.standing import standing_changes
from results.record.files import ResultsError
from results.record.row import Row
from results.record.schema import CELL_COLUMNS
from results.record.text import restore, slug
from results.tables.table import is_control, to_rows

ACKNOWLEDGED = "acknowledged.csv"
ACKNOWLEDGED_COLUMNS = ("alarm_id", "day", "by", "note")
MACHINES = "machines.txt"
MACHINE_COLUMNS = ("machine", "is_away", "last_night", "nights", "missed", "missed_nights")
MISSING_CELL_COLUMNS = ("machine", "run_id", "cell", "status", "reason", "last_ok")
NEAR = 3
"""Nights by which the begin of a shift may be estimated anew, and still be the same alarm."""
TOGETHER = 1
"""Nights by which the alarms of one cause may lie apart."""
SHARED = 3
"""Alarms of a machine in a night, or of its backend, that are said as one."""
ALARM_COLUMNS = (
    "alarm_id",
    "direction",
    "is_confirmed",
    "is_new",
    "is_open",
    "acknowledged",
    "group",
    "cause",
    "ratio",
    "began",
    "raised",
    "kind",
    "p_value",
    "metric",
    "series",
    "machine",
    *CELL_COLUMNS,
    "run_before",
    "run_after",
)


@dataclass(frozen=True)
class History:
    """The nights of a store, its alarms (a line each, `ALARM_COLUMNS`), and the machines and cells that are missing.

    `ratio` of an alarm is the time after over the time before: 1.05 is 5 % slower. `is_confirmed`: it is believed among
    all series looked at. `is_new`: so in the newest night for the first time. `is_open`: it is slower, confirmed and
    not acknowledged; where a series recovered, its last change is the recovery, and the alarm is gone.
    """

    nights: Nights
    alarms: pd.DataFrame
    missing_machines: pd.DataFrame
    missing_cells: pd.DataFrame
    problems: tuple[str, ...]


def history(
    store: Path | str,
    window: int = WINDOW,
    until: date | None = None,
    acknowledged: Path | None = None,
    machines: Path | None = None,
) -> History:
    """Returns what the last `window` nights of the store say, up to `until` or its newest night.

    `acknowledged` is a CSV with `ACKNOWLEDGED_COLUMNS` (by default STORE/acknowledged.csv, where there is one).
    `machines` names those that are expected, one a line (by default STORE/machines.txt, where there is one).
    Raises ResultsError for a store without runs of which none is expected, and for a file of acknowledgements or of
    machines that is none; ValueError for a window of fewer than 2 nights, or more than 36,500.
    """
    acknowledged = acknowledged or _in_store(store, ACKNOWLEDGED)
    machines = machines or _in_store(store, MACHINES)
    known = {} if acknowledged is None else read_acknowledged(acknowledged)
    expected = () if machines is None else read_machines(machines)
    nights = read_nights(store, window, until, may_be_empty=bool(expected))
    found = alarms_of(nights, known)
    return History(nights, found, missing_machines(nights, expected), missing_cells(store, nights), nights.problems)


def _in_store(store: Path | str, name: str) -> Path | None:
    """Returns a file of the store, None where it has none."""
    return Path(store) / name if "://" not in str(store) and (Path(store) / name).is_file() else None


def read_machines(path: Path) -> tuple[str, ...]:
    """Returns the names in the file, one a line, as runs have them; `#` begins a comment.

    Raises ResultsError where it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(f"cannot read the expected machines in {path}: {error}") from error
    names = [line.partition("#")[0].strip() for line in lines]
    return tuple(dict.fromkeys(slug(name) for name in names if name))


def read_acknowledged(path: Path) -> dict[str, str]:
    """Returns who acknowledged which alarm, and why, by its id. Raises ResultsError with the line for a wrong one."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if tuple(reader.fieldnames or ()) != ACKNOWLEDGED_COLUMNS:
                raise ResultsError(
                    f"{path}: its columns are {reader.fieldnames}; expected {', '.join(ACKNOWLEDGED_COLUMNS)}"
                )
            found = {}
            for row in reader:
                if not all(row[name] for name in ACKNOWLEDGED_COLUMNS) or len(row["alarm_id"].split("-")) != 3:
                    raise ResultsError(
                        f"{path}, line {reader.line_num}: expected an alarm's id, a day, a name and a note"
                    )
                found[row["alarm_id"]] = f"{row['day']} {restore(row['by'])}: {restore(row['note'])}"
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ResultsError(f"cannot read the acknowledgements in {path}: {error}") from error
    return found


def alarms_of(nights: Nights, acknowledged: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Returns the alarms that stand on the last of the nights (`ALARM_COLUMNS`), with who acknowledged which."""
    return _grouped(_acknowledged(_alarms(nights), acknowledged or {}))


def _alarms(nights: Nights) -> pd.DataFrame:
    """Returns a line per alarm of any metric, without what `_acknowledged` and `_grouped` add."""
    found = []
    for metric in METRICS:
        names, x = nights.matrix(metric)
        found += [(metric, names[one.change.series], one) for one in standing_changes(x)]
    runs = _runs(nights, {name for _, name, _ in found})
    lines: list[dict[str, Any]] = []
    for metric, name, one in found:
        alarm, cell, began = one.change, nights.series.loc[name], nights.nights[one.change.began]
        before = max((night for night in runs[name] if night < began), default=None)
        lines.append(
            {
                "alarm_id": f"{name}-{metric}-{began:%Y%m%d}",
                "direction": alarm.direction,
                "is_confirmed": one.raised is not None,
                "is_new": one.raised == len(nights.nights) - 1,
                "ratio": alarm.ratio,
                "began": began,
                "raised": None if one.raised is None else nights.nights[one.raised],
                "kind": alarm.kind,
                "p_value": alarm.p,
                "metric": metric,
                "series": name,
                "machine": cell["machine"],
                **{column: cell[column] for column in CELL_COLUMNS},
                "run_before": None if before is None else runs[name][before][0],
                "run_after": runs[name][began][0],
                "same_software": before is not None and runs[name][before][1] == runs[name][began][1],
            }
        )
    return pd.DataFrame(lines, columns=[*ALARM_COLUMNS, "same_software"])


def _runs(nights: Nights, names: set[str]) -> dict[str, dict[date, tuple[str, str]]]:
    """Returns the last run of each night and its software, by series."""
    rows = nights.rows[nights.rows["series"].isin(names)].sort_values("run_id")
    found: dict[str, dict[date, tuple[str, str]]] = {}
    for name, night, run, software in zip(
        *(rows[c] for c in ("series", "night", "run_id", "software_id")), strict=True
    ):
        found.setdefault(name, {})[night.date()] = str(run), str(software)
    return found


def _acknowledged(found: pd.DataFrame, known: Mapping[str, str]) -> pd.DataFrame:
    """Returns the alarms with who acknowledged them, and whether they are open."""
    notes = []
    for alarm_id in found["alarm_id"]:
        series, metric, day = alarm_id.split("-")
        said = [
            note
            for other, note in known.items()
            if other.split("-")[:2] == [series, metric] and abs(_days(day, other.split("-")[2])) <= NEAR
        ]
        notes.append(said[0] if said else None)
    found = found.assign(acknowledged=pd.Series(notes, index=found.index, dtype=object))
    slower = found["direction"].eq("slower") & found["is_confirmed"].astype(bool)
    return found.assign(is_open=slower & found["acknowledged"].isna())


def _days(one: str, other: str) -> int:
    return (date.fromisoformat(one) - date.fromisoformat(other)).days


def _grouped(found: pd.DataFrame) -> pd.DataFrame:
    """Returns the alarms with their group and its cause.

    Alarms of a machine in a night (and those beside it) are one group where its control moved as well, or several
    backends did; else those of one backend are. The cause is what is known of it, not what is likely.
    """
    groups, causes = pd.Series("", index=found.index), pd.Series("", index=found.index)
    for machine, of_machine in found.sort_values("began", kind="stable").groupby("machine", sort=True):
        for near in _by_night(of_machine):
            day = near["began"].min()
            control = near[is_control(near)]
            same = near[near["direction"].isin(control["direction"])]
            many = near["backend"].nunique() > 1 and len(near) >= SHARED
            for backend, of_backend in near.groupby("backend", sort=True):
                whole = many or of_backend.index.isin(same.index).any()
                groups[of_backend.index] = f"{machine} {day}" + ("" if whole else f" {backend}")
                causes[of_backend.index] = _cause(of_backend, not same.empty)
    return found.assign(group=groups, cause=causes)[~is_control(found)].drop(columns="same_software")


def _by_night(found: pd.DataFrame) -> list[pd.DataFrame]:
    """Returns the alarms of a machine, in order, apart where more than `TOGETHER` nights lie between them."""
    gaps = found["began"].map(date.toordinal).diff().fillna(0) > TOGETHER
    return [part for _, part in found.groupby(gaps.cumsum())]


def _cause(alarms_of_one: pd.DataFrame, control_moved: bool) -> str:
    if control_moved:
        return "the machine: its control moved as well"
    if not alarms_of_one["same_software"].all():
        return "software changed between the two runs"
    return "unknown: same machine, same software"


def missing_machines(nights: Nights, expected: Sequence[str] = ()) -> pd.DataFrame:
    """Returns a line per machine: when it ran last, how many nights it missed since its first, and if it is away.

    One that ran before these nights is away, and one that is expected and never ran has no last night.
    """
    found: list[dict[str, Any]] = []
    for machine, ran in nights.machines().groupby("machine", sort=True, observed=True):
        days = {night.date() for night in ran["night"]}
        first, last = min(days), max(days)
        missed = [night for night in nights.nights if night >= first and night not in days]
        found.append(
            {
                "machine": str(machine),
                "is_away": last < nights.nights[-1],
                "last_night": last,
                "nights": len(days),
                "missed": len(missed),
                "missed_nights": ", ".join(f"{night:%Y-%m-%d}" for night in missed[-10:]),
            }
        )
    gone = sorted({*expected, *nights.last} - {str(line["machine"]) for line in found})
    found += [
        dict(zip(MACHINE_COLUMNS, (machine, True, nights.last.get(machine), 0, 0, ""), strict=True)) for machine in gone
    ]
    return pd.DataFrame(found, columns=list(MACHINE_COLUMNS))


def missing_cells(store: Path | str, nights: Nights) -> pd.DataFrame:
    """Returns the cells that had a number in these nights and have none in their machine's newest run, with the reason.

    `last_ok` is the last night with a number. A cell that is not in the newest run was renamed, or left out; that
    is said once, where the run before had its number: `not in the run`.
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
    found: list[dict[str, Any]] = []
    for (machine, cell), night in sorted(last_ok.items()):
        if (machine, cell) in now:
            status, reason = now[machine, cell]["status"], now[machine, cell]["reason"]
        elif night == before.get(machine):
            status, reason = "not in the run", "renamed, or left out"
        else:
            continue
        if status != "ok":
            line = (machine, newest[machine], cell, status, reason, night)
            found.append(dict(zip(MISSING_CELL_COLUMNS, line, strict=True)))
    return pd.DataFrame(found, columns=list(MISSING_CELL_COLUMNS))


def _cell(row: Row, keys: Sequence[str]) -> str:
    return " ".join(str(row[name]) for name in keys if row[name] is not None)
