"""What is asked of a step in one row of scenarios: how queries arrive, how many, and their bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bench.serving.arrivals import SEARCHED, Scenario, scenario_named
from bench.serving.service.load import check, least

ROUNDS = 5
"""A closed loop begins at rest whenever it goes on, and so is measured in rounds, beside others."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A load of queries, each of which is one batch. Raises ValueError for what cannot be asked."""

    scenario: str
    """`single_stream`, `multi_stream`, `offline`, `concurrency:N`, `server:RATE`, or `server:max`: searched."""
    samples: int
    """Samples of each query: the step's batch."""
    requests: int
    bounds: Mapping[str, float] = field(default_factory=dict, hash=False)
    seed: int = 0
    mlperf: bool = False
    """Whether MLPerf's least duration and number of queries are kept."""

    def __post_init__(self) -> None:
        check(self.scenario, self.seed, self.requests, self.bounds, self.mlperf)

    @property
    def is_searched(self) -> bool:
        """Whether the highest rate is searched."""
        return scenario_named(self.scenario, self.seed) is SEARCHED

    def arrivals(self) -> Scenario:
        """Returns how queries arrive, each of as many samples as the step takes."""
        return self.batched(scenario_named(self.scenario, self.seed))

    def batched(self, scenario: Scenario) -> Scenario:
        """Returns the scenario with queries of as many samples as the step takes."""
        return replace(scenario, samples=self.samples)  # type: ignore[type-var]

    def parts(self) -> list[tuple[int, float]]:
        """Returns the queries of each round, with its least duration in seconds.

        In an open loop queries wait for those before them, so that it is measured in one.
        """
        scenario = self.arrivals()
        if self.is_searched:
            return [(self.requests, 0.0)]
        queries, duration_s = least(scenario, self.requests, self.mlperf)
        if scenario.in_flight is None or self.mlperf:
            return [(queries, duration_s)]
        rounds = min(ROUNDS, queries)
        return [(queries // rounds + (number < queries % rounds), 0.0) for number in range(rounds)]
