"""The clocks, held against a clock that only the steps move; and the estimators, held against NumPy's."""

import gc
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.null import NullStep
from bench.child import measure
from bench.child.checks.verify import Refused
from bench.child.measure import MAX_SAMPLES, Clock, quiet_collector
from bench.effort import Effort
from bench.parent.record import latency_columns, percentile, throughput_columns
from results.record.vocabulary import SAMPLES_NEEDED
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


def calibrated(step, **more):
    clock = Clock(step, **more)
    clock.calibrate()
    return clock


def noisy(step, spread=0.2, trend=0.0):
    """Gives the step durations that vary about its own, and may move with its calls."""
    base, generator, plain = step.step_s, np.random.default_rng(0), step.step

    def run(i):
        step.step_s = base * (1 + spread * generator.uniform(-1, 1) + trend * len(step.steps))
        plain(i)

    step.step = run
    return step


@pytest.mark.parametrize(
    ("step_s", "block"), [(1.0, 1), (100e-6, 1), (99e-6, 10), (50e-6, 20), (10e-6, 100), (1e-6, 1000)]
)
def test_short_steps_are_timed_in_blocks_of_a_millisecond(timed, step_s, block):
    samples = calibrated(timed(step_s)).latency(effort())
    assert samples.steps_per_sample == block
    assert samples.seconds == pytest.approx([step_s])


def test_a_step_of_no_time_is_refused(timed):
    with pytest.raises(Refused, match=r"a step took 0\.0 s"):
        calibrated(timed(0.0)).latency(effort())


def test_a_clock_that_goes_back_is_refused(timed):
    step = timed(1.0)
    clock = calibrated(step)
    step.step_s = -1.0
    with pytest.raises(Refused, match=r"a step took -1\.0 s"):
        clock.latency(effort())


def test_a_sample_is_the_mean_over_its_block(timed):
    samples = calibrated(timed(6e-6, sync_s=4e-6)).latency(effort(min_rounds=3))
    assert samples.steps_per_sample == 100
    assert samples.seconds == pytest.approx([10e-6] * 3)


def test_one_slow_step_does_not_decide_the_block(timed):
    step = timed(1e-6)
    durations = (1.0 if i == 0 else 1e-6 for i in count())
    fast = step.step
    step.step = lambda i: (setattr(step, "step_s", next(durations)), fast(i))
    assert calibrated(step).latency(effort(min_rounds=5)).steps_per_sample == 1000


def test_what_verification_saw_decides_the_block_too(timed):
    step = timed(1.0)
    assert calibrated(step, seen_s=[1.0, 1.0]).block == 1
    assert step.calls == []


def test_there_are_at_least_so_many_rounds_as_asked_for(timed):
    samples = calibrated(timed(10.0)).latency(effort(budget_s=1.0, min_rounds=7))
    assert len(samples.seconds) == 7


def test_sampling_goes_on_until_the_time_is_spent(timed):
    samples = calibrated(noisy(timed(0.1))).latency(effort(budget_s=0.95, min_rounds=3))
    assert 9 <= len(samples.seconds) <= 11


def test_there_are_at_most_so_many_samples(timed):
    samples = calibrated(noisy(timed(1e-3))).latency(effort(budget_s=1e9))
    assert len(samples.seconds) == MAX_SAMPLES


def test_latency_waits_for_every_step(timed):
    step = timed(1.0, sync_s=0.5)
    samples = calibrated(step).latency(effort(min_rounds=2))
    assert samples.seconds == (1.5, 1.5)
    # Two steps decided the block, and the clock starts when nothing is under way.
    assert step.calls == [0, "sync", 1, "sync", "sync", 2, "sync", 3, "sync"]


class Asynchronous(TimedStep):
    """A device that works on what is queued while the host goes on; a mark is the time at which it is done."""

    def __init__(self, step_s):
        super().__init__(step_s)
        self.free_ns = 0

    def step(self, i):
        self.now_ns += 1000  # to enqueue
        self.free_ns = max(self.free_ns, self.now_ns) + round(self.step_s * SECOND)
        self.calls.append(i)

    def sync(self):
        self.now_ns = max(self.now_ns, self.free_ns)
        self.calls.append("sync")

    def mark(self):
        return self.free_ns

    def wait(self, token):
        self.now_ns = max(self.now_ns, token)


@pytest.fixture
def asynchronous(monkeypatch):
    step = Asynchronous(0.01)
    monkeypatch.setattr(measure, "perf_counter_ns", lambda: step.now_ns)
    monkeypatch.setattr(measure, "perf_counter", lambda: step.now_ns / SECOND)
    return step


def test_queued_blocks_keep_the_device_full(asynchronous):
    found = Clock(asynchronous).queued(effort(min_rounds=20), 0.01)
    assert found.steps_per_sample == 10
    assert found.seconds == pytest.approx([0.01] * 20)
    assert found.little_ratio == pytest.approx(1.0, rel=1e-3)


def test_a_host_that_cannot_keep_up_breaks_littles_law(asynchronous):
    fast = asynchronous.step
    asynchronous.step_s = 1e-6

    def slow_to_enqueue(i):
        asynchronous.now_ns += 10**7
        fast(i)

    asynchronous.step = slow_to_enqueue
    found = Clock(asynchronous).queued(effort(min_rounds=20), 0.01)
    assert found.seconds == pytest.approx([0.01] * 20, rel=1e-3)
    assert abs(found.little_ratio - 1) < 0.05  # two blocks are under way all the same: the host is what is full


@pytest.mark.parametrize(("step_s", "block"), [(10.0, 1), (0.05, 2), (0.01, 10), (1e-3, 100), (1e-9, 1000)])
def test_a_block_of_queued_steps_lasts_a_tenth_of_a_second_within_limits(timed, step_s, block):
    assert Clock(timed(step_s)).queued(effort(), step_s).steps_per_sample == block


def test_batches_rotate_through_all_that_is_run(timed):
    step = timed(10e-6)
    clock = calibrated(step, i=5)
    clock.warm_up(effort(warm_up_steps=3))
    clock.latency(effort(min_rounds=2))
    clock.queued(effort(min_rounds=2), 0.05)
    assert step.steps == list(range(5, 5 + len(step.steps)))
    assert clock.i == 5 + len(step.steps)


def test_warm_up_reaches_the_least_steps(timed):
    found = calibrated(timed(2.0)).warm_up(effort(warm_up_steps=5))
    # Two steps had decided the block.
    assert (found.steps, found.seconds, found.is_steady) == (3, 6.0, None)


def test_warm_up_ends_when_two_windows_are_alike(timed):
    found = calibrated(timed(0.1)).warm_up(effort(warm_up_s=60.0))
    # Two windows of half a second, in whole windows; two steps had decided the block.
    assert (found.steps, found.is_steady) == (10, True)


def test_warm_up_goes_on_while_steps_get_faster(timed):
    step = timed(0.1)
    plain = step.step

    def faster_and_faster(i):
        step.step_s = 0.1 * (1 + 0.9 ** len(step.steps))
        plain(i)

    step.step = faster_and_faster
    found = calibrated(step).warm_up(effort(warm_up_s=60.0))
    assert found.is_steady
    assert 0.9**found.steps < 0.03


def test_warm_up_gives_up_when_its_time_is_spent(timed):
    found = calibrated(noisy(timed(0.1), 0.0, trend=0.05)).warm_up(effort(warm_up_s=5.0))
    assert found.is_steady is False
    assert 4.0 <= found.seconds < 10.0


def test_steps_of_verification_count_as_warm_up(timed):
    found = calibrated(timed(2.0), seen_s=[2.0, 2.0, 2.0, 2.0]).warm_up(effort(warm_up_s=5.0))
    assert (found.steps, found.is_steady) == (0, True)
    longer = calibrated(timed(2.0), seen_s=[2.0, 2.0, 2.0]).warm_up(effort(warm_up_s=5.0))
    assert (longer.steps, longer.is_steady) == (0, None)  # their time is spent, and three say nothing


def test_warm_up_may_be_nothing(timed):
    found = calibrated(timed(1.0), seen_s=[1.0, 1.0]).warm_up(effort())
    assert (found.steps, found.seconds, found.is_steady) == (0, 0.0, None)


def test_the_collector_is_off_while_samples_are_taken(timed):
    step = timed(1.0)
    clock = calibrated(step)
    step.collector_was_on.clear()
    clock.latency(effort(min_rounds=2))
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


def test_means_of_several_steps_have_no_percentiles_and_no_extremes_of_a_step():
    columns = latency_columns([1e-6] * 2000, steps_per_sample=1000)
    of_steps = ("latency_min_s", "latency_max_s", "latency_p90_s", "latency_p99_s")
    assert [columns[name] for name in of_steps] == [None] * 4
    assert (columns["latency_p50_s"], columns["latency_mean_s"]) == (1e-6, pytest.approx(1e-6))


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
