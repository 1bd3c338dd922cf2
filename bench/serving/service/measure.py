"""Measures one service at one load: its row but for the run's own columns, whatever comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from time import gmtime, strftime
from typing import Any

from bench.service_cell import ServiceCell
from bench.serving.answer import Answer, Target
from bench.serving.arrivals import SEARCHED, Scenario, Server, scenario_named
from bench.serving.definitions import Summary, meets, summary
from bench.serving.driver import LateClient, RealClock, drive, latency_s, why_late
from bench.serving.early_stopping import MINIMUM, judge, percentile_estimate
from bench.serving.openai_http import OpenAITarget
from bench.serving.prompts import IdPrompts
from bench.serving.rate_search import HighestRate, Plan, highest_rate
from bench.serving.service.batched import Batched, Numbered
from bench.serving.streamed import ERRORS, StreamedAnswer
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
            more = _of_search(found)
        else:
            answers = _driven(target, scenario, cell)
            more = {"in_flight": scenario.in_flight, "rate_per_s": getattr(scenario, "rate_per_s", None)}
        told = summary(answers, bounds=cell.bounds, asked_tokens=cell.output_tokens * scenario.samples)
        stopped = _early_stopping(scenario, answers, cell) if cell.mlperf else {}
        return _of_answers(answers, told) | {"dropped_fields": ", ".join(target.dropped_fields)} | more | stopped


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
    queries, duration_s = cell.requests, 0.0
    if cell.mlperf:
        least = MINIMUM[type(scenario).__name__]
        # Offline is one query of many samples there, and as many queries of one sample here.
        is_offline = least.percentile is None
        queries = max(queries, least.samples if is_offline else least.queries)
        duration_s = least.duration_s
    target.prepare(range(queries * scenario.samples))
    target.open((scenario.in_flight or WARM_CONNECTIONS) * scenario.samples - 1)
    asked: Target = target if scenario.samples == 1 else Batched(target, scenario.samples)
    # The target has a deadline of its own, from when a request was sent, and says more; this is for what it loses.
    answers = drive(asked, scenario, RealClock(), queries, duration_s, timeout_s=2 * cell.timeout_s + 1)
    if isinstance(scenario, Server):
        # Lateness within 5 % of the shortest answer is within 5 % of any.
        bound_s = min((a.end_s - a.sent_s for a in answers if not a.error), default=None)
        if bound_s is not None and (late := why_late(answers, bound_s)):
            raise LateClient(late)
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

    bound_s = min(cell.bounds.values())

    def latency(answer: Answer) -> float:
        """Returns the latency; with several bounds one that is over `bound_s` where any bound is not met."""
        if [*cell.bounds] == ["e2e_from_due_s"]:
            return latency_s(answer)
        return bound_s if meets(answer, cell.bounds) else float("inf")

    found = highest_rate(run, bound_s, Plan().of(cell.requests), cell.seed, latency=latency)
    return found, last


def _of_search(found: HighestRate) -> dict[str, Any]:
    again = f"trials driven again, for our client stood still: {found.again}" if found.again else ""
    notes = {"notes": "; ".join(filter(None, (found.reason, again)))} if found.reason or again else {}
    verdict = found.confirmed
    return notes | {
        "rate_per_s": found.confirmed_at_per_s,
        "highest_rate_per_s": found.rate_per_s,
        "highest_rate_low_per_s": found.low_per_s,
        "highest_rate_high_per_s": found.high_per_s,
        "offline_per_s": found.offline_per_s,
        "search_n": found.queries,
        "early_stopping": None if verdict is None else _verdict(verdict.passes, verdict.more),
    }


def _early_stopping(scenario: Scenario, answers: Sequence[Answer], cell: ServiceCell) -> dict[str, Any]:
    """Returns LoadGen's verdict under the bounds of a Server, else its estimate of the scenario's percentile."""
    share = MINIMUM[type(scenario).__name__].percentile
    if isinstance(scenario, Server) and cell.bounds:
        verdict = judge([0.0 if meets(answer, cell.bounds) else float("inf") for answer in answers], 0.0)
        return {"early_stopping": _verdict(verdict.passes, verdict.more)}
    whole = [replace(answer, due_s=answer.sent_s) for answer in answers]
    estimate = None
    if share is not None:
        taken = [float("inf") if answer.error else latency_s(answer) for answer in whole]
        estimate = percentile_estimate(taken, share)
    return {"early_stopping_latency_s": None if estimate == float("inf") else estimate}


def _verdict(passes: bool, more: int) -> str:
    return "passes" if passes else f"does not pass; {more} more within the bound would"


def _of_answers(answers: Sequence[Answer], found: Summary) -> dict[str, Any]:
    streamed = [answer for answer in answers if isinstance(answer, StreamedAnswer)]
    failures = " ".join(f"{error}:{n}" for error, n in found.errors.items())
    is_any_whole = found.values["n_requests"] != found.values["n_failed"]
    return {
        "status": "ok" if is_any_whole else "broken",
        "reason": None if is_any_whole else f"no request was answered whole: {failures}",
        "failures": failures or None,
        "counted_by": ", ".join(sorted({answer.counted_by for answer in streamed if not answer.error})),
        "notes": ", ".join(sorted({note for answer in streamed for note in answer.notes})),
        **found.values,
    }
