"""The search for the highest rate on a virtual clock; `python -m tests.qa serving` asks how well it is calibrated."""

from dataclasses import replace
from math import exp, inf
from statistics import median

import pytest

from bench.serving import over_bound_fit
from bench.serving.answer import Answer
from bench.serving.arrivals import Server
from bench.serving.driver import LateClient, drive
from bench.serving.over_bound_fit import BAND, Trial, crossing, crossing_with_interval, held_up_to
from bench.serving.rate_search import Plan, highest_rate, latencies_s, throughput, trial_of
from bench.serving.virtual import QueueTarget, VirtualClock
from tests.qa import serving

CASE = serving.CASES[0]


def on_a_line(rate):
    return Trial(rate, 100_000, round(100_000 * 0.01 * exp(0.3 * (rate - 26))), 0.1)


def test_a_line_is_found():
    trials = [on_a_line(rate) for rate in (18, 20, 22, 24, 26, 28, 30)]
    found = crossing_with_interval(trials)
    assert crossing(trials) == pytest.approx(26, rel=0.002)
    assert found.low_per_s < 26 < found.high_per_s
    assert found.high_per_s - found.low_per_s < 0.5


def test_trials_that_scatter_make_the_interval_wide():
    factors = (2.0, 0.5, 1.6, 0.6, 1.5, 0.7, 1.1)
    exact = [on_a_line(rate) for rate in (18, 20, 22, 24, 26, 28, 30)]
    scattered = [
        Trial(one.rate_per_s, one.queries, round(one.over * factor), 0.1)
        for one, factor in zip(exact, factors, strict=True)
    ]
    found, sure = crossing_with_interval(scattered), crossing_with_interval(exact)
    assert found.high_per_s - found.low_per_s > 5 * (sure.high_per_s - sure.low_per_s)


def test_no_request_over_the_bound_says_only_that_the_rate_is_higher():
    found = crossing_with_interval([Trial(rate, 300, 0, 0.05) for rate in (18.0, 20.0, 22.0)])
    assert found.rate_per_s > 20


def test_the_true_rate_is_found():
    rates = [serving.search(CASE, seed).rate_per_s for seed in range(20)]
    assert median(rates) == pytest.approx(CASE.true_per_s, rel=0.08)


def test_latency_counted_from_sent_would_be_seen(monkeypatch):
    """Without the wait for the one server no rate up to its capacity is too high."""
    monkeypatch.setattr("bench.serving.rate_search.latency_s", lambda answer: serving.SERVICE_S)
    found = serving.search(CASE, 1)
    assert found.rate_per_s is None
    assert "the throughput decides" in found.reason


def test_a_search_takes_what_its_plan_says():
    found = serving.search(CASE, 1)
    assert found.queries == Plan().queries <= 6_000
    assert len(found.trials) == 15
    assert found.low_per_s < found.rate_per_s < found.high_per_s
    assert (found.confirmed_at_per_s, found.confirmed.queries) == (found.rate_per_s, 1001)


def test_the_same_seed_finds_the_same():
    assert serving.search(CASE, 4) == serving.search(CASE, 4)


def test_it_may_confirm_at_the_low_end():
    found = serving.search(CASE, 1, confirms_at_low_end=True)
    assert found.confirmed_at_per_s == found.low_per_s


def test_a_bound_below_the_service_time_has_no_rate():
    found = serving.search(serving.Case(0.3, 0.015, 0.0), 1)
    assert (found.rate_per_s, found.confirmed) == (None, None)
    assert "too tight" in found.reason


def test_errors_are_over_every_bound():
    answers = [Answer(0.0, 0.0, 0.01), Answer(1.0, 1.0, 1.01, error="refused_429")]
    assert latencies_s(answers) == [0.01, inf]
    trial = trial_of(answers, bound_s=1e9)
    assert (trial.rate_per_s, trial.over) == (1.0, 1)


def test_a_target_that_answers_nothing_is_an_error():
    with pytest.raises(ValueError, match="none of 1 offline requests"):
        throughput([Answer(0.0, 0.0, 1.0, error="timeout")])


def test_a_late_client_ends_the_search():
    def run(scenario, queries):
        clock = VirtualClock()
        late_s = 0.02 if isinstance(scenario, Server) else 0.0
        return drive(QueueTarget(clock, lambda number: 0.02, late_s=late_s), scenario, clock, queries)

    with pytest.raises(LateClient, match=r"at 12\.5 requests per second our client sent late"):
        highest_rate(run, 0.1)


def with_one_late(at, n_late, late_s=0.08):
    """Returns what drives trials, with one request sent late in each of `n_late` from the trial `at` on."""
    places, tries = [], []

    def run(scenario, queries):
        clock = VirtualClock()
        answers = drive(QueueTarget(clock, lambda number: 0.02), scenario, clock, queries)
        if isinstance(scenario, Server):
            tries.append(scenario)
            if len(tries) > at and len(places) < n_late:
                places.append(len(tries))
                answers[50] = replace(answers[50], sent_s=answers[50].due_s + late_s)
        return answers

    return run, tries


def test_a_trial_in_which_the_client_stood_still_is_driven_again_with_other_arrivals():
    run, tries = with_one_late(at=4, n_late=1)
    found = highest_rate(run, 0.1, Plan())
    assert found.again == 1
    assert tries[4].rate_per_s == tries[5].rate_per_s
    assert tries[4].seed != tries[5].seed
    assert found.queries - Plan().queries == Plan().around_queries


def test_a_client_that_stands_still_each_time_is_taken_after_some_tries():
    """A late request of hundreds is not late by the rule of all searches: it may be the machine's way."""
    run, tries = with_one_late(at=0, n_late=1000)
    found = highest_rate(run, 0.1, Plan(near_trials=0))
    assert found.again == 2 * 8
    assert len({one.seed for one in tries}) == len(tries) == 3 * 8


def test_lateness_below_a_half_of_the_bound_is_no_halt():
    run, _ = with_one_late(at=0, n_late=1000, late_s=0.04)
    assert highest_rate(run, 0.1, Plan(near_trials=0)).again == 0


def test_a_trial_far_off_the_line_counts_less_and_the_others_as_before():
    """Off the line that the others have: one that bends the line to itself is not seen (figures in docs/tested.md)."""
    line = over_bound_fit._Line([on_a_few(rate) for rate in (18, 20, 22, 24, 26, 27, 28, 30)], 0.01, BAND)
    before = line._weights()
    line.counts[3] += 30
    after = line._weights()
    assert after[3] < before[3] / 4
    assert after[:3] + after[4:] == before[:3] + before[4:]


def on_a_few(rate):
    return Trial(rate, 400, round(400 * 0.01 * exp(0.3 * (rate - 26))), 0.1)


def test_an_interval_ends_where_all_slower_trials_surely_hold_the_bound():
    flat = [Trial(rate, 300, 4, 0.1) for rate in (9.0, 10.0, 11.0)]
    slow = [Trial(4.0, 1000, 0, 0.05), Trial(20.0, 1000, 0, 0.05)]
    assert crossing_with_interval(flat).low_per_s == 0
    found = crossing_with_interval(flat, below=slow)
    assert found.low_per_s == 4
    assert held_up_to(slow, 0.01, 1.0) == 20
    assert held_up_to([Trial(5.0, 1000, 6, 0.05)], 0.01, 4.0) == 0


def test_fewer_requests_leave_trials_out_and_more_make_them_longer():
    assert Plan().of(Plan().queries) == Plan()
    fewest, twice = Plan().of(4401), Plan().of(2 * Plan().queries)
    assert (fewest.queries, fewest.near_trials, fewest.near_queries) == (4401, 4, 380)
    assert (twice.queries, twice.near_trials, twice.near_queries) == (2 * Plan().queries, 8, 760)
    assert Plan().of(5000).queries <= 5000
    with pytest.raises(ValueError, match="takes 4,401 requests or more, and 5,921 are usual, got 4,400"):
        Plan().of(4400)
