"""What changed over the nights, and whether it is real; what is missing; and what was left out on the way."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd

from results.nights.alarms import alarms_of, no_alarms
from results.nights.identity import names_that_change
from results.nights.lists import ACKNOWLEDGED, MACHINES, in_store, read_acknowledged, read_machines
from results.nights.missing import former_names, method_breaks, missing_cells, missing_machines
from results.nights.nights import WINDOW, Nights, read_nights


@dataclass(frozen=True)
class History:
    """The nights of a store, its alarms (a line each, `results.nights.alarms.ALARM_COLUMNS`), and what is missing.

    `ratio` of an alarm is the time after over the time before: 1.05 is 5 % slower. `is_confirmed`: it is believed among
    all series looked at. `is_new`: so in the newest night for the first time. `is_open`: it is slower, confirmed and
    not acknowledged; where a series recovered, its last change is the recovery, and the alarm is gone.
    """

    nights: Nights
    alarms: pd.DataFrame
    missing_machines: pd.DataFrame
    missing_cells: pd.DataFrame
    problems: tuple[str, ...]
    names: tuple[str, ...] = ()
    """What to do about names of machines that change: a line for each machine."""
    breaks: tuple[str, ...] = ()
    """Where series begin anew, since they were measured by another method: a line for each machine and night."""
    unjudged: str = ""
    """Why there are no alarms, whatever the nights say: what to install. Empty where they were looked for."""


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
    acknowledged = acknowledged or in_store(store, ACKNOWLEDGED)
    machines = machines or in_store(store, MACHINES)
    notes = {} if acknowledged is None else read_acknowledged(acknowledged)
    expected = None if machines is None else read_machines(machines)
    nights = read_nights(store, window, until, may_be_empty=bool(expected))
    former = former_names(nights, expected)
    try:
        alarms, unjudged = alarms_of(nights, notes), ""
    except ModuleNotFoundError as error:
        if error.name not in ("ruptures", "scipy"):
            raise
        alarms, unjudged = no_alarms(), str(error)
    return History(
        nights,
        alarms,
        missing_machines(nights, expected),
        missing_cells(store, nights),
        nights.problems,
        names_that_change(former, sorted(former)) if expected is None else (),
        method_breaks(nights),
        unjudged,
    )
