"""Measures one service at one load: its row but for the run's own columns, whatever comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import gmtime, strftime
from typing import Any

from bench.service_cell import ServiceCell
from bench.serving.answer import Answer, Target
from bench.serving.arrivals import SEARCHED, Scenario, scenario_named
from bench.serving.definitions import summary
from bench.serving.driver import LateClient, RealClock, drive
from bench.serving.openai_http import OpenAITarget
from bench.serving.prompts import IdPrompts
from bench.serving.rate_search import HighestRate
from bench.serving.service import load
from bench.serving.service.batched import Batched, Numbered
from bench.serving.streamed import ERRORS
from bench.serving.text_prompts import fitted
from bench.serving.verified.verify import verified
from bench.serving.wire.endpoint import Prompt

VERIFICATION = "none: a service"
WARM_CONNECTIONS = 16
"""So many are open before requests come that are due when they are due."""


class NotAnswered(ValueError):
    """The endpoint is there, and answers no request."""


class NotAskable(ValueError):
    """The server cannot be asked what was wanted."""


def measure(cell: ServiceCell) -> dict[str, Any]:
    """Returns the columns of the row: with numbers where `status` is `ok`, else with the reason why there are none."""
    started_utc = strftime("%Y-%m-%dT%H:%M:%S+00:00", gmtime())
    known = cell.columns() | {"started_utc": started_utc, "verification": VERIFICATION}
    try:
        if cell.known is None:
            return known | _measured(cell)
        return known | verified(cell, cell.known, lambda: _measured(cell))
    except OSError as error:
        return known | _without("unavailable", error)
    except LateClient as error:
        return known | _without("refused", error)
    except NotAskable as error:
        return known | _without("unsupported", error)
    except ValueError as error:  # the key's variable holds what no header may; NotAnswered; an offline part without end
        return known | _without("broken", error)


def _without(status: str, error: Exception) -> dict[str, Any]:
    return {"status": status, "reason": str(error) or type(error).__name__}


def _measured(cell: ServiceCell) -> dict[str, Any]:
    scenario = scenario_named(cell.scenario, cell.seed)
    chosen: list[Callable[[int], Prompt]] = []

    def prompt_of(number: int) -> Prompt:  # known when the server has counted
        return chosen[0](number)

    with OpenAITarget(cell.endpoint(), prompt_of) as target:
        target.open(1)
        first = target.ask("hello" if cell.vocabulary is None else [1, 2, 3], 1)
        if first.error not in ("", "short"):
            raise NotAnswered(f"the endpoint does not answer: {first.error} ({ERRORS[first.error]}): {first.detail}")
        chosen.append(prompts_of(target, cell))
        if scenario is SEARCHED:
            found, answers = _searched(target, cell)
            more = load.of_search(found)
        else:
            answers = _driven(target, scenario, cell)
            more = load.of_scenario(scenario)
        told = summary(answers, bounds=cell.bounds, asked_tokens=cell.output_tokens * scenario.samples)
        stopped = load.early_stopping(scenario, answers, cell.bounds) if cell.mlperf else {}
        return load.of_answers(answers, told) | {"dropped_fields": ", ".join(target.dropped_fields)} | more | stopped


def prompts_of(target: OpenAITarget, cell: ServiceCell) -> Callable[[int], Prompt]:
    """Returns what makes a request's prompt. Raises NotAskable where none of that length can be made."""
    salt = cell.salt or strftime("%Y%m%dT%H%M%S")
    if cell.vocabulary is not None:
        return IdPrompts(cell.vocabulary, cell.prompt_tokens, cell.seed, salt)

    def count(text: str) -> int:
        tokens = target.ask(text, 1).prompt_tokens
        if tokens is None:
            raise NotAskable(
                "the server tells no usage, so that texts of a number of tokens cannot be made: send token ids "
                "(--vocabulary N)"
            )
        return tokens

    try:
        return fitted(count, cell.prompt_tokens, cell.seed, salt)
    except NotAskable:
        raise
    except ValueError as error:
        raise NotAskable(str(error)) from error


def _driven(target: OpenAITarget, scenario: Scenario, cell: ServiceCell) -> Sequence[Answer]:
    """Returns the answers in a scenario. Raises LateClient where this machine sent too late for its arrivals."""
    queries, duration_s = load.least(scenario, cell.requests, cell.mlperf)
    target.prepare(range(queries * scenario.samples))
    target.open((scenario.in_flight or WARM_CONNECTIONS) * scenario.samples - 1)
    asked: Target = target if scenario.samples == 1 else Batched(target, scenario.samples)
    # The target has a deadline of its own, from when a request was sent, and says more; this is for what it loses.
    answers = drive(asked, scenario, RealClock(), queries, duration_s, timeout_s=2 * cell.timeout_s + 1)
    load.must_be_on_time(scenario, answers)
    return answers


def _searched(target: OpenAITarget, cell: ServiceCell) -> tuple[HighestRate, Sequence[Answer]]:
    """Returns the highest rate within the bounds, and the answers of the last trial, which is the confirming one."""
    sent = 0
    last: Sequence[Answer] = ()
    target.open(WARM_CONNECTIONS - 1)

    def run(scenario: Scenario, queries: int) -> Sequence[Answer]:
        nonlocal sent, last
        target.prepare(range(sent, sent + queries))
        numbered = Numbered(target, sent)
        sent += queries
        last = drive(numbered, scenario, RealClock(), queries, timeout_s=2 * cell.timeout_s + 1)
        return last

    found = load.search(run, cell.bounds, cell.requests, cell.seed)
    return found, last
