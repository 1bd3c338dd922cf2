"""How the share of requests over a bound goes with the rate: one fit to all trials, and the rate at which it is 1 %.

log(share over the bound) is a line over the rate: exactly so for M/M/1, whose latency is over a bound with probability
exp(−(capacity − rate) · bound), and near its 99th percentile for other queues. The counts are fitted as Poisson counts
with more spread than Poisson's, since slow requests come in clusters (quasi-likelihood: McCullagh & Nelder, Generalized
Linear Models, 1989, chapter 9). It replaces a line through log p99: the p99 of a few hundred clustered latencies is low
more often than high, which put the rate 6 to 12 % above the true one, whereas a count has no such error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt
from statistics import NormalDist, fmean, median, pstdev

BAND = 2.0
"""A trial whose share over the bound differs from the wanted one by exp(±BAND) counts half: the line is local."""
RIDGE = 0.3
"""How strongly the slope, per standard deviation of the rates, is drawn to 1: it decides only where counts do not."""
FLATTEST = 0.05
"""The least slope, so that the line crosses the wanted share: the share over a bound rises with the rate."""
OUTLYING = 6.0
"""A trial whose count lies more of the usual deviations off the line counts less, the more the farther (Huber 1964): a
second in which the machine stood still is no property of the target. What is usual is told by the median trial. One
that bends the line to itself is not seen: a help, no cure."""
MEDIAN_SQUARE = 0.455
"""Of a standard normal number: the median of chi-squared with one degree of freedom."""
CLUSTERED = 4.0
"""How much more than Poisson's counts of slow requests spread at least, as they come in clusters: where few trials must
not be believed too much."""
FAR = 0.8
"""Of the rate that was found: only trials below speak against an interval that reaches further down."""
CALIBRATED = 0.96
"""Of Student's quantile: with all of it a 90 % interval held the truth in 89, 93 and 95 % of 150 simulated searches at
three bounds: the spread of a few clustered counts comes out too wide. `python -m tests.qa serving` asks others."""


@dataclass(frozen=True)
class Trial:
    """Requests at one rate: `rate_per_s` is the one that was drawn, `over` how many were over the bound."""

    rate_per_s: float
    queries: int
    over: int
    p99_s: float


@dataclass(frozen=True)
class Crossing:
    """The rate at which the share over the bound is the wanted one, with an interval."""

    rate_per_s: float
    low_per_s: float
    high_per_s: float


class _Line:
    """Counts of trials, with weights, over rates that are centred and scaled."""

    def __init__(self, trials: Sequence[Trial], share: float, band: float) -> None:
        rates = [trial.rate_per_s for trial in trials]
        self.centre, self.scale = fmean(rates), pstdev(rates)
        self.x = [(rate - self.centre) / self.scale for rate in rates]
        self.counts = [float(trial.over) for trial in trials]
        self.queries = [float(trial.queries) for trial in trials]
        self.share, self.band = share, band
        self.weights = [1.0] * len(trials)
        self.height, self.slope = log((sum(self.counts) + 0.5) / sum(self.queries)), 1.0
        for step in range(40):
            if step % 4 == 0:
                self.weights = self._weights()
            self._newton()

    def expected(self, height: float, slope: float) -> list[float]:
        """Returns the counts to expect; no share is above 1."""
        return [n * exp(max(-30.0, min(0.0, height + slope * x))) for n, x in zip(self.queries, self.x, strict=True)]

    def _weights(self) -> list[float]:
        """Returns how much each trial counts: less far from the wanted share, and less far off the line."""
        squares = self.squares()
        most = OUTLYING**2 * self.usual_spread()
        near = [1 / (1 + (self._away(x) / self.band) ** 2) for x in self.x]
        return [v * min(1.0, most / max(square, most)) for v, square in zip(near, squares, strict=True)]

    def _away(self, x: float) -> float:
        return min(0.0, self.height + self.slope * x) - log(self.share)

    def squares(self) -> list[float]:
        """Returns by how much each count is off, squared, in Poisson's variance."""
        means = self.expected(self.height, self.slope)
        return [(c - m) ** 2 / max(m, 0.3) for c, m in zip(self.counts, means, strict=True)]

    def usual_spread(self) -> float:
        """Returns how much more than Poisson's counts spread (1 or more), by the median trial."""
        return max(1.0, median(self.squares()) / MEDIAN_SQUARE)

    def _newton(self) -> None:
        """One step of Newton's method on the penalised quasi-likelihood, short enough not to leap."""
        rise = turn = bend = cross = curve = 0.0
        for x, v, count, mean in zip(
            self.x, self.weights, self.counts, self.expected(self.height, self.slope), strict=True
        ):
            rise += v * (count - mean)
            turn += v * x * (count - mean)
            bend += v * mean
            cross += v * x * mean
            curve += v * x * x * mean
        turn -= RIDGE * (self.slope - 1)
        bend, curve = bend + 1e-6, curve + RIDGE
        determinant = bend * curve - cross * cross
        self.height += _short((curve * rise - cross * turn) / determinant)
        self.slope = max(FLATTEST, self.slope + _short((bend * turn - cross * rise) / determinant))

    def crossing(self) -> float:
        """Returns where the line has the wanted share, in scaled rates."""
        return (log(self.share) - self.height) / self.slope

    def deviance(self, height: float, slope: float) -> float:
        total = RIDGE * (slope - 1) ** 2
        for v, count, mean in zip(self.weights, self.counts, self.expected(height, slope), strict=True):
            total += 2 * v * ((count * log(count / mean) if count else 0.0) - (count - mean))
        return total

    def deviance_through(self, at: float) -> float:
        """Returns the least deviance of lines that have the wanted share at `at`."""
        slope, wanted = self.slope, log(self.share)
        for _ in range(10):
            turn, curve = -RIDGE * (slope - 1), RIDGE
            for x, v, count, mean in zip(
                self.x, self.weights, self.counts, self.expected(wanted - slope * at, slope), strict=True
            ):
                turn += v * (x - at) * (count - mean)
                curve += v * (x - at) ** 2 * mean
            slope = max(FLATTEST, slope + _short(turn / curve))
        return self.deviance(wanted - slope * at, slope)

    def spread(self) -> tuple[float, float]:
        """Returns by how much counts spread more than Poisson's do (1 or more), and the degrees of freedom of that."""
        weight = sum(self.weights)
        trials = weight**2 / sum(v * v for v in self.weights)
        squares = sum(v * square for v, square in zip(self.weights, self.squares(), strict=True))
        freedom = max(trials - 2, 1.0)
        return max(1.0, squares / weight * trials / freedom), max(2.0, freedom)


def _short(step: float) -> float:
    return max(-0.7, min(0.7, step))


def _student(share: float, freedom: float) -> float:
    """Returns a quantile of Student's t (Abramowitz & Stegun 26.7.5; within 1 % for 0.95 from 3 degrees on)."""
    z = NormalDist().inv_cdf(share)
    return (
        z
        + (z**3 + z) / 4 / freedom
        + (5 * z**5 + 16 * z**3 + 3 * z) / 96 / freedom**2
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384 / freedom**3
    )


def crossing(trials: Sequence[Trial], share: float = 0.01, band: float = BAND) -> float:
    """Returns the rate per second at which `share` of the requests are over the bound, as the line has it."""
    line = _Line(trials, share, band)
    return line.centre + line.scale * line.crossing()


def crossing_with_interval(
    trials: Sequence[Trial], share: float = 0.01, confidence: float = 0.9, below: Sequence[Trial] = ()
) -> Crossing:
    """Returns that rate with its interval: where a line through it fits too badly, by the profile quasi-likelihood.

    Where a line of hardly any slope fits, too, that reaches to 0. It ends where all slower trials together, those of
    `below` among them, surely have less than `share` over the bound, be the line what it may.
    """
    line = _Line(trials, share, BAND)
    spread, freedom = line.spread()
    limit = (
        line.deviance(line.height, line.slope) + spread * (CALIBRATED * _student((1 + confidence) / 2, freedom)) ** 2
    )
    best = line.crossing()
    ends = [_end(best, sign, lambda at: line.deviance_through(at) < limit) for sign in (-1, 1)]
    low, high = (line.centre + line.scale * end for end in ends)
    rate = line.centre + line.scale * best
    far = [trial for trial in (*trials, *below) if trial.rate_per_s < FAR * rate]
    return Crossing(rate, max(0.0, low, held_up_to(far, share, line.usual_spread())), high)


def held_up_to(trials: Sequence[Trial], share: float, spread: float) -> float:
    """Returns the highest rate of `trials` up to which all together have surely less than `share` over the bound.

    That share rises with the rate, whatever its form. Sure is 95 %, by a normal bound on the square root of counts that
    spread by `spread`, `CLUSTERED` at least; 0 where nothing is sure.
    """
    margin = NormalDist().inv_cdf(0.95) * sqrt(max(CLUSTERED, spread)) / 2
    queries = over = held = 0.0
    for trial in sorted(trials, key=lambda one: one.rate_per_s):
        queries, over = queries + trial.queries, over + trial.over
        if sqrt(over) + margin < sqrt(share * queries):
            held = trial.rate_per_s
    return held


def _end(best: float, sign: int, fits: Callable[[float], bool]) -> float:
    """Returns where, from `best` on to one side, lines fit no more; ±infinity where they do so far away."""
    inside, step = 0.0, 0.05
    while fits(best + sign * step):
        inside, step = step, 1.6 * step
        if step > 8:
            return sign * inf
    outside = step
    for _ in range(14):
        middle = (inside + outside) / 2
        if fits(best + sign * middle):
            inside = middle
        else:
            outside = middle
    return best + sign * sqrt(inside * outside) if inside > 0 else best + sign * outside / 2
