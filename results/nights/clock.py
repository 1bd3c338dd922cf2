"""Runs that are dated in the future: a clock was wrong, and they are in no night that was."""

from __future__ import annotations

from datetime import date

import pandas as pd

from results.record.journal import last_night

NAMED = 5
"""So many runs are listed by name; of any others the note has the number."""


def last_real_night(runs: pd.DataFrame) -> tuple[date, tuple[str, ...]]:
    """Returns the last night that can have been, and a note on runs that are dated later, if there are any.

    `runs` has run_id, machine and night. Where most machines' runs are later than today, it is the clock here that is
    wrong: the note says so, and nothing is left out.
    """
    last = last_night()
    night = pd.to_datetime(runs["night"])
    ahead = runs[night > pd.Timestamp(last)]
    if ahead.empty:
        return date.max, ()
    usual = night.groupby(runs["machine"].astype(str)).median()
    if (usual > pd.Timestamp(last)).mean() > 0.5:
        return date.max, (
            f"most runs are dated after {last}, which is tomorrow by the clock here: is it right? None is left out",
        )
    ids, machines = (sorted(ahead[name].astype(str).unique()) for name in ("run_id", "machine"))
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return last, (
        f"left out: {', '.join(ids[:NAMED])}{more}: dated in the future (after {last}, tomorrow by the clock here); set"
        f" the clock of {', '.join(machines)}, and take such runs out of the store",
    )
