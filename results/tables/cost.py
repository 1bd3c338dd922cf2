"""The cost of training a model once and of serving it every day, and the day on which serving has cost more.

What is counted is the time of measured steps by the price of the device: see `ASSUMPTIONS`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from results.record import dimensions
from results.record.dimensions import HINTS
from results.tables.choice import as_good, is_equal, least, names
from results.tables.phases import PHASES, SECONDS_PER_HOUR, STEP, best_only, frame_of, phases
from results.tables.prices import Price
from results.tables.table import to_rows
from results.tables.tokens.queries import OF_TOKENS, queries

HOURS_PER_DAY = 24.0
SECONDS_PER_DAY = HOURS_PER_DAY * SECONDS_PER_HOUR
UNITS = ("samples", "tokens")
LARGEST = 1e18
"""Units to train on, or to serve in a day: far more than anybody has."""
AT_LEAST = {"train": 1.0, "queries_per_day": 0.001, "per_query": 0.001}
"""Units to train on; queries a day, one in three years; units of a query, where many queries share one."""
HORIZON_YEARS = 100
HORIZON_DAYS = HORIZON_YEARS * 365.25
"""A break-even that is later is never: no model, machine or price lasts so long."""

ASSUMPTIONS = (
    "The rate is the measured throughput of one device with this batch, and stays so for as long as it takes.",
    "Several devices do several times as much: no loss in scaling, nothing for waiting or failures.",
    "A device that is paid for works all the time (training; serving by the fraction of a device that it takes).",
    "Nothing for storage, network, preparing data, experiments before the training, evaluation, staff or taxes.",
    "Days count from the first day of serving, equally many queries every day; prices stay as they are.",
)
AS_READ = "A sample is one inference step's share, a token one that is read: generated tokens cost more than that."
AS_GENERATED = (
    "A prompt token is a share of a prefill step, a generated one of a decode step at its batch and depth, both always "
    "full: depth and batch stay so, whatever the length of a query. At best measure at its own depth, prompt and half "
    "of what is generated."
)
WHOLE_MACHINES = (
    "Serving pays for whole machines around the clock, and an owned machine for its full power all the time."
)


@dataclass(frozen=True)
class Demand:
    """What is asked for: `train` units in all, and each day `queries_per_day` of `per_query` units.

    A unit is a sample or a token: `train_unit`, `query_unit`. Of a query's tokens `generated` are generated and the
    others are its prompt; None where nothing is said of that, and all are read as in inference. Raises ValueError for
    what must be a mistake: less than a unit to train on, a query in more than three years, over 1e18 units in all or a
    day, no prompt.
    """

    train: float
    train_unit: str
    queries_per_day: float
    per_query: float
    query_unit: str
    generated: float | None = None

    @property
    def prompt(self) -> float:
        """The tokens of a query that are read."""
        return self.per_query - (self.generated or 0)

    def __post_init__(self) -> None:
        for name, low in AT_LEAST.items():
            value = getattr(self, name)
            if not low <= value <= LARGEST:
                raise ValueError(f"{name} is {value!r}; expected a number from {low:g} to {LARGEST:g}")
        per_day = self.queries_per_day * self.per_query
        if per_day > LARGEST:
            raise ValueError(f"queries_per_day times per_query is {per_day:g}; expected {LARGEST:g} at most")
        for name in ("train_unit", "query_unit"):
            if getattr(self, name) not in UNITS:
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected one of: {', '.join(UNITS)}")
        if self.generated is not None and not (self.query_unit == "tokens" and 0 < self.generated < self.per_query):
            raise ValueError(
                f"generated is {self.generated!r} of a query's {self.per_query!r} {self.query_unit}; expected tokens, "
                "over 0 and fewer than all: the others are its prompt"
            )


_KEPT = (*STEP, "machine", "machine_id", "backend", "device", "at_best")
_MEASURED = tuple(
    f"{phase}_{name}"
    for phase in PHASES
    for name in ("s_per_sample", "quality", "half_width", "group", "rounds_samples_per_s", "batch")
)
_PRICED = ("usd_per_hour", "price", "price_source", "price_retrieved", "price_confidence")
_NUMBERS = (
    "train_hours",
    "train_usd",
    "usd_per_million_queries",
    "devices_needed",
    "devices_paid",
    "serving_usd_per_day",
    "breakeven_days",
)
_MIXED = tuple(name for name in dimensions.STEP if name not in HINTS)


def costs(
    frame: pd.DataFrame, demand: Demand, prices: Sequence[Price] | None = None, *, whole_machines: bool = False
) -> pd.DataFrame:
    """Returns what the demand costs on each backend: a row per row of `results.tables.phases.phases`.

    Where the demand says how many tokens are generated, it is a row per row of `results.tables.tokens.queries.queries`,
    with the columns `OF_TOKENS` and the batch and depth at which they are generated; a sample is a query then.

    train_hours                 of one device, by `train_usd` USD
    usd_per_million_queries     USD; `devices_needed` for the load, a fraction
    devices_paid                the same fraction, or with `whole_machines` all devices of as many whole machines
    serving_usd_per_day         USD for the `devices_paid`
    breakeven_days              days of serving that cost as much as the training
    breakeven_day               the day at whose end serving has cost more, from 1; NA if not within 100 years
    train_quality               of what the training's numbers rest on, `degraded` where it was disturbed;
                                `infer_quality` alike for serving, and the break-even rests on both
    train_half_width            the half of the 95 % interval of the training's time, and so of its USD, as a part of
                                it; `infer_half_width` alike

    NA where a number is missing; `reason` says why.
    """
    if demand.generated is None:
        compared = phases(frame, prices)
    else:
        compared = queries(frame, demand.prompt, demand.generated, demand.train_unit, prices)
    more = () if demand.generated is None else tuple(OF_TOKENS)
    rows = [{**row, **_cost(row, demand, whole_machines)} for row in to_rows(compared)]
    columns = {
        **{name: compared[name].dtype for name in (*_KEPT, *_PRICED)},
        **dict.fromkeys(_NUMBERS, "Float64"),
        "breakeven_day": "Int64",
        "reason": "string",
        **{name: compared[name].dtype for name in (*_MEASURED, *more)},
    }
    return frame_of(rows, columns)


def cheapest_mix(costed: pd.DataFrame) -> pd.DataFrame:
    """Returns, per workload, size and sequence, the cheapest training and the cheapest serving, each where it is.

    `costed` is what `costs` returns. A row has `train_on`, `serve_on` (labels), the precision, batch, threads, quality
    and price of each, their USD and the break-even of the two together. No row where one is unknown everywhere.

    train_equal, serve_equal    the labels of others that cost the same; chosen is the one that takes the least hours or
                                devices, which are whole machines' idle time, then the first by label
    train_as_good, serve_as_good
                                the labels of others that cost more, by 5 % at most, or cannot be told apart at 99 %

    In these `~` stands after a label whose number is degraded, and in brackets what else is not as in the chosen one.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in best_only(to_rows(costed)):
        groups.setdefault(tuple(row[name] for name in _MIXED), []).append(row)
    mixes = []
    for key, rows in groups.items():
        train = least(rows, "train_usd", "train_hours")
        # Whole machines cost the same however little of them is used: the one that is used least has the most room.
        serve = least(rows, "serving_usd_per_day", "devices_needed")
        if train is None or serve is None:
            continue
        of_each = {
            f"{of}_{name}": row[column]
            for of, row in (("train", train), ("serve", serve))
            for name, column in _OF_EACH.items()
        }
        of_each |= {"train_batch": train["train_batch"], "serve_batch": serve["infer_batch"]}
        of_each |= {"train_quality": train["train_quality"], "serve_quality": serve["infer_quality"]}
        of_each |= _others(rows, train, "train") | _others(rows, serve, "serve")
        numbers = {name: train[name] for name in ("train_hours", "train_usd")}
        numbers |= {name: serve[name] for name in ("usd_per_million_queries", "devices_needed", "devices_paid")}
        numbers["serving_usd_per_day"] = serve["serving_usd_per_day"]
        days = train["train_usd"] / serve["serving_usd_per_day"]
        mixes.append({**dict(zip(_MIXED, key, strict=True)), **of_each, **numbers, **_breakeven(days)})
    columns = {
        **{name: costed[name].dtype for name in _MIXED},
        **{f"{of}_{name}": costed[column].dtype for of in ("train", "serve") for name, column in _OF_EACH.items()},
        **{f"{of}_{name}": "string" for of in ("train", "serve") for name in ("quality", "equal", "as_good")},
        **dict.fromkeys(_NUMBERS, "Float64"),
        "breakeven_day": "Int64",
    }
    return frame_of(mixes, columns)


_OF_EACH = {
    "on": "backend",
    **{name: name for name in HINTS},
    "price": "price",
    "usd_per_hour": "usd_per_hour",
    "price_source": "price_source",
    "price_retrieved": "price_retrieved",
    "price_confidence": "price_confidence",
}


def _cost(row: Mapping[Any, Any], demand: Demand, whole_machines: bool) -> dict[str, Any]:
    """Returns the row of one backend. Its numbers are None where a rate or the price is unknown."""
    cost: dict[str, Any] = {name: row[name] for name in (*_KEPT, *_PRICED, *_MEASURED)}
    cost |= dict.fromkeys((*_NUMBERS, "breakeven_day"))
    train_s, query_s = _seconds(row, "train", demand.train_unit), _seconds(row, "infer", demand.query_unit)
    reasons = [
        _why_no_rate(row, phase, unit)
        for phase, unit, seconds in (("train", demand.train_unit, train_s), ("infer", demand.query_unit, query_s))
        if seconds is None
    ]
    cost["reason"] = "; ".join([*reasons, *([row["no_price"]] if row["no_price"] else [])]) or None
    usd_per_hour = row["usd_per_hour"]
    if train_s is not None:
        cost["train_hours"] = demand.train * train_s / SECONDS_PER_HOUR
        if usd_per_hour is not None:
            cost["train_usd"] = cost["train_hours"] * usd_per_hour
    if query_s is not None:
        needed = demand.queries_per_day * demand.per_query * query_s / SECONDS_PER_DAY
        cost["devices_needed"] = needed
        if usd_per_hour is not None:
            of_machine = row["devices_per_price"]
            paid = math.ceil(needed / of_machine) * of_machine if whole_machines else needed
            hourly = row["held_usd_per_hour"] if whole_machines else usd_per_hour
            cost["devices_paid"], per_day = paid, paid * HOURS_PER_DAY * hourly
            cost["serving_usd_per_day"] = per_day
            cost["usd_per_million_queries"] = 1e6 * per_day / demand.queries_per_day
            if cost["train_usd"] is not None:
                cost |= _breakeven(cost["train_usd"] / per_day)
    return cost


def _seconds(row: Mapping[Any, Any], phase: str, unit: str) -> float | None:
    seconds = row[f"{phase}_s_per_{unit.removesuffix('s')}"]
    return None if seconds is None else float(seconds)


def _why_no_rate(row: Mapping[Any, Any], phase: str, unit: str) -> str:
    step, known = {"train": ("training", None), "infer": ("inference", row.get("no_serving"))}[phase]
    if known:
        return str(known)
    if row[f"{phase}_s_per_sample"] is None:
        return f"no verified {step} step with a throughput"
    return f"no {unit} per second of its {step} step: samples of {row['workload']} have no {unit}; ask in samples"


def _breakeven(days: float) -> dict[str, Any]:
    # After exactly `days` both have cost the same: it is the day after that serving has cost more.
    return {"breakeven_days": days, "breakeven_day": math.floor(days) + 1 if days <= HORIZON_DAYS else None}


def _others(rows: Sequence[dict[str, Any]], chosen: Mapping[str, Any], of: str) -> dict[str, str | None]:
    """Returns who else is as cheap to `train` or to `serve` on as the chosen row, and who is nearly."""
    column, phase = {"train": ("train_usd", "train"), "serve": ("serving_usd_per_day", "infer")}[of]
    near = as_good(rows, chosen, column, phase)
    equal = [row for row in near if is_equal(row[column], chosen[column])]
    dearer = [row for row in near if row not in equal]
    return {
        f"{of}_equal": names(equal, chosen, phase, HINTS),
        f"{of}_as_good": names(dearer, chosen, phase, HINTS),
    }
