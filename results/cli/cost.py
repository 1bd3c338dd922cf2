"""The commands that set training against inference: phases, and cost in money."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.cli.common import add_outputs, add_runs, note_unwritten, rows_of, width, write_outputs
from results.record.files import ResultsError

if TYPE_CHECKING:
    import pandas as pd

    from results.tables.prices import Price

CHOICES = ("workload", "size", "precision", "batch", "depth")
NUMBERS = ("batch", "depth")


def add_commands(commands: Any) -> None:
    """Adds the commands to a parser's subparsers."""
    phases = commands.add_parser("phases", help="training against inference: time, energy, money, who is best at which")
    phases.set_defaults(made_by=_phases)
    _add_common(phases)
    for phase, word in (("train", "training"), ("infer", "inference")):
        phases.add_argument(f"--{phase}-precision", metavar="P", help=f"{word} in this precision, whatever the other's")
    cost = commands.add_parser("cost", help="cost of training and of serving, and the day on which serving costs more")
    cost.set_defaults(made_by=_cost)
    _add_common(cost)
    train = cost.add_mutually_exclusive_group(required=True)
    query = cost.add_mutually_exclusive_group(required=True)
    for unit in ("samples", "tokens"):
        train.add_argument(f"--train-{unit}", metavar="N", type=float, help=f"{unit} to train on, in all")
        query.add_argument(f"--{unit}-per-query", metavar="N", type=float, help=f"{unit} that a query asks for")
    query.add_argument("--prompt-tokens", metavar="P", type=float, help="of a query: goes with --generated-tokens")
    cost.add_argument("--generated-tokens", metavar="G", type=float, help="that a query asks for behind its prompt")
    cost.add_argument("--queries-per-day", metavar="N", type=float, required=True)
    cost.add_argument(
        "--whole-machines", action="store_true", help="serving pays for whole machines (default: for a fraction of one)"
    )
    cost.add_argument("--plot", metavar="FILE", type=Path, help="an .svg or .png of cost over days (extra: reports)")


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_runs(parser)
    for name in CHOICES:
        parser.add_argument(f"--{name}", type=int if name in NUMBERS else str, help=f"only rows of this {name}")
    parser.add_argument(
        "--price",
        metavar="MACHINE=USD[/DEVICES]",
        action="append",
        default=[],
        help="USD per hour of a whole machine by its name, shared by DEVICES (default 1); before those of the table",
    )
    parser.add_argument("--price-date", metavar="DAY", help="the day as of which --price holds, such as 2026-11-26")
    parser.add_argument("--price-source", metavar="TEXT", help="where --price is from: a bill, an offer, a page")
    add_outputs(parser)


def _phases(options: argparse.Namespace) -> str:
    """Returns the text of `phases`, after writing its files."""
    frame = _frame(options)

    from results.show.phases_text import phases_text
    from results.show.tokens.rates_text import rates_blocks, rates_text
    from results.tables.phases import phases
    from results.tables.tokens.rates import rates

    asked = {"train": options.train_precision, "infer": options.infer_precision}
    if None in asked.values() and any(asked.values()):
        raise ValueError("--train-precision and --infer-precision go together: each says what its phase is in")
    prices = _prices(options, frame)
    compared = phases(frame, prices, asked if all(asked.values()) else None)
    write_outputs(compared, options)
    tokens = rates(frame, prices)
    if compared.empty and len(tokens):
        return rates_text(tokens, width())
    return phases_text(compared, width(), lambda sources: rates_blocks(tokens, sources, width()))


def _cost(options: argparse.Namespace) -> str:
    """Returns the text of `cost`, after writing its files and its plot."""
    frame = _frame(options, of_generating=NUMBERS if options.generated_tokens is not None else ("depth",))

    from results.show.cost_text import costs_text
    from results.tables.cost import Demand, cheapest_mix, costs

    train_unit = "samples" if options.train_samples is not None else "tokens"
    demand = Demand(getattr(options, f"train_{train_unit}"), train_unit, options.queries_per_day, *_of_query(options))
    costed = costs(frame, demand, _prices(options, frame), whole_machines=options.whole_machines)
    write_outputs(costed, options)
    text = costs_text(costed, cheapest_mix(costed), demand, width(), whole_machines=options.whole_machines)
    if options.plot is None:
        return text

    from results.show.plot.cost import plot_costs

    # The table says why there is nothing to draw, and is worth its print whatever becomes of the plot.
    try:
        return f"{text}\n\n{plot_costs(costed, demand, options.plot)}"
    except (ResultsError, OSError) as error:
        note_unwritten(f"no plot in {options.plot}: {error}", options)
        return text


def _of_query(options: argparse.Namespace) -> tuple[float, str, float | None]:
    """Returns how much a query asks for, in which unit, and how much of it is generated."""
    prompt, generated = options.prompt_tokens, options.generated_tokens
    if (prompt is None) != (generated is None):
        raise ValueError(
            "--prompt-tokens and --generated-tokens go together: what a query reads, and what it generates"
        )
    if prompt is not None:
        return prompt + generated, "tokens", generated
    unit = "samples" if options.samples_per_query is not None else "tokens"
    return getattr(options, f"{unit}_per_query"), unit, None


def _frame(options: argparse.Namespace, of_generating: Sequence[str] = ("depth",)) -> pd.DataFrame:
    """Returns the rows that were chosen; of what `of_generating` names, only steps with a depth are chosen by.

    Raises ValueError where a choice leaves none.
    """
    rows = rows_of(options.runs)

    from results.tables.table import to_frame

    for name in CHOICES:
        wanted = getattr(options, name)
        meant = [row for row in rows if name not in of_generating or row["depth"] is not None]
        if wanted is None or not rows:
            continue
        if not any(row[name] == wanted for row in meant):
            values = sorted({row[name] for row in meant if row[name] is not None}, key=str)
            known = ", ".join(map(str, values)) or "none"
            raise ValueError(f"no row has {name} {wanted!r}; known: {known}")
        others = {id(row) for row in meant if row[name] != wanted}
        rows = tuple(row for row in rows if id(row) not in others)
    return to_frame(rows)


def _prices(options: argparse.Namespace, frame: pd.DataFrame) -> tuple[Price, ...]:
    """Returns the prices of `--price` and those of the table. Raises ValueError for one of a machine with no row."""
    from results.tables.prices import given_price, known_prices

    own = [given_price(text, options.price_date, options.price_source) for text in options.price]
    if not own and (options.price_date or options.price_source):
        raise ValueError("--price-date and --price-source are of --price, which was not given")
    machines = sorted(frame["machine"].dropna().unique())
    for number, price in enumerate(own):
        if price.machine not in machines:
            raise ValueError(f"--price is of machine {price.machine!r}; known here: {', '.join(machines)}")
        if price.machine in [other.machine for other in own[:number]]:
            raise ValueError(f"--price gives {price.machine!r} twice")
    # The user's price of a machine replaces the table's: it is not one more offer.
    others = (price for price in known_prices() if price.machine not in [one.machine for one in own])
    return (*own, *others)
