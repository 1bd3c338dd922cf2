"""What rounds say: a number with its interval, and the ratio of two numbers measured in the same rounds.

A round is a slice of every cell of a group, one after the other. Its estimate is that of Hodges and Lehmann (1963), the
median of all means of two rounds, on the logarithms. Its interval is as many times its standard error, by the spread of
Shamos (1976), as holds the truth of normal noise (`FACTORS`). Both are robust: a round in which the machine hiccuped
moves them little, where the interval of Wilcoxon's signed-rank test, exact for any symmetric noise, becomes four times
as wide by one of 8 rounds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import exp, hypot, inf, log, sqrt
from statistics import NormalDist, median

CONFIDENCE = 0.95
"""Of intervals that are printed."""
DECISIVE = 0.99
"""Of intervals by which one backend is called faster than another."""
SHAMOS = 1.0483
"""Makes the median distance of two values the standard deviation of normal ones (Shamos 1976; Rousseeuw & Croux 1993,
section 5). Of 12 values it is off by 4 % and varies by 24 %, where the median absolute deviation has -7 % and 33 %."""
ONE_IN_TWENTY, MOST_ALIKE = 1.645, 0.8
"""Standard errors that chance exceeds one time in twenty; the highest correlation of neighbours that is believed."""
LEAST_ROUNDS = {CONFIDENCE: 6, DECISIVE: 8}
"""With fewer nothing is said at that confidence."""
FACTORS = {CONFIDENCE: (2.006, 0.88, 3.49), DECISIVE: (2.636, 1.57, 11.4)}
"""(c, a, b): so many standard errors, c (1 + a / n + b / n^2), are the half of an interval of n rounds. c is the normal
quantile times sqrt(pi / 3), the limit; a and b are fitted to quantiles of 200,000 and more series of normal noise, of 6
to 60 rounds, within 1.5 %."""

PROCESS = 0.012
"""Standard deviation of ln of a number from one process to the next that does the same, which no round can see: where
its memory lies, how its threads were started. Twins on a 2-core VM: 0.5 to 2 % (`tests.qa twins`); so much makes the
intervals of five runs hold what the five say together as often as they claim (`tests.qa twice`)."""
OF_LAUNCH = 2000
"""Rounds of one launch have numbers from a multiple of this on, up to the next."""

Rounds = Mapping[int, float]
"""A positive number by round."""


@dataclass(frozen=True)
class Estimate:
    """A positive number, or a ratio, with its interval; `low` and `high` are None where there are too few rounds."""

    value: float
    low: float | None
    high: float | None
    n: int
    is_paired: bool = True
    """Whether it is a ratio of numbers that were measured side by side, in the same rounds."""

    @property
    def half_width(self) -> float:
        """The longer side of the interval as a part of the value; infinite without an interval."""
        if self.low is None or self.high is None:
            return float("inf")
        return max(self.high / self.value, self.value / self.low) - 1


def walsh(values: Sequence[float]) -> list[float]:
    """Returns the means of all pairs of the values, each with itself too, sorted."""
    n = len(values)
    return sorted((values[i] + values[j]) / 2 for i in range(n) for j in range(i, n))


def estimate(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Returns the Hodges-Lehmann estimate of positive values, at least one, in their order, with its interval."""
    logs = [log(value) for value in values]
    middle, half = median(walsh(logs)), _half(logs, confidence)
    low, high = (None, None) if half is None else (exp(middle - half), exp(middle + half))
    return Estimate(exp(middle), low, high, len(logs))


def _half(logs: Sequence[float], confidence: float) -> float | None:
    """Returns the half of the interval of the estimate of these logarithms, None where they are too few."""
    n = len(logs)
    if n < LEAST_ROUNDS[confidence]:
        return None
    c, a, b = FACTORS[confidence]
    return c * (1 + a / n + b / n**2) * (_spread(logs) or 0.0) / sqrt(n) * dependence(logs)


def dependence(values: Sequence[float]) -> float:
    """Returns how many times as uncertain a mean of the values is as it were if they were independent, 1 to 3.

    sqrt((1 + r) / (1 - r)), r the correlation of neighbours by their ranks, where it is more than chance would have
    one time in twenty: a machine with phases gives values that follow each other.
    """
    n = len(values)
    ranks = [sum((one < value) - (one > value) for one in values) / 2 for value in values]  # about their middle
    squares = sum(rank**2 for rank in ranks)
    r = sum(a * b for a, b in pairwise(ranks)) / squares if squares else 0.0
    if r <= ONE_IN_TWENTY / sqrt(n):
        return 1.0
    return sqrt((1 + min(r, MOST_ALIKE)) / (1 - min(r, MOST_ALIKE)))


def between_processes(one: Estimate, launches: int, numbers: int, confidence: float = CONFIDENCE) -> Estimate:
    """Returns the estimate with an interval that knows of `PROCESS` too.

    It is made of so many `numbers`, a ratio of two, each of so many `launches`, which are processes of their own.
    """
    if one.low is None or one.high is None:
        return one
    more = NormalDist().inv_cdf((1 + confidence) / 2) * PROCESS * sqrt(numbers / max(1, launches))
    below, above = (hypot(log(end / one.value), more) for end in (one.low, one.high))
    return replace(one, low=one.value * exp(-below), high=one.value * exp(above))


def launches_of(rounds: Rounds) -> int:
    """Returns of how many launches the rounds are."""
    return len({number // OF_LAUNCH for number in rounds})


def spread(values: Sequence[float]) -> float | None:
    """Returns the robust standard deviation of ln of positive values, None of fewer than two."""
    return _spread([log(value) for value in values])


def _spread(logs: Sequence[float]) -> float | None:
    apart = [abs(logs[i] - logs[j]) for i in range(len(logs)) for j in range(i)]
    return SHAMOS * median(apart) if apart else None


def paired(a: Rounds, b: Rounds, confidence: float = CONFIDENCE) -> Estimate | None:
    """Returns b / a from the rounds that both have, None where they have none in common."""
    ratios = [b[number] / a[number] for number in sorted(a.keys() & b.keys())]
    return estimate(ratios, confidence) if ratios else None


def unpaired(a: Rounds, b: Rounds, confidence: float = CONFIDENCE) -> Estimate | None:
    """Returns b / a of rounds that have nothing to do with each other, None where one has none.

    The median of all quotients, with the halves of both sides' own intervals added by their squares.
    """
    quotients = sorted(log(y / x) for x in a.values() for y in b.values())
    if not quotients:
        return None
    halves = [_half([log(one[number]) for number in sorted(one)], confidence) for one in (a, b)]
    middle = median(quotients)
    known = [half for half in halves if half is not None]
    half = hypot(*known) if len(known) == len(halves) else None
    low, high = (None, None) if half is None else (exp(middle - half), exp(middle + half))
    return Estimate(exp(middle), low, high, min(len(a), len(b)), is_paired=False)


def to_text(rounds: Rounds) -> str:
    """Returns the rounds as a row has them: `0:0.01234 2:0.01201`."""
    return " ".join(f"{number}:{value:.6g}" for number, value in sorted(rounds.items()))


def from_text(text: str | None) -> dict[int, float]:
    """Returns the rounds that `to_text` wrote. Raises ValueError for anything else."""
    rounds: dict[int, float] = {}
    for part in (text or "").split():
        number, _, value = part.partition(":")
        try:
            is_round = number.isdecimal() and int(number) not in rounds and 0 < float(value) < inf
        except ValueError:
            is_round = False
        if not is_round:
            raise ValueError(f"{part!r} is no round; expected its number and a positive value, such as 3:0.0123")
        rounds[int(number)] = float(value)
    return rounds
