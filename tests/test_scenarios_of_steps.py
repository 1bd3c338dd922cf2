"""Steps of this machine under load: queues of known theory, the same driver as for services, verified or refused."""

from dataclasses import replace
from math import ceil, exp, factorial
from statistics import fmean, median
from time import sleep

import pytest
import torch

from backends._torch import TorchStep
from bench.child.checks.proof import WrongResult
from bench.child.checks.verify import Refused
from bench.child.served import Served, behind
from bench.effort import Effort
from bench.parent.groups import Order
from bench.parent.plans import options, plan
from bench.parent.plans.parse import PlanError
from bench.parent.scenarios import Scenarios
from bench.scenario_cell import ScenarioCell
from bench.serving.answer import Answer, Chunk
from bench.serving.arrivals import Concurrency, MultiStream, Offline, Server, SingleStream
from bench.serving.definitions import percentile
from bench.serving.driver import LateClient, drive, lags_s, latency_s, why_late
from bench.serving.local.asked import Asked
from bench.serving.local.target import FullTarget, StepClock, StepTarget
from bench.serving.rate_search import Plan, highest_rate
from bench.serving.service import load
from bench.serving.service.load import must_be_on_time
from bench.serving.virtual import QueueTarget, VirtualClock
from results.record.services.columns import COLUMN
from results.record.services.row import make_service_row
from results.tables.services.compare import compared, times_as_fast
from tests.fakes.bench import CELL, EFFORT, faulty_suite, filled_cache
from tests.fakes.door import bench, run_in
from tests.fakes.searches import SHORT
from tests.fakes.steps import make_in
from tests.planted import PlantedAdapter

SERVICE_S = 0.020
FOREVER_S = float("inf")


class Time:
    """A clock that moves when somebody rests, works, or looks at it often enough; who rests wakes `late_s` late."""

    def __init__(self, late_s=0.0, look_s=2e-5):
        self.at_s, self.late_s, self.look_s = 0.0, late_s, look_s

    def now(self):
        self.at_s += self.look_s
        return self.at_s

    def rest(self, seconds):
        self.at_s += seconds + self.late_s

    def work(self, number):
        begin_s = self.at_s
        self.at_s += SERVICE_S
        return Answer(begin_s, begin_s, self.at_s)


def served(scenario, queries, samples=1, **of_time):
    time = Time(**of_time)
    clock = StepClock(time.now, time.rest)
    target = StepTarget(clock, lambda number: replace(time.work(number), samples=samples))
    return drive(target, scenario, clock, queries, timeout_s=FOREVER_S)


def waiting_md1(rate, service_s, share):
    """Returns the `share` quantile of the wait in M/D/1 (Erlang 1909; Crommelin 1932), in seconds."""

    def no_longer(wait_s):
        within = [wait_s - k * service_s for k in range(int(wait_s / service_s) + 1)]
        terms = ((-rate * left) ** k / factorial(k) * exp(rate * left) for k, left in enumerate(within))
        return (1 - rate * service_s) * sum(terms)

    low, high = 0.0, 20 * service_s
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if no_longer(middle) < share else (low, middle)
    return low


def test_the_quantile_of_md1_is_that_of_a_simulation():
    """Of the test's own formula: no wait at all in 1 − load of the cases."""
    assert waiting_md1(30.0, SERVICE_S, 0.39) == pytest.approx(0.0, abs=1e-9)
    assert waiting_md1(30.0, SERVICE_S, 0.41) > 0


@pytest.mark.parametrize("rate", [10.0, 30.0, 40.0])
def test_a_step_under_poisson_arrivals_is_an_md1_queue(rate):
    taken = [latency_s(answer) for answer in served(Server(rate, seed=2), 40_000)]
    mean = SERVICE_S + rate * SERVICE_S**2 / (2 * (1 - rate * SERVICE_S))
    assert fmean(taken) == pytest.approx(mean, rel=0.03)
    assert percentile(taken, 0.99) == pytest.approx(SERVICE_S + waiting_md1(rate, SERVICE_S, 0.99), rel=0.05)


def in_virtual_time(scenario, queries):
    clock = VirtualClock()
    return drive(QueueTarget(clock, lambda number: SERVICE_S), scenario, clock, queries)


@pytest.mark.parametrize("scenario", [SingleStream(), Offline(), Concurrency(3), Server(40.0, seed=1)])
def test_it_answers_as_the_virtual_target_does(scenario):
    virtual = in_virtual_time(scenario, 200)
    ours = served(scenario, 200, look_s=1e-6)
    for name in ("due_s", "end_s"):
        times = [[getattr(answer, name) - answers[0].due_s for answer in answers] for answers in (ours, virtual)]
        assert times[0] == pytest.approx(times[1], abs=2e-3), name


def test_a_query_of_several_samples_is_one_step():
    answers = served(MultiStream(samples=4), 3, samples=4)
    assert [answer.samples for answer in answers] == [4, 4, 4]
    assert [latency_s(answer) for answer in answers] == pytest.approx([SERVICE_S] * 3, rel=0.01)


def test_what_came_due_while_a_step_ran_waited_and_was_not_late():
    answers = served(Server(45.0, seed=3), 500)
    assert max(lags_s(answers)) < SERVICE_S / 20
    assert max(map(latency_s, answers)) > 3 * SERVICE_S


def test_who_wakes_late_is_refused():
    """Lateness is in the latency, is told, and above 5 % of the step it refuses the number."""
    answers = served(Server(5.0, seed=3), 200, late_s=0.003)
    assert percentile(lags_s(answers), 0.99) == pytest.approx(0.002, rel=0.05)  # it is waited for awake from 1 ms on
    assert "our client sent late" in why_late(answers, SERVICE_S)
    with pytest.raises(LateClient):
        must_be_on_time(Server(5.0), answers)
    must_be_on_time(Server(5.0), served(Server(5.0, seed=3), 200))


def test_an_answer_that_is_lost_is_not_waited_for():
    clock = StepClock()

    class Deaf:
        def start(self, number, due_s, done):
            pass

    with pytest.raises(RuntimeError, match="no query waits and none will come"):
        drive(Deaf(), SingleStream(), clock, 1, timeout_s=FOREVER_S)


def test_the_highest_rate_is_that_of_the_theory():
    bound_s = 0.1
    low, high = 1.0, 49.0
    for _ in range(40):
        middle = (low + high) / 2
        within = SERVICE_S + waiting_md1(middle, SERVICE_S, 0.99) <= bound_s
        low, high = (middle, high) if within else (low, middle)
    found = [highest_rate(served, bound_s, Plan(), seed) for seed in range(5)]
    assert median(one.rate_per_s for one in found) == pytest.approx(low, rel=0.05)
    virtual = [highest_rate(in_virtual_time, bound_s, Plan(), seed) for seed in range(5)]
    assert [one.rate_per_s for one in found] == pytest.approx([one.rate_per_s for one in virtual], rel=0.02)


def test_parts_of_a_load_are_set_behind_each_other():
    first = [Answer(1.0, 1.0, 3.0)]
    later = [Answer(100.0, 100.5, 102.0, chunks=(Chunk(101.0, 1),)), Answer(102.0, 102.0, 104.0)]
    moved = behind(first, later)
    assert [(one.due_s, one.sent_s, one.end_s) for one in moved] == [(2.5, 3.0, 4.5), (4.5, 4.5, 6.5)]
    assert moved[0].chunks == (Chunk(3.5, 1),)
    assert behind([], later) == later


@pytest.mark.parametrize(
    ("scenario", "more", "parts"),
    [
        ("single_stream", {}, [2, 2, 2, 2, 1]),
        ("concurrency:2", {}, [2, 2, 2, 2, 1]),
        ("offline", {}, [9]),
        ("server:5", {}, [9]),
        ("single_stream", {"mlperf": True}, [64]),
        ("offline", {"mlperf": True}, [ceil(24_576 / 4)]),
    ],
)
def test_a_closed_loop_is_measured_in_rounds_and_an_open_one_in_one(scenario, more, parts):
    asked = Asked(scenario=scenario, samples=4, requests=9, **more)
    assert [queries for queries, _ in asked.parts()] == parts
    assert asked.parts()[0][1] == (600.0 if more.get("mlperf") else 0.0)


CLOSED = Asked(scenario="single_stream", samples=4, requests=6, bounds={"e2e_s": 60.0})
ONCE = Effort(warm_up_s=0.0, warm_up_steps=1, budget_s=0.0, min_rounds=1)


class WithoutBias(TorchStep):
    """Wrong from the beginning."""

    def outputs_of(self, p, batch):
        return super().outputs_of({name: a * ("bias" not in name) for name, a in p.items()}, batch)


class WrongUnderLoad(TorchStep):
    """Honest until it has run more often than verification and warm-up do."""

    runs = 0

    def outputs_of(self, p, batch):
        self.runs += 1
        found, state = super().outputs_of(p, batch)
        return {name: a * (1.0 if self.runs < 40 else 1.001) for name, a in found.items()}, state


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    return make_in(tmp_path_factory.mktemp("made"), CELL.load_workload(), CELL.phase)


@pytest.fixture
def loaded(entries):
    """Returns a trial of a real torch step, of this class, under a load."""

    def made(step_class=TorchStep, asked=CLOSED):
        adapter = type("Planted", (PlantedAdapter,), {"Step": step_class})()
        cell = replace(CELL, threads=torch.get_num_threads())
        return Served(adapter, cell, entries, ONCE, lambda stage: None, asked=asked)

    return made


@pytest.fixture
def _unhurried(monkeypatch):
    """Whether steps wait is another test: beside others on this machine it says little."""
    monkeypatch.setattr("bench.child.checks.waits.check_waits", lambda step, i, took_s: (i, took_s))


@pytest.mark.usefixtures("_unhurried")
def test_a_real_step_answers_and_is_verified_before_and_after(loaded):
    trial = loaded()
    trial.prepare()
    trial.settle()
    assert [trial.serve(queries, 0.0) for queries in (4, 2)] == [{"n": 4}, {"n": 2}]
    columns = trial.finish([])
    row = make_service_row(**ScenarioCell(CELL, CLOSED).columns(), **columns, source="samestep 0")
    assert (row["status"], row["verification"], row["backend"]) == ("ok", "passed", "faulty")
    assert (row["n_requests"], row["e2e_s_n"], row["ttft_s_n"], row["in_flight"]) == (6, 6, 0, 1)
    assert row["samples_per_s"] == pytest.approx(4 * row["requests_per_s"])
    assert row["duration_s"] >= 6 * row["e2e_s_mean"] * 0.999
    assert row["goodput_requests_per_s"] == row["requests_per_s"]


@pytest.mark.usefixtures("_unhurried")
@pytest.mark.parametrize("least", [1, 12])
def test_all_at_once_steps_overlap_and_each_query_has_its_end(loaded, monkeypatch, least):
    monkeypatch.setattr("bench.child.served.QUEUED", least)
    trial = loaded(asked=Asked(scenario="offline", samples=4, requests=12))
    trial.prepare()
    trial.settle()
    before = trial.clock.i
    trial.serve(12, 0.0)
    assert trial.clock.i - before == 12 + 1  # and the one after a rest, that is not counted
    columns = trial.finish([])
    assert (columns["n_requests"], columns["in_flight"]) == (12, None)
    assert columns["notes"].startswith("steps overlapped (queued)")
    assert columns["samples_per_s"] == pytest.approx(12 * 4 / columns["duration_s"])
    assert 0 < columns["e2e_s_p50"] <= columns["e2e_s_p99"] == pytest.approx(columns["duration_s"], rel=0.01)


def test_of_a_flow_that_runs_more_steps_those_that_end_first_answer():
    time = Time()
    clock = StepClock(time.now, time.rest)
    spans = [(0.0, 1.0 + k) for k in (3, 0, 1, 4, 2)]
    answers = drive(FullTarget(clock, lambda n: spans, samples=2), Offline(samples=2), clock, 4, timeout_s=FOREVER_S)
    assert [answer.end_s for answer in answers] == [1.0, 2.0, 3.0, 4.0]
    assert {answer.sent_s for answer in answers} == {answers[0].sent_s}


@pytest.mark.usefixtures("_unhurried")
def test_a_wrong_step_answers_no_query(loaded):
    trial = loaded(WithoutBias)
    trial.prepare()
    with pytest.raises(WrongResult):
        trial.settle()
    assert trial._answers == []


@pytest.mark.usefixtures("_unhurried")
def test_a_mistake_that_begins_under_load_leaves_no_number(loaded):
    trial = loaded(WrongUnderLoad)
    trial.prepare()
    trial.settle()
    trial.serve(60, 0.0)
    with pytest.raises(WrongResult, match="after it was timed"):
        trial.finish([])


@pytest.mark.usefixtures("_unhurried")
def test_a_search_of_a_real_step_has_its_interval(loaded, monkeypatch):
    """Late trials of a busy machine would refuse it, which is another test."""
    monkeypatch.setattr("bench.serving.rate_search.why_late", lambda answers, bound_s: "")
    monkeypatch.setattr(load, "PLAN", SHORT)
    asked = Asked(scenario="server:max", samples=4, requests=SHORT.queries, bounds={"e2e_from_due_s": 30.0})
    assert asked.parts() == [(SHORT.queries, 0.0)]
    trial = loaded(asked=asked)
    trial.prepare()
    trial.settle()
    trial.serve(SHORT.queries, 0.0)
    found = trial.finish([])
    assert found["status"] == "ok"
    assert found["search_n"] >= SHORT.queries - SHORT.confirming_queries
    assert found["highest_rate_per_s"] or "the throughput decides" in found["notes"]
    assert found["rate_per_s"] > 0 if found["highest_rate_per_s"] else found["rate_per_s"] is None


@pytest.mark.usefixtures("_unhurried")
def test_a_client_that_wakes_late_refuses_the_step(loaded, monkeypatch):
    monkeypatch.setattr("bench.child.served.StepClock", lambda: StepClock(rest=lambda seconds: sleep(seconds + 0.05)))
    trial = loaded(asked=Asked(scenario="server:10", samples=4, requests=5))
    trial.prepare()
    trial.settle()
    with pytest.raises(Refused, match="our client sent late"):
        trial.serve(5, 0.0)


FAULTS = {"says@device=cuda": "refused", "raise@build": "broken", "kill@measure": "crashed", "lose@measure": "broken"}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_child_does_is_in_its_row_alone(fault, tmp_path, monkeypatch):
    """The fake computes nothing right, so that it is not verified but where its fault lies there."""
    monkeypatch.setenv("SAMESTEP_FAKE", fault)
    suite = replace(faulty_suite(filled_cache(tmp_path / "cache"), tmp_path), effort=EFFORT)
    cell = ScenarioCell(replace(CELL, backend="torch_cpu"), CLOSED)  # the suite has the fake for any
    scenarios = Scenarios(suite, Order(1, "0"), [cell], lambda text: None)
    row = make_service_row(**scenarios.columns_of(cell), source="samestep 0")
    assert (row["status"], row["verification"], row["n_requests"]) == (FAULTS[fault], "none", None), row["reason"]


def selected(**given):
    known = {f"--{name.replace('_', '-')}": value for name, value in {"preset": "smoke", **given}.items()}
    return options.select(known.get)


def test_scenarios_stand_in_the_place_of_cells():
    found = selected(scenario="single_stream,multi_stream,offline", workloads="gpt2", backends="torch_cpu,jax_cpu")
    assert plan.planned(found, ("torch_cpu",)) == []
    assert {(one.cell.backend, one.asked.scenario, one.cell.batch) for one in found.services} == {
        (backend, scenario, batch)
        for backend in ("torch_cpu", "jax_cpu")
        for scenario, batch in (("single_stream", 1), ("multi_stream", 8), ("offline", 2))
    }
    assert {one.cell.phase for one in found.services} == {"infer"}
    assert len({one.id for one in found.services}) == len(found.services) == 6


def test_a_generation_answers_a_query_with_bounds_on_its_tokens():
    words = {
        "phases": "generate",
        "workloads": "llama",
        "backends": "torch_cpu",
        "service_bound": "ttft_s=1,tpot_s=0.1",
    }
    (found,) = selected(scenario="concurrency:2", **words).services
    columns = found.columns()
    assert (columns["prompt_tokens_asked"], columns["output_tokens_asked"], columns["batch"]) == (16, 8, 1)
    assert columns["bounds"] == '{"tpot_s": 0.1, "ttft_s": 1.0}'


def test_a_batch_that_is_asked_for_is_a_query():
    found = selected(scenario="server:5,multi_stream", workloads="mlp", backends="torch_cpu", batch="4,16")
    assert sorted((one.asked.scenario, one.asked.samples) for one in found.services) == [
        ("multi_stream", 4), ("multi_stream", 16), ("server:5", 4), ("server:5", 16),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"scenario": "server:max"}, "say one, such as e2e_from_due_s=10"),
        ({"scenario": "burst"}, "unknown scenario 'burst'"),
        ({"scenario": "offline,offline"}, "--scenario has one twice"),
        ({"service_bound": "e2e_s=1"}, "--service-bound without --service URL"),
        ({"scenario": "offline", "service_model": "m"}, "--service-model without --service URL"),
        ({"scenario": "offline", "phases": "train"}, "train carries state on"),
        ({"scenario": "offline", "phases": "decode", "workloads": "gpt2"}, "decode carries state on"),
        ({"scenario": "offline", "workloads": "matmul"}, "none of what was chosen answers queries"),
        ({"scenario": "offline", "launches": "2"}, "--launches is for steps by themselves"),
        ({"scenario": "server:max", "service_bound": "e2e_s=1"}, "server:max takes 4,401 requests or more"),
        (
            {"scenario": "server:max", "service_bound": "ttft_s=1", "service_requests": "6000"},
            "makes no tokens one by one",
        ),
        ({"scenario": "offline", "service_requests": "0"}, "requests is 0"),
        ({"scenario": "concurrency:2", "mlperf": True}, "--mlperf is for the scenarios SingleStream"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_runs(given, said):
    with pytest.raises(PlanError, match=said):
        selected(**{"workloads": "mlp", "backends": "torch_cpu"} | given)


def row_of(backend, **more):
    cell = ScenarioCell(replace(CELL, backend=backend), CLOSED)
    known = {"status": "ok", "n_requests": 6, "n_failed": 0, "verification": "passed", "source": "samestep 0"}
    return make_service_row(**cell.columns() | {"run_id": "r", "e2e_s_p90": 0.1, "e2e_s_p50": 0.1} | known | more)


def service(**more):
    known = {"service": "http://h/v1", "model": "mlp:tiny", "kind": "infer", "scenario": "single_stream"}
    known |= {"precision": "fp32", "batch": 4, "threads": 1, "source": "samestep 0", "run_id": "r"}
    return make_service_row(**known | {"status": "ok", "n_requests": 6, "n_failed": 0, "e2e_s_p90": 0.1} | more)


def test_ratios_are_of_what_is_verified_under_the_same_load():
    rows = [row_of("jax_cpu", e2e_s_p90=0.05), row_of("torch_cpu"), service(), row_of("onnxruntime_cpu", run_id="s")]
    assert times_as_fast(rows) == ("torch_cpu", [2.0, 1.0, None, None])
    assert times_as_fast(rows, "jax_cpu") == ("jax_cpu", [1.0, 0.5, None, None])


def test_verified_and_not_verified_are_compared_only_where_that_is_asked_for():
    ours, theirs = row_of("torch_cpu", e2e_s_p50=0.1), service(e2e_s_p50=0.2)
    assert [one.ratio for one in compared([ours], [row_of("torch_cpu", e2e_s_p50=0.05)])] == [2.0]
    assert compared([theirs], [ours], across=["service"]) == []
    assert [one.ratio for one in compared([theirs], [ours], across=["service", "verification"])] == [2.0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"verification": "none: a service"}, "expected passed or before only or unverified"),
        ({"verification": "none"}, "expected passed or before only or unverified"),
        ({"verification": "logprobs: 3"}, "expected passed or before only or unverified"),
        ({"status": "crashed", "reason": "x", "n_requests": None, "e2e_s_p90": None}, "expected none"),
    ],
)
def test_a_number_of_a_step_has_its_verification(given, said):
    with pytest.raises(ValueError, match=said):
        row_of("torch_cpu", **given)


def test_the_columns_of_a_step_are_columns_of_loads():
    assert {*ScenarioCell(CELL, CLOSED).columns()} <= {*COLUMN}


def test_a_run_puts_steps_under_load_beside_each_other(tmp_path):
    """Of real runtimes, in children; at the batch that predictions are stored for."""
    runs = tmp_path / "runs"
    runs.mkdir()
    words = ("--preset", "smoke", "--workloads", "mlp", "--batch", "4", "--backends", "torch_cpu,jax_cpu")
    words += ("--scenario", "single_stream,offline", "--service-requests", "7", "--results-dir", str(runs))
    done = bench(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    found = run_in(runs)
    assert found.rows == ()
    assert {(one["backend"], one["scenario"]): (one["status"], one["verification"]) for one in found.services} == {
        (backend, scenario): ("ok", "passed")
        for backend in ("torch_cpu", "jax_cpu")
        for scenario in ("single_stream", "offline")
    }
    assert {one["n_requests"] for one in found.services} == {7}
    assert all(one["workload_digest"] and one["device"] for one in found.services)
    assert "as fast as torch_cpu" in done.stdout
    assert found.problems == ()
