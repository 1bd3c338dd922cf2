"""What a person reads of costs: a table per step, the cheapest mix, the sources and what is assumed."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from results.cost import ASSUMPTIONS, WHOLE_MACHINES, Demand
from results.human import significant
from results.money import Sources, dollars
from results.phases_text import NOTHING, by_step, gaps, mark, marks, or_dash, step_words, wrapped
from results.table import to_rows
from results.terminal import columns_text


def costs_text(
    costed: pd.DataFrame, mix: pd.DataFrame, demand: Demand, width: int = 120, *, whole_machines: bool = False
) -> str:
    """Returns what `results.cost.costs` and `cheapest_mix` found, with the sources and what is assumed."""
    rows = to_rows(costed)
    if not rows:
        return NOTHING
    sources = Sources()
    assumed = [*ASSUMPTIONS, WHOLE_MACHINES] if whole_machines else ASSUMPTIONS
    parts = [
        wrapped([demand_words(demand)], width),
        *(_block(group, whole_machines, sources, width) for group in by_step(rows)),
        wrapped([_mix_words(row, sources) for row in to_rows(mix)], width),
        wrapped(sources.lines(), width),
        gaps(rows, "reason", width),
        marks(rows, width),
        wrapped(["Assumed:", *(f"- {line}" for line in assumed)], width),
    ]
    return "\n\n".join(filter(None, parts))


def demand_words(demand: Demand) -> str:
    """Returns what was asked for, in a sentence."""
    return (
        f"Train {_count(demand.train)} {demand.train_unit}; serve {_count(demand.queries_per_day)} queries a day of "
        f"{_count(demand.per_query)} {demand.query_unit} each."
    )


def _block(rows: Sequence[dict[str, Any]], whole_machines: bool, sources: Sources, width: int) -> str:
    """Returns the table of one step; what is paid for is a column of its own where it is not what is needed."""
    header = ["backend", "train,\nh", "train,\nUSD", "devices\nneeded", *(["devices\npaid"] if whole_machines else [])]
    header += ["serve,\nUSD a day", "USD a\nmillion\nqueries", "serving\ncosts\nmore on\nday", "price of a device"]
    lines = []
    for row in rows:
        line = [row["backend"], or_dash(row["train_hours"], significant) + mark(row, "train")]
        line.append(or_dash(row["train_usd"], dollars))
        line.append(or_dash(row["devices_needed"], significant) + mark(row, "infer"))
        line += [or_dash(row["devices_paid"], significant)] if whole_machines else []
        line += [or_dash(row[name], dollars) for name in ("serving_usd_per_day", "usd_per_million_queries")]
        lines.append([*line, _day(row), sources.price(row)])
    return f"{step_words(rows[0])}\n{columns_text(header, lines, 1, width)}"


def _mix_words(row: Mapping[str, Any], sources: Sources) -> str:
    """Returns the cheapest of each phase in a sentence."""
    train, serve = (
        f"{row[f'{of}_on']} ({row[f'{of}_precision']}, batch {row[f'{of}_batch']}; {sources.price(row, f'{of}_')})"
        for of in ("train", "serve")
    )
    named = " ".join(str(row[name]) for name in ("workload", "size") if row[name] is not None)
    return (
        f"Cheapest for {named}: train on {train} for {dollars(row['train_usd'])}; serve on {serve} for "
        f"{dollars(row['serving_usd_per_day'])} a day. Serving has cost more than training on day {_day(row)}."
    )


def _day(row: Mapping[str, Any]) -> str:
    return or_dash(row["breakeven_day"], lambda day: f"{day:,}")


def _count(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else significant(value)
