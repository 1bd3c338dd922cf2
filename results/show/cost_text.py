"""What a person reads of costs: a table per step, the cheapest mix, the sources and what is assumed."""

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

import pandas as pd

from results.record.dimensions import more_in_words
from results.record.human import quantity, significant
from results.show.layout import wrapped
from results.show.money import Sources, dollars
from results.show.numbers import plus_minus
from results.show.phases_text import NOTHING, by_step, gaps, half_width_of, mark, marks, named, shown, step_words, timed
from results.show.terminal import columns_text
from results.tables.batches.rungs import are_read
from results.tables.cost import AS_GENERATED, AS_READ, ASSUMPTIONS, HORIZON_YEARS, WHOLE_MACHINES, Demand
from results.tables.phases import PHASES, PLACE, at_common
from results.tables.table import to_rows
from results.tables.tokens.kinds import GENERATED

UNSAID = (
    "Every token is counted as one that is read. To count generated ones by what they take: a run with --phases "
    "train,prefill,decode, and --prompt-tokens P --generated-tokens G in place of --tokens-per-query."
)
NEVER = f"never within {HORIZON_YEARS} years"

_OF_A_MILLION = {
    "prompt_usd_per_million_tokens": "USD a\nmillion\nprompt\ntokens",
    "generated_usd_per_million_tokens": "USD a\nmillion\ngenerated\ntokens",
}


def costs_text(
    costed: pd.DataFrame, mix: pd.DataFrame, demand: Demand, width: int = 120, *, whole_machines: bool = False
) -> str:
    """Returns, for a terminal, the frames of `costs` and `cheapest_mix`, with the sources and what is assumed."""
    rows = to_rows(costed)
    if not rows:
        return NOTHING
    if demand.generated is not None:
        rows = _without_rungs(rows)
    sources = Sources()
    assumed = [AS_READ if demand.generated is None else AS_GENERATED, *ASSUMPTIONS]
    assumed += [WHOLE_MACHINES] if whole_machines else []
    tables = [_block(group, whole_machines, sources, width) for group in by_step(rows)]
    cheapest = [_mix_words(row, sources) for row in to_rows(mix)]
    parts = [
        wrapped([demand_words(demand)], width),
        *tables,
        wrapped(cheapest, width),
        wrapped(sources.lines(), width),
        gaps(at_common(rows), "reason", width),
        wrapped([UNSAID] if demand.generated is None and demand.query_unit == "tokens" else [], width),
        marks([*tables, *cheapest], width),
        wrapped(["Assumed:", *(f"- {line}" for line in assumed)], width),
    ]
    return "\n\n".join(filter(None, parts))


def _without_rungs(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the rows of steps that generate at the batches that a person reads of: the common one, and the best."""
    rated = [
        {**row, "phase": GENERATED, "rate": 1 / row["devices_needed"] if row["devices_needed"] else None}
        for row in rows
    ]
    return [*compress(rows, are_read(rated, PLACE, "rate"))]


def demand_words(demand: Demand) -> str:
    """Returns what was asked for, in a sentence."""
    of_each = f"{_count(demand.per_query)} {demand.query_unit}"
    if demand.generated is not None:
        of_each = f"{_count(demand.prompt)} prompt and {_count(demand.generated)} generated tokens"
    return (
        f"Train {_count(demand.train)} {demand.train_unit}; serve {_count(demand.queries_per_day)} queries a day of "
        f"{of_each} each."
    )


def _block(rows: Sequence[dict[str, Any]], whole_machines: bool, sources: Sources, width: int) -> str:
    """Returns the table of one step; what is paid for is a column of its own where it is not what is needed."""
    tokens = [name for name in _OF_A_MILLION if name in rows[0]]
    header = ["backend", "train,\nh", "train,\nUSD", *(_OF_A_MILLION[name] for name in tokens), "devices\nneeded"]
    header += ["devices\npaid"] if whole_machines else []
    header += ["serve,\nUSD a day", "USD a\nmillion\nqueries", "serving\ncosts\nmore on\nday", "price of a device"]
    lines = []
    for row in rows:
        line = [named(row), timed(row, "train_hours", quantity, "train"), shown(row, "train_usd", dollars, "train")]
        line += ["-" if row[name] is None else dollars(row[name]) for name in tokens]
        line.append(timed(row, "devices_needed", quantity, "infer"))
        line += [shown(row, "devices_paid", quantity, "infer")] if whole_machines else []
        line += [shown(row, name, dollars, "infer") for name in ("serving_usd_per_day", "usd_per_million_queries")]
        day = day_words(row, *(f"{phase}_quality" for phase in PHASES))
        day += plus_minus(half_width_of(row, *PHASES)) if row["breakeven_day"] is not None else ""
        lines.append([*line, day, sources.price(row)])
    table = columns_text(header, lines, 1, width)
    return "\n".join(filter(None, (step_words(rows[0]), table, wrapped(_shapes(rows), width) if tokens else "")))


def _shapes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns at which shapes prompts were read and training ran, beside which tokens were generated."""
    words = []
    for of, what in (("prompt", "Prompts"), ("train", "training")):
        shapes: dict[str, list[str]] = {}
        for row in rows:
            if row[f"{of}_batch"] is not None:
                sequence = "" if row[f"{of}_sequence"] is None else f" × {row[f'{of}_sequence']}"
                shapes.setdefault(f"{row[f'{of}_batch']}{sequence}", []).append(row["backend"])
        named = [f"{shape} ({', '.join(who)})" if len(shapes) > 1 else shape for shape, who in shapes.items()]
        words += [f"{what} at batch {', '.join(named)}"] if named else []
    return [f"{'; '.join(words)}: what takes each backend least."] if words else []


def _mix_words(row: Mapping[str, Any], sources: Sources) -> str:
    """Returns the cheapest of each phase, and who is as cheap, in sentences."""
    train, serve = (
        f"{row[f'{of}_on']} ({row[f'{of}_precision']}, batch {row[f'{of}_batch']}; {sources.price(row, f'{of}_')})"
        for of in ("train", "serve")
    )
    named = " ".join(str(row[name]) for name in ("workload", "size") if row[name] is not None) + more_in_words(row)
    train_usd = dollars(row["train_usd"]) + mark(row, "train_quality")
    serve_usd = dollars(row["serving_usd_per_day"]) + mark(row, "serve_quality")
    on_day = f"has cost more than training on day {day_words(row, 'train_quality', 'serve_quality')}"
    if row["breakeven_day"] is None:
        on_day = f"never costs more than training within {HORIZON_YEARS} years"
    return " ".join(
        [
            f"Cheapest for {named}: train on {train} for {train_usd}; serve on {serve} for {serve_usd} a day.",
            f"Serving {on_day}.",
            *_mixed(row),
            *_as_cheap(row, "train", "Training", "which take no less time"),
            *_as_cheap(row, "serve", "Serving", "which take no less of a device"),
        ]
    )


def _mixed(row: Mapping[str, Any]) -> list[str]:
    """Returns that the model is served in another precision than it is trained in, which is another computation."""
    train, serve = row["train_precision"], row["serve_precision"]
    if train == serve:
        return []
    return [f"It is trained in {train} and served in {serve}: `samestep precisions` says how near that lies."]


def _as_cheap(row: Mapping[str, Any], of: str, doing: str, than: str) -> list[str]:
    """Returns who costs the same as the chosen one, and who nearly, in sentences."""
    equal, dearer = row[f"{of}_equal"], row[f"{of}_as_good"]
    sentences = [f"{doing} costs the same on {equal}, {than}."] if equal else []
    if dearer:
        sentences.append(f"{doing} costs up to 5 % more, or more by no more than is known, on {dearer}.")
    return sentences


def day_words(row: Mapping[str, Any], *qualities: str) -> str:
    """Returns the day on which serving has cost more, that there is none, or a dash where that is unknown."""
    if row["breakeven_days"] is None:
        return "-"
    day = NEVER if row["breakeven_day"] is None else f"{row['breakeven_day']:,}"
    return day + mark(row, *qualities)


def _count(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else significant(value)
