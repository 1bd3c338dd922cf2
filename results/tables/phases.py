"""Training against inference: what a sample of each costs in time, energy and money, and who is best at which."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from results.record import dimensions
from results.record.dimensions import SETTINGS
from results.record.schema import COLUMN
from results.tables.batches.best import best_of, common_batch, grouped
from results.tables.choice import as_good, least, names
from results.tables.prices import Price, known_prices, price_of, why_unpriced
from results.tables.ratio import half_width
from results.tables.table import DTYPES, is_control, is_limit, is_verified, placed, to_rows

STEP = (*dimensions.STEP, "workload_digest")
"""What training and inference have in common where they are compared."""
PLACE = ("machine", "machine_id", "backend")
PHASES = {"train": "training", "infer": "inference"}
SECONDS_PER_HOUR = 3600.0

_SOURCE = ("price", "price_source", "price_retrieved", "price_confidence")
PRICED = {
    "usd_per_hour": "Float64",
    "held_usd_per_hour": "Float64",
    "devices_per_price": "Int64",
    **dict.fromkeys((*_SOURCE, "no_price"), "string"),
}
"""The columns of `priced` and their dtypes."""
COLUMNS = {
    **{name: DTYPES[COLUMN[name].kind] for name in (*STEP, *PLACE, "device")},
    **{f"{phase}_s_per_{unit}": "Float64" for unit in ("sample", "token") for phase in PHASES},
    "time_ratio": "Float64",
    **{f"{phase}_j_per_sample": "Float64" for phase in PHASES},
    "energy_ratio": "Float64",
    **{f"{phase}_usd_per_million_samples": "Float64" for phase in PHASES},
    "money_ratio": "Float64",
    **PRICED,
    **{f"{phase}_quality": "string" for phase in PHASES},
    **{f"{phase}_half_width": "Float64" for phase in PHASES},
    **{f"{phase}_{name}": "string" for name in ("group", "rounds_samples_per_s") for phase in PHASES},
    **{f"{phase}_batch": "Int64" for phase in PHASES},
    "at_best": "boolean",
}
"""The columns of `phases` and their dtypes."""

_BEST = {
    **{name: COLUMNS[name] for name in STEP if name not in SETTINGS},
    **dict.fromkeys(("phase", "machine", "machine_id", "fastest"), "string"),
    "s_per_sample": "Float64",
    **dict.fromkeys(("fastest_quality", "fastest_as_good", "cheapest"), "string"),
    "usd_per_million_samples": "Float64",
    **dict.fromkeys(("cheapest_quality", "cheapest_as_good"), "string"),
    "usd_per_hour": "Float64",
    **dict.fromkeys(_SOURCE, "string"),
    **dict.fromkeys(("fastest_batch", "cheapest_batch"), "Int64"),
    "at_best": "boolean",
}


def phases(
    frame: pd.DataFrame, prices: Sequence[Price] | None = None, precisions: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Returns training beside inference: a row per workload, size, precision, batch, threads, machine and backend.

    Times are 1 / throughput, with the device kept full (s per sample, and per token where samples have them); joules
    are those of a step with one in flight, of the whole counted device, by its samples; USD are the price per hour of
    one device by that time. `*_ratio` is training / inference. NA where a number is missing; `no_price` says why there
    is no USD. `train_quality` and `infer_quality` are those of the rows that the numbers are of; a ratio rests on both.
    `*_half_width` is the half of the 95 % interval of a phase's time, energy apart, as a part of it; `*_group` and
    `*_rounds_samples_per_s` are what it was measured with, and in which rounds.
    Only verified rows enter, the newest of each cell; the control, limits and `null` do not.

    Where a step was measured at several batches, each backend has one more row, without batch and digest: each phase
    `at_best`, with the most samples/s, at `train_batch` and `infer_batch`.

    `precisions` names that of each phase where they are to differ, as `{"train": "bf16", "infer": "int8"}`: only such
    rows enter then, and `precision` is `bf16 → int8`. Raises ValueError where a phase has no row in its own.

    `prices` are those of `known_prices` by default. `backend` is a label of `placed`.
    """
    all_prices = known_prices() if prices is None else prices
    of_step: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in _verified(frame) if precisions is None else _mixed(_verified(frame), precisions):
        of_step.setdefault(tuple(row[name] for name in (*STEP, *PLACE)), {})[row["phase"]] = row
    records = [_record(of_phase, all_prices) for of_phase in of_step.values()]
    records += [
        {**_record(of_phase, all_prices), "batch": None, "workload_digest": None, "at_best": True}
        for of_phase in _at_best([row for of_phase in of_step.values() for row in of_phase.values()])
    ]
    return frame_of(sorted(records, key=_order), COLUMNS)


def best(compared: pd.DataFrame) -> pd.DataFrame:
    """Returns who is fastest and who is cheapest at each phase: per machine, and over all if several (`machine` NA).

    fastest, s_per_sample              the label and its s per sample
    fastest_quality                    `valid` or `degraded`: of that number
    fastest_as_good                    the labels of those that are slower by 5 % at most, or cannot be told from it
                                       at 99 % confidence, the fastest of them first
    cheapest, usd_per_million_samples  the label and its USD; `cheapest_quality` and `cheapest_as_good` alike

    `compared` is what `phases` returns. Only equal work is compared (one workload digest), at any number of threads.
    Of several batches only the one that all have counts, and each backend's best (`at_best`), which is `*_batch`.
    In `*_as_good` `~` stands after a label whose number is degraded, and its threads where they are others.
    What nobody measured has no row; `cheapest` is NA where nobody has a price.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    several = len(compared[["machine", "machine_id"]].drop_duplicates()) > 1
    for record in at_common(to_rows(compared)):
        step = tuple(record[name] for name in STEP if name not in SETTINGS)
        for phase in PHASES:
            if record[f"{phase}_s_per_sample"] is not None:
                own = record["machine"], record["machine_id"]
                for place in {own, (None, None)} if several else {own}:
                    groups.setdefault((*step, phase, *place), []).append(record)
    ordered = sorted(groups.items(), key=lambda item: _best_order(item[0]))
    return frame_of([_best_of(key, group) for key, group in ordered], _BEST)


def _verified(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns the rows that training and inference are compared by, with their label as `backend`."""
    rows = placed(frame)
    rows = rows[is_verified(rows) & ~is_control(rows) & ~is_limit(rows) & rows["phase"].isin(PHASES)]
    return to_rows(rows.assign(backend=rows["label"]))


def at_common(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the rows of `phases` that a person reads of several batches: at the one that all have, and at the best.

    All of them, where there is none that all have.
    """
    chosen = []
    for family in grouped(rows, _FAMILY).values():
        best = [row for row in family if row["at_best"]]
        others = [row for row in family if not row["at_best"]]
        of_backend = grouped(others, PLACE)
        common = common_batch([row["batch"] for row in of_one] for of_one in of_backend.values()) if best else None
        chosen += [row for row in others if common is None or row["batch"] == common] + best
    return chosen


def best_only(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the rows of `phases` without those at some batch of several: of such a step only those `at_best`."""
    families = grouped(rows, _FAMILY).values()
    return [row for family in families for row in [one for one in family if one["at_best"]] or family]


def _at_best(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, dict[str, Any]]]:
    """Yields each phase's row at the best batch, of each backend, where one of them has several in some phase."""
    families = grouped(rows, _FAMILY).values()
    several = (one for one in families if any(len(same) > 1 for same in grouped(one, (*PLACE, "phase")).values()))
    for family in several:
        for of_backend in grouped(family, PLACE).values():
            of_phase = grouped((row for row in of_backend if row["throughput_samples_per_s"]), ("phase",))
            if of_phase:
                yield {phase: best_of(found) for (phase,), found in of_phase.items()}


_FAMILY = tuple(name for name in STEP if name not in ("batch", "workload_digest"))
"""What steps have in common that differ in their batch."""


def _mixed(rows: Sequence[dict[str, Any]], precisions: Mapping[str, str]) -> list[dict[str, Any]]:
    """Returns the rows of each phase that are in its precision, under one name for all."""
    name = " → ".join(precisions[phase] for phase in PHASES)
    chosen = []
    for phase, precision in precisions.items():
        of_phase = [row for row in rows if row["phase"] == phase]
        found = [{**row, "precision": name} for row in of_phase if row["precision"] == precision]
        if not found:
            known = ", ".join(sorted({str(row["precision"]) for row in of_phase})) or "none"
            raise ValueError(f"no verified {PHASES[phase]} in {precision}; in these rows it is in: {known}")
        chosen += found
    return chosen


def frame_of(records: Sequence[Mapping[str, Any]], columns: Mapping[str, Any]) -> pd.DataFrame:
    """Returns the records as a frame of these columns, by name and dtype; None becomes NA."""
    return pd.DataFrame(
        {name: pd.Series([record[name] for record in records], dtype=dtype) for name, dtype in columns.items()}
    )


def _order(record: Mapping[str, Any]) -> list[tuple[bool, Any]]:
    return [(record[name] is not None, record[name]) for name in (*STEP, *PLACE)]


def _best_order(key: tuple[Any, ...]) -> list[tuple[bool, Any]]:
    """Returns what sorts the groups of `best`: by step, training first, all machines together last."""
    *step, phase, machine, machine_id = key
    values = (*step, [*PHASES].index(phase), machine, machine_id)
    return [(value is None, value) for value in values]


def _record(of_phase: Mapping[str, Mapping[str, Any]], prices: Sequence[Price]) -> dict[str, Any]:
    """Returns the row of one step on one backend, from its row of each phase."""
    first = next(iter(of_phase.values()))
    record: dict[str, Any] = {name: first[name] for name in (*STEP, *PLACE, "device")} | {"at_best": False}
    for phase in PHASES:
        row = of_phase.get(phase, {})
        record[f"{phase}_s_per_sample"] = _inverse(row.get("throughput_samples_per_s"))
        record[f"{phase}_s_per_token"] = _inverse(row.get("throughput_tokens_per_s"))
        record[f"{phase}_j_per_sample"] = _quotient(row.get("energy_per_step_j"), row.get("samples_per_step"))
        record[f"{phase}_quality"] = row.get("quality")
        record[f"{phase}_half_width"] = half_width(row, "throughput_samples_per_s") if row else None
        group = row.get("group_id")
        record[f"{phase}_group"] = None if group is None else f"{row['run_id']} {group}"
        record[f"{phase}_rounds_samples_per_s"] = row.get("rounds_samples_per_s")
        record[f"{phase}_batch"] = row.get("batch")
    price = priced(first, prices)
    for phase in PHASES:
        seconds = record[f"{phase}_s_per_sample"]
        record[f"{phase}_usd_per_million_samples"] = usd_per_million(seconds, price["usd_per_hour"])
    for name, column in (("time", "s_per_sample"), ("energy", "j_per_sample"), ("money", "usd_per_million_samples")):
        record[f"{name}_ratio"] = _quotient(record[f"train_{column}"], record[f"infer_{column}"])
    return record | price


def priced(row: Mapping[str, Any], prices: Sequence[Price]) -> dict[str, Any]:
    """Returns the price of a row's device, with its source, or why there is none: the columns of `PRICED`."""
    device, machine = str(row["device"] or ""), str(row["machine"] or "")
    price = price_of(device, machine, prices)
    return {
        "usd_per_hour": price and price.usd_per_hour,
        "held_usd_per_hour": price and price.held_usd_per_hour,
        "devices_per_price": price and price.devices,
        "price": price and price.name,
        "price_source": price and price.source,
        "price_retrieved": price and price.retrieved,
        "price_confidence": price and price.confidence,
        "no_price": None if price else why_unpriced(device, machine),
    }


def _best_of(key: tuple[Any, ...], group: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the fastest and the cheapest of a group, of equals the first by label, and who is as good as they."""
    *step, phase, machine, machine_id = key
    seconds, usd = f"{phase}_s_per_sample", f"{phase}_usd_per_million_samples"
    fastest, cheapest = least(group, seconds), least(group, usd)
    assert fastest is not None
    quality = f"{phase}_quality"
    return {
        **dict(zip((name for name in STEP if name not in SETTINGS), step, strict=True)),
        **{"phase": phase, "machine": machine, "machine_id": machine_id},
        "fastest": fastest["backend"],
        "s_per_sample": fastest[seconds],
        "fastest_quality": fastest[quality],
        "fastest_as_good": names(as_good(group, fastest, seconds, phase), fastest, phase, SETTINGS),
        "cheapest": cheapest and cheapest["backend"],
        "usd_per_million_samples": cheapest and cheapest[usd],
        "cheapest_quality": cheapest and cheapest[quality],
        "cheapest_as_good": cheapest and names(as_good(group, cheapest, usd, phase), cheapest, phase, SETTINGS),
        **{name: cheapest and cheapest[name] for name in ("usd_per_hour", *_SOURCE)},
        **{"fastest_batch": fastest[f"{phase}_batch"], "cheapest_batch": cheapest and cheapest[f"{phase}_batch"]},
        "at_best": fastest["at_best"],
    }


def _inverse(rate: float | None) -> float | None:
    return 1 / rate if rate else None


def _quotient(value: float | None, of: float | None) -> float | None:
    return value / of if value is not None and of else None


def usd_per_million(seconds: float | None, usd_per_hour: float | None) -> float | None:
    """Returns USD of a million times so many seconds of a device; None where one of the two is unknown."""
    return None if seconds is None or usd_per_hour is None else 1e6 * seconds / SECONDS_PER_HOUR * usd_per_hour
