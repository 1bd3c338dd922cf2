"""Machines that look alike: two boards of one kind under one name, and one machine under names that change.

Hardware alone tells neither: it is the installation that does, and in whose nights the names were used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import pandas as pd


def told_apart(rows: pd.DataFrame, series: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """Returns rows and series, with one for each installation that ran in turns with another; and who they are.

    `rows` has series, run_id and installation_id; `series` (index: its id) has machine and machine_id. An installation
    that took the place of another is the same machine, replaced or set up anew; one that comes back was another all
    along. Rows without an installation's id stay in the series that they are in.
    """
    alike = _alike(rows, series)
    if not alike:
        return rows, series, ()
    places = zip(series["machine"], series["machine_id"], strict=True)
    shared = set(series.index[[place in alike for place in places]])
    moved = rows["series"].isin(shared) & rows["installation_id"].notna()
    parts = rows.loc[moved, ["series", "installation_id"]].astype(object).drop_duplicates()
    own = {pair: own_series(*pair) for pair in parts.itertuples(index=False, name=None)}
    names = rows["series"].astype(object)
    names[moved] = [own[pair] for pair in zip(names[moved], rows.loc[moved, "installation_id"], strict=True)]
    added = series.loc[[base for base, _ in own]].set_axis(pd.Index(own.values(), name=series.index.name))
    left = series[~series.index.isin(shared) | series.index.isin(set(names))]
    problems = tuple(
        f"two machines look alike: {machine} (hardware {machine_id}) is {len(ids)} installations that run in turns"
        f" ({', '.join(ids)}); each has series of its own here: give each a name of its own (SAMESTEP_MACHINE)"
        for (machine, machine_id), ids in sorted(alike.items())
    )
    return rows.assign(series=names.astype("category")), pd.concat([left, added]), problems


def _alike(rows: pd.DataFrame, series: pd.DataFrame) -> dict[tuple[str, str], list[str]]:
    """Returns the installations that ran in turns, by the name and hardware that they share."""
    runs = rows[rows["installation_id"].notna()].drop_duplicates(["run_id", "installation_id"])
    ids: dict[tuple[str, str], list[str]] = {}
    for name, _, installation in sorted(
        runs[["series", "run_id", "installation_id"]].astype(object).itertuples(index=False, name=None),
        key=lambda row: row[1],
    ):
        if name in series.index:
            place = series.loc[name]
            ids.setdefault((place["machine"], place["machine_id"]), []).append(installation)
    return {place: sorted(set(of_place)) for place, of_place in ids.items() if _in_turns(of_place)}


def _in_turns(ids: Iterable[str]) -> bool:
    """Returns whether an id is there again after another: A, B, A, but not A, A, B, B."""
    before: set[str] = set()
    last = None
    for one in ids:
        if one != last and one in before:
            return True
        before.add(one)
        last = one
    return False


def own_series(series: str, installation_id: str) -> str:
    """Returns the id of one installation's part of a series that it shares with another."""
    return hashlib.sha256(f"{series}\x1f{installation_id}".encode()).hexdigest()[:16]


def renamed(seen: pd.DataFrame) -> dict[str, str]:
    """Returns the names that a machine had before, each with its name of today.

    `seen` has a line per machine's name and machine_id with the `first` and `last` night of it. A name was another's
    before where the hardware is the same, and the other began after it had ended: two machines run side by side.
    """
    today: dict[str, str] = {}
    for _, names in seen.dropna(subset=["machine_id"]).groupby("machine_id", observed=True, sort=True):
        newest = names.sort_values(["first", "last", "machine"], kind="stable").iloc[-1]
        for name in names.loc[names["last"] < newest["first"], "machine"]:
            today[str(name)] = str(newest["machine"])
    return {name: newest for name, newest in today.items() if name != newest}


def names_that_change(today: dict[str, str], former: Sequence[str]) -> tuple[str, ...]:
    """Returns a line for each machine with names among the `former`: what they were, and what keeps one name."""
    of_machine: dict[str, list[str]] = {}
    for name in former:
        of_machine.setdefault(today[name], []).append(name)
    return tuple(
        f"Names that change: {newest} was called {_some(names)} before, by its hardware; SAMESTEP_MACHINE=NAME keeps"
        " one name, and machines.txt in the store lists the machines that are expected"
        for newest, names in sorted(of_machine.items())
    )


def _some(names: Sequence[str], most: int = 3) -> str:
    """Returns the names, the first few where they are many, with how many there are."""
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} … ({len(names)} names)"
