"""What changed over the nights, and whether it is real: alarms in groups that share a cause."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd

from results.nights.nights import METRICS, Nights
from results.nights.standing import standing_changes
from results.record.dimensions import CELL_COLUMNS
from results.tables.table import is_control

NEAR = 3
"""Nights by which the begin of a shift may be estimated anew, and still be the same alarm."""
TOGETHER = 1
"""Nights by which the alarms of one cause may lie apart."""
SHARED = 3
"""From so many alarms on, of several backends of a machine in one night, they are one group."""
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
CAUSE_COLUMNS = ["same_software", "same_installation"]


def alarms_of(nights: Nights, acknowledged: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Returns the alarms that stand on the last of the nights (`ALARM_COLUMNS`), with who acknowledged which."""
    return _grouped(_acknowledged(_alarms(nights), acknowledged or {}))


def no_alarms() -> pd.DataFrame:
    """Returns what `alarms_of` does where there is none."""
    return _grouped(_acknowledged(pd.DataFrame([], columns=[*ALARM_COLUMNS, *CAUSE_COLUMNS]), {}))


def _alarms(nights: Nights) -> pd.DataFrame:
    """Returns a line per alarm of any metric, without what `_acknowledged` and `_grouped` add."""
    standing = []
    for metric in METRICS:
        names, x = nights.matrix(metric)
        standing += [(metric, names[one.change.series], one) for one in standing_changes(x)]
    runs = _runs_of(nights, {name for _, name, _ in standing})
    lines: list[dict[str, Any]] = []
    for metric, name, one in standing:
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
                "run_before": None if before is None else runs[name][before].run_id,
                "run_after": runs[name][began].run_id,
                "same_software": before is not None and runs[name][before].software == runs[name][began].software,
                "same_installation": before is None or _is_same(runs[name][before], runs[name][began]),
            }
        )
    return pd.DataFrame(lines, columns=[*ALARM_COLUMNS, *CAUSE_COLUMNS])


@dataclass(frozen=True)
class _Ran:
    """A run of a series: its id, its software, and its installation, None where the run did not record one."""

    run_id: str
    software: str
    installation: str | None


def _is_same(before: _Ran, after: _Ran) -> bool:
    """Returns whether the two are of one installation, as they are where one of them did not record its own."""
    return None in (before.installation, after.installation) or before.installation == after.installation


def _runs_of(nights: Nights, names: set[str]) -> dict[str, dict[date, _Ran]]:
    """Returns the last run of each night, by series."""
    rows = nights.rows[nights.rows["series"].isin(names)].sort_values("run_id")
    runs: dict[str, dict[date, _Ran]] = {}
    columns = ("series", "night", "run_id", "software_id", "installation_id")
    for name, night, run, software, installation in zip(*(rows[column] for column in columns), strict=True):
        ran = _Ran(str(run), str(software), None if pd.isna(installation) else str(installation))
        runs.setdefault(name, {})[night.date()] = ran
    return runs


def _acknowledged(alarms: pd.DataFrame, acknowledged: Mapping[str, str]) -> pd.DataFrame:
    """Returns the alarms with who acknowledged them, and whether they are open."""
    notes = [
        next((note for other, note in acknowledged.items() if is_named(alarm_id, other)), None)
        for alarm_id in alarms["alarm_id"]
    ]
    alarms = alarms.assign(acknowledged=pd.Series(notes, index=alarms.index, dtype=object))
    slower = alarms["direction"].eq("slower") & alarms["is_confirmed"].astype(bool)
    return alarms.assign(is_open=slower & alarms["acknowledged"].isna())


def is_named(alarm: str, text: str, near: int = NEAR) -> bool:
    """Returns whether the text names the alarm by its id, or by that of the alarm dated up to `near` nights apart."""
    series_and_metric, _, day = alarm.rpartition("-")
    return any(
        abs((date.fromisoformat(day) - date.fromisoformat(other)).days) <= near
        for other in re.findall(rf"{re.escape(series_and_metric)}-(\d{{8}})", text)
        if _is_day(other)
    )


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _grouped(alarms: pd.DataFrame) -> pd.DataFrame:
    """Returns the alarms with their group and its cause.

    Alarms of a machine in a night (and those beside it) are one group where its control moved as well, or several
    backends did; else those of one backend are. The cause is what the rows show, not what is likely.
    """
    groups, causes = pd.Series("", index=alarms.index), pd.Series("", index=alarms.index)
    for machine, of_machine in alarms.sort_values("began", kind="stable").groupby("machine", sort=True):
        for near in _by_night(of_machine):
            day = near["began"].min()
            control = near[is_control(near)]
            same = near[near["direction"].isin(control["direction"])]
            many = near["backend"].nunique() > 1 and len(near) >= SHARED
            for backend, of_backend in near.groupby("backend", sort=True):
                whole = many or of_backend.index.isin(same.index).any()
                groups[of_backend.index] = f"{machine} {day}" + ("" if whole else f" {backend}")
                causes[of_backend.index] = _cause(of_backend, not same.empty)
    return alarms.assign(group=groups, cause=causes)[~is_control(alarms)].drop(columns=CAUSE_COLUMNS)


def _by_night(alarms: pd.DataFrame) -> list[pd.DataFrame]:
    """Returns the alarms of a machine, in order, apart where more than `TOGETHER` nights lie between them."""
    gaps = alarms["began"].map(date.toordinal).diff().fillna(0) > TOGETHER
    return [part for _, part in alarms.groupby(gaps.cumsum())]


def _cause(alarms_of_one: pd.DataFrame, control_moved: bool) -> str:
    if control_moved:
        return "the machine: its control moved as well"
    if not alarms_of_one["same_installation"].all():
        return "another installation of the machine: it was replaced, or set up anew, between the two runs"
    if not alarms_of_one["same_software"].all():
        return "software changed between the two runs"
    return "unknown: same machine, same software"
