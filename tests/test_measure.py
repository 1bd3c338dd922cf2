"""The clocks, held against a clock that only the steps move; and the estimators, held against NumPy's."""

import gc
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.null import NullStep
from bench import measure
from bench.measure import MAX_SAMPLES, Clock, Effort, quiet_collector
from bench.record import latency_columns, percentile, throughput_columns
from results.row import SAMPLES_NEEDED
from tests.fakes.bench import CELL

SECOND = 10**9


class TimedStep(NullStep):
    """A step that moves the clock by `step_s`, as `sync()` does by `sync_s`, and remembers its calls."""

    def __init__(self, step_s, sync_s=0.0):
        super().__init__("fp32")
        self.now_ns, self.step_s, self.sync_s = 0, step_s, sync_s
        self.calls = []
        self.collector_was_on = set()

    def step(self, i):
        self.now_ns += round(self.step_s * SECOND)
        self.calls.append(i)
        self.collector_was_on.add(gc.isenabled())

    def sync(self):
        self.now_ns += round(self.sync_s * SECOND)
        self.calls.append("sync")

    @property
    def steps(self):
        return [call for call in self.calls if call != "sync"]


@pytest.fixture
def timed(monkeypatch):
    def build(step_s, sync_s=0.0):
        step = TimedStep(step_s, sync_s)
        monkeypatch.setattr(measure, "perf_counter_ns", lambda: step.now_ns)
        monkeypatch.setattr(measure, "perf_counter", lambda: step.now_ns / SECOND)
        return step

    return build


def effort(warm_up_s=0.0, warm_up_steps=0, budget_s=0.0, min_rounds=1):
    return Effort(warm_up_s, warm_up_steps, budget_s, min_rounds)


@pytest.mark.parametrize(
    ("step_s", "block"),
    [(1.0, 1), (100e-6, 1), (99e-6, 10), (50e-6, 20), (10e-6, 100), (1e-6, 1000), (0.0, 1_000_000)],
)
def test_short_steps_are_timed_in_blocks_of_a_millisecond(timed, step_s, block):
    samples = Clock(timed(step_s)).latency(effort())
    assert samples.steps_per_sample == block
    assert samples.seconds == pytest.approx([step_s])


def test_a_sample_is_the_mean_over_its_block(timed):
    samples = Clock(timed(6e-6, sync_s=4e-6)).latency(effort(min_rounds=3))
    assert samples.steps_per_sample == 100
    assert samples.seconds == pytest.approx([10e-6] * 3)


def test_one_slow_step_does_not_decide_the_block(timed):
    step = timed(1e-6)
    durations = (1.0 if i == 0 else 1e-6 for i in count())
    fast = step.step
    step.step = lambda i: (setattr(step, "step_s", next(durations)), fast(i))
    assert Clock(step).latency(effort(min_rounds=5)).steps_per_sample == 1000


def test_there_are_at_least_so_many_rounds_as_asked_for(timed):
    assert len(Clock(timed(10.0)).latency(effort(budget_s=1.0, min_rounds=7)).seconds) == 7


def test_sampling_goes_on_until_the_time_is_spent(timed):
    assert len(Clock(timed(0.1)).latency(effort(budget_s=0.95, min_rounds=3)).seconds) == 10


def test_there_are_at_most_so_many_samples(timed):
    assert len(Clock(timed(1e-3)).latency(effort(budget_s=1e9)).seconds) == MAX_SAMPLES


def test_latency_waits_for_every_step(timed):
    step = timed(1.0, sync_s=0.5)
    samples = Clock(step).latency(effort(min_rounds=2))
    assert samples.seconds == (1.5, 1.5)
    assert step.calls == [0, "sync", 1, "sync", 2, "sync", 3, "sync"]  # two of them decided the block


def test_throughput_waits_at_the_end_of_each_block(timed):
    step = timed(1.0, sync_s=2.0)
    samples = Clock(step).throughput(effort(min_rounds=2), step_s=1.0)
    assert samples.steps_per_sample == 4
    assert samples.seconds == (1.5, 1.5)
    assert step.calls == [0, 1, 2, 3, "sync", 4, 5, 6, 7, "sync"]


@pytest.mark.parametrize(("step_s", "block"), [(10.0, 4), (0.05, 4), (0.01, 20), (1e-3, 200), (1e-9, 1000)])
def test_a_block_of_queued_steps_lasts_a_fifth_of_a_second_within_limits(timed, step_s, block):
    assert Clock(timed(step_s)).throughput(effort(), step_s).steps_per_sample == block


def test_batches_rotate_through_all_that_is_run(timed):
    step = timed(10e-6)
    clock = Clock(step, first=5)
    clock.warm_up(effort(warm_up_steps=3))
    clock.latency(effort(min_rounds=2))
    clock.throughput(effort(min_rounds=2), 0.05)
    assert step.steps == list(range(5, 5 + len(step.steps)))
    assert clock.i == 5 + len(step.steps)


def test_warm_up_reaches_the_least_steps(timed):
    assert Clock(timed(2.0)).warm_up(effort(warm_up_s=1.0, warm_up_steps=3)) == (3, 6.0)


def test_warm_up_reaches_the_least_seconds(timed):
    assert Clock(timed(0.5)).warm_up(effort(warm_up_s=2.0, warm_up_steps=1)) == (4, 2.0)


def test_warm_up_may_be_nothing(timed):
    step = timed(1.0)
    assert Clock(step).warm_up(effort()) == (0, 0.0)
    assert step.calls == []


def test_the_collector_is_off_while_samples_are_taken(timed):
    step = timed(1.0)
    Clock(step).throughput(effort(min_rounds=2), 1.0)
    assert step.collector_was_on == {False}


def test_the_collector_is_restored():
    frozen = gc.get_freeze_count()
    with quiet_collector():
        assert not gc.isenabled()
        assert gc.get_freeze_count() > frozen
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_the_collector_is_restored_after_a_failure():
    with pytest.raises(RuntimeError, match="planted"), quiet_collector():
        raise RuntimeError("planted")
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


SECONDS = st.floats(1e-9, 1e3)


@settings(deadline=None)
@given(st.lists(SECONDS, min_size=20, max_size=300), st.sampled_from([0.0, 0.1, 0.25, 0.5]))
def test_percentiles_are_numpys_linear_ones(values, q):
    ordered = sorted(values)
    assert percentile(ordered, q) == pytest.approx(np.quantile(ordered, q, method="linear"), rel=1e-12)


@pytest.mark.parametrize(("column", "q"), [("latency_p90_s", 0.90), ("latency_p99_s", 0.99)])
def test_a_percentile_needs_ten_samples_above_it(column, q):
    needed = SAMPLES_NEEDED[column]
    few, enough = (sorted(np.random.RandomState(0).exponential(1.0, n).tolist()) for n in (needed - 1, needed))
    assert latency_columns(few)[column] is None
    assert latency_columns(enough)[column] == pytest.approx(np.quantile(enough, q, method="linear"), rel=1e-12)
    assert sum(value > latency_columns(enough)[column] for value in enough) == 10


@settings(deadline=None)
@given(st.lists(SECONDS, min_size=1, max_size=50))
def test_latency_columns_are_those_of_the_samples(values):
    columns = latency_columns(values)
    assert columns["latency_p50_s"] == np.median(values)
    assert columns["latency_mean_s"] == pytest.approx(np.mean(values), rel=1e-12)
    assert (columns["latency_min_s"], columns["latency_max_s"]) == (min(values), max(values))
    assert columns["latency_n"] == len(values)


def test_throughput_is_all_steps_over_all_seconds():
    columns = throughput_columns(CELL, (1.0, 1.0, 4.0), tokens=None)
    assert columns == {
        "throughput_samples_per_s": CELL.batch * 3 / 6.0,  # the mean of the rates would be 3
        "throughput_tokens_per_s": None,
        "throughput_n": 3,
    }


def test_throughput_of_tokens():
    assert throughput_columns(CELL, (0.5, 1.5), tokens=256)["throughput_tokens_per_s"] == 256 * 2 / 2.0
