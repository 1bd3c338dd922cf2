"""The highest Poisson rate at which the 99th percentile of latency, from when requests were due, is within a bound.

From the offline throughput: three coarse rates say where the crossing is about, four lie on both sides of it, eight
near it; one fit to these, and a trial at the answer that LoadGen's early stopping judges. The coarse ones are not in
the fit: a line over rates far from the crossing is another line, which made intervals at tight bounds twice too wide.
`python -m tests.qa serving` asks how true it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bench.serving.answer import Answer
from bench.serving.arrivals import Offline, Scenario, Server
from bench.serving.definitions import percentile
from bench.serving.driver import LateClient, lags_s, latency_s, why_late
from bench.serving.early_stopping import Verdict, judge
from bench.serving.over_bound_fit import Trial, crossing, crossing_with_interval

Run = Callable[[Scenario, int], Sequence[Answer]]
"""Drives a target through a scenario with a number of requests, each time from rest."""

FEWEST_NEAR = 4
"""So many trials near the rate are the fewest that a line with an interval is drawn through."""
Latency = Callable[[Answer], float]
"""Seconds of a whole answer that are held against the bound."""

SHARE = 0.01
"""Of requests may be over the bound: the bound is on the 99th percentile."""
SLOWEST, FASTEST = 0.04, 0.95
"""Of the offline throughput: no trial has a rate outside."""
HALTED, AGAIN = 0.5, 2
"""A trial in which our client sent any request later than this share of the bound is driven again, with other arrivals,
so often at most: it stood still, and so may what it measures have. The rule looks at no latency, and moves none."""


@dataclass(frozen=True)
class Plan:
    """How many requests each part takes: 5,921 in all, and where rates near the crossing are: ± `apart` of it."""

    offline_queries: int = 200
    coarse_rates: tuple[float, ...] = (0.25, 0.5, 0.75)
    """Of the offline throughput."""
    coarse_queries: int = 160
    around_rates: tuple[float, ...] = (0.7, 0.85, 1.15, 1.3)
    """Of the crossing that the coarse ones have."""
    around_queries: int = 300
    near_trials: int = 8
    near_queries: int = 380
    confirming_queries: int = 1001
    """Passes with three over the bound, by early stopping."""
    apart: float = 0.08
    settling: int = 60
    """Of each trial, the first that are sent and not counted: a trial begins at rest, where nothing waits yet."""

    def of(self, queries: int) -> Plan:
        """Returns a plan of about so many requests in all. Raises ValueError for fewer than `least`.

        More make all parts longer. Fewer leave trials near the rate out and shorten none: one that ends before its
        queue has filled makes the rate too high (by 12 % in the median at 2,000 requests and 10 times the service).
        """
        if queries < self.least:
            raise ValueError(
                f"server:max takes {self.least:,} requests or more, and {self.queries:,} are usual, got {queries:,}: "
                f"in shorter trials no queue fills; ask for more (--service-requests), or for a rate (server:RATE)"
            )
        if queries < self.queries:
            return replace(self, near_trials=FEWEST_NEAR + (queries - self.least) // self.near_queries)
        parts = ("offline", "coarse", "around", "near", "confirming")
        longer = {f"{part}_queries": round(getattr(self, f"{part}_queries") * queries / self.queries) for part in parts}
        return replace(self, **longer)

    @property
    def least(self) -> int:
        """The fewest requests of a search."""
        return self.queries - (self.near_trials - FEWEST_NEAR) * self.near_queries

    @property
    def queries(self) -> int:
        """Requests in all."""
        around = len(self.coarse_rates) * self.coarse_queries + len(self.around_rates) * self.around_queries
        return self.offline_queries + around + self.near_trials * self.near_queries + self.confirming_queries


@dataclass(frozen=True)
class HighestRate:
    """What a search found: rates per second; `low_per_s` to `high_per_s` is a 90 % interval of `rate_per_s`.

    `confirmed` is early stopping's verdict on a trial of its own at `confirmed_at_per_s`, which no rate above comes
    from. At a rate with just 1 % over the bound such a trial seldom passes, by early stopping's design: that it does
    not pass says only that the rate is not far below what the target holds.
    """

    rate_per_s: float | None
    low_per_s: float | None
    high_per_s: float | None
    offline_per_s: float
    trials: tuple[Trial, ...]
    queries: int
    confirmed: Verdict | None = None
    confirmed_at_per_s: float | None = None
    reason: str = ""
    """In words, why there is no rate."""
    again: int = 0
    """How many trials were driven again, because our client stood still."""


def throughput(answers: Sequence[Answer]) -> float:
    """Returns whole answers per second, from the first due to the last end. Raises ValueError where there is none."""
    whole = [answer for answer in answers if not answer.error]
    if not whole:
        raise ValueError(f"none of {len(answers)} offline requests was answered; look at their errors")
    return len(whole) / (max(answer.end_s for answer in whole) - min(answer.due_s for answer in answers))


def latencies_s(answers: Sequence[Answer], latency: Latency | None = None) -> list[float]:
    """Returns latencies from when requests were due; one that failed took forever."""
    taken = latency or latency_s
    return [float("inf") if answer.error else taken(answer) for answer in answers]


def trial_of(answers: Sequence[Answer], bound_s: float, settling: int = 0, latency: Latency | None = None) -> Trial:
    """Returns what a trial says of all but its first `settling` requests.

    Its rate is the one that was drawn, which at 350 requests is off by 5 %.
    """
    counted = answers[settling:]
    taken = latencies_s(counted, latency)
    rate = (len(counted) - 1) / (counted[-1].due_s - counted[0].due_s)
    return Trial(rate, len(counted), sum(one > bound_s for one in taken), percentile(taken, 1 - SHARE))


def highest_rate(
    run: Run,
    bound_s: float,
    plan: Plan | None = None,
    seed: int = 0,
    confirms_at_low_end: bool = False,
    latency: Latency | None = None,
) -> HighestRate:
    """Returns the highest rate with a 99th percentile within `bound_s` seconds, or a reason why there is none.

    `run` drives the target; each trial draws its arrivals from `seed` and its own number. With `confirms_at_low_end`
    the confirming trial has the rate of the interval's low end, where it passes more often. `latency` is what is bound,
    by default the time from due to end. A trial in which the client itself was late or stood still is driven again.
    Raises LateClient where it was late each time.
    """
    plan, again = plan or Plan(), list[int]()
    offline_per_s = throughput(run(Offline(), plan.offline_queries))
    trials: list[Trial] = []

    def measure(rate_per_s: float, queries: int) -> None:
        trials.append(trial_of(served(rate_per_s, queries), bound_s, plan.settling, latency))

    def served(rate_per_s: float, queries: int) -> Sequence[Answer]:
        answers, more = _served(run, rate_per_s, queries, seed, len(trials), bound_s)
        again.extend([queries] * more)
        return answers

    for share in plan.coarse_rates:
        measure(share * offline_per_s, plan.coarse_queries)
    about_per_s = _held(crossing(trials, SHARE), offline_per_s)
    for share in plan.around_rates:
        measure(_held(share * about_per_s, offline_per_s), plan.around_queries)
    for number in range(plan.near_trials):
        aside = 1 + plan.apart * (1 if number % 2 else -1)
        measure(_held(crossing(trials, SHARE) * aside, offline_per_s), plan.near_queries)

    coarse, near = trials[: len(plan.coarse_rates)], trials[len(plan.coarse_rates) :]
    found = crossing_with_interval(near, SHARE, below=coarse)
    queries = plan.queries - plan.confirming_queries + sum(again)
    if reason := _why_none(found.rate_per_s, offline_per_s, bound_s, plan.near_queries):
        return HighestRate(None, None, None, offline_per_s, tuple(trials), queries, reason=reason, again=len(again))
    at_per_s = _held(found.low_per_s, offline_per_s) if confirms_at_low_end else found.rate_per_s
    last = served(at_per_s, plan.confirming_queries)
    return HighestRate(
        found.rate_per_s,
        found.low_per_s,
        min(found.high_per_s, offline_per_s),
        offline_per_s,
        tuple(trials),
        plan.queries + sum(again),
        judge(latencies_s(last, latency), bound_s),
        at_per_s,
        again=len(again),
    )


def _served(
    run: Run, rate_per_s: float, queries: int, seed: int, number: int, bound_s: float
) -> tuple[Sequence[Answer], int]:
    """Returns a trial's answers, and how often it was driven again. Raises LateClient where all were late."""
    for attempt in range(1 + AGAIN):
        try:
            answers = run(Server(rate_per_s, seed=1000 * seed + 100 * attempt + number), queries)
            reason = why_late(answers, bound_s)
        except LateClient as late:
            reason = str(late)
        if not reason and (attempt == AGAIN or max(lags_s(answers), default=0.0) <= HALTED * bound_s):
            return answers, attempt
    raise LateClient(f"at {rate_per_s:.4g} requests per second {reason}")


def _held(rate_per_s: float, offline_per_s: float) -> float:
    return max(SLOWEST * offline_per_s, min(FASTEST * offline_per_s, rate_per_s))


def _why_none(rate_per_s: float, offline_per_s: float, bound_s: float, queries: int) -> str:
    """Returns why there is no rate: the fit has it outside what trials can have."""
    if rate_per_s < SLOWEST * offline_per_s:
        return (
            f"more than {SHARE:.0%} of the requests take over {bound_s * 1e3:g} ms even at {SLOWEST:.0%} of the offline"
            f" throughput of {offline_per_s:.4g}/s; the bound is too tight for this target"
        )
    if rate_per_s > FASTEST * offline_per_s:
        return (
            f"in trials of {queries} requests the bound of {bound_s * 1e3:g} ms held at {FASTEST:.0%} of the offline "
            f"throughput of {offline_per_s:.4g}/s, too; so near it a queue takes longer to fill, and no rate is told: "
            "the throughput decides, not the bound"
        )
    return ""
