"""A load, whatever takes it: how many requests it has, its search, its verdicts, and the columns that answers make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil, inf
from typing import Any

from bench.serving.answer import Answer
from bench.serving.arrivals import SEARCHED, Scenario, Server, scenario_named
from bench.serving.definitions import PER_ANSWER, Summary, meets
from bench.serving.driver import LateClient, latency_s, why_late
from bench.serving.early_stopping import MINIMUM, judge, percentile_estimate
from bench.serving.rate_search import HighestRate, Plan, Run, highest_rate
from bench.serving.streamed import StreamedAnswer

MOST_REQUESTS = 10_000_000
"""Of one scenario: what is known of each of them is kept until its numbers are made."""
PLAN = Plan()
Bounds = Mapping[str, float]
"""The largest value of each latency with which an answer is a good one, in seconds."""


def check(scenario: str, seed: int, requests: int, bounds: Bounds, is_mlperf: bool) -> Scenario:
    """Returns the scenario that is named. Raises ValueError for a load that cannot be asked for."""
    named = scenario_named(scenario, seed)
    if not 1 <= requests <= MOST_REQUESTS:
        raise ValueError(f"requests is {requests}; expected 1 to {MOST_REQUESTS:,}")
    if unknown := sorted(bounds.keys() - PER_ANSWER.keys()):
        raise ValueError(f"no bound can be set on {', '.join(unknown)}; known: {', '.join(PER_ANSWER)}")
    for name, bound_s in bounds.items():
        if not 0 < bound_s < inf:
            raise ValueError(f"the bound on {name} is {bound_s:g}; expected seconds above 0, such as {name}=0.5")
    if named is SEARCHED and not bounds:
        raise ValueError("server:max is the highest rate within a bound: say one, such as e2e_from_due_s=10")
    if named is SEARCHED:
        PLAN.of(requests)
    if is_mlperf and (named is SEARCHED or type(named).__name__ not in MINIMUM):
        raise ValueError(f"--mlperf is for the scenarios {', '.join(MINIMUM)} at a rate of yours, not {scenario}")
    return named


def least(scenario: Scenario, requests: int, is_mlperf: bool) -> tuple[int, float]:
    """Returns how many requests are sent at least, and for how many seconds."""
    if not is_mlperf:
        return requests, 0.0
    minimum = MINIMUM[type(scenario).__name__]
    # Offline is one query of many samples there, and as many samples in queries of ours here.
    is_offline = minimum.percentile is None
    queries = ceil(minimum.samples / scenario.samples) if is_offline else minimum.queries
    return max(requests, queries), minimum.duration_s


def must_be_on_time(scenario: Scenario, answers: Sequence[Answer]) -> None:
    """Raises LateClient where this machine sent too late for its arrivals.

    Lateness within 5 % of the shortest answer is within 5 % of any.
    """
    shortest_s = min((answer.end_s - answer.sent_s for answer in answers if not answer.error), default=None)
    if isinstance(scenario, Server) and shortest_s is not None and (late := why_late(answers, shortest_s)):
        raise LateClient(late)


def search(run: Run, bounds: Bounds, requests: int, seed: int) -> HighestRate:
    """Returns the highest rate within the bounds, found with about so many requests. Raises ValueError for too few."""
    bound_s = min(bounds.values())

    def latency(answer: Answer) -> float:
        """Returns the latency; with several bounds one that is over `bound_s` where any bound is not met."""
        if [*bounds] == ["e2e_from_due_s"]:
            return latency_s(answer)
        return bound_s if meets(answer, bounds) else float("inf")

    return highest_rate(run, bound_s, PLAN.of(requests), seed, latency=latency)


def of_search(found: HighestRate) -> dict[str, Any]:
    """Returns the columns of a search."""
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


def early_stopping(scenario: Scenario, answers: Sequence[Answer], bounds: Bounds) -> dict[str, Any]:
    """Returns LoadGen's verdict under the bounds of a Server, else its estimate of the scenario's percentile."""
    share = MINIMUM[type(scenario).__name__].percentile
    if isinstance(scenario, Server) and bounds:
        verdict = judge([0.0 if meets(answer, bounds) else float("inf") for answer in answers], 0.0)
        return {"early_stopping": _verdict(verdict.passes, verdict.more)}
    whole = [replace(answer, due_s=answer.sent_s) for answer in answers]
    estimate = None
    if share is not None:
        taken = [float("inf") if answer.error else latency_s(answer) for answer in whole]
        estimate = percentile_estimate(taken, share)
    return {"early_stopping_latency_s": None if estimate == float("inf") else estimate}


def of_scenario(scenario: Scenario) -> dict[str, Any]:
    """Returns the columns of a load that was not searched."""
    return {"in_flight": scenario.in_flight, "rate_per_s": getattr(scenario, "rate_per_s", None)}


def of_answers(answers: Sequence[Answer], found: Summary) -> dict[str, Any]:
    """Returns the columns of answers, and what came of them."""
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


def _verdict(passes: bool, more: int) -> str:
    return "passes" if passes else f"does not pass; {more} more within the bound would"
