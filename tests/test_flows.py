"""Requests that overlap: what ONNX Runtime and OpenVINO do with them, and what a flow that is wrong is given."""

import os
from dataclasses import replace

import numpy as np
import pytest

import backends
from backends.base import Effective, Flow
from bench.cell import Cell
from bench.child import load as loads
from bench.child.checks.proof import Proof, WrongResult
from bench.child.checks.verify import Refused
from bench.child.expected import load_expected
from bench.child.measure import Throughput, flow_throughput
from bench.effort import Effort
from bench.parent.cache import Cache, default_root
from bench.parent.suite import Suite
from tests.fakes.steps import allowed_in, request_in, with_threads
from workloads.catalog import load

# JAX, where another test has imported it, minds that OpenVINO forks when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")

THREADS = 2


@pytest.fixture(scope="module")
def request_and_expected(tmp_path_factory):
    """What a cell of ONNX Runtime is given, out of the cache, with what it shall compute."""
    tiny = load("mlp", "tiny")
    cell = Cell("mlp", "tiny", "infer", "onnxruntime_cpu", tiny.batch, None, "fp32", THREADS)
    suite = Suite(Cache(default_root(os.environ), print), tmp_path_factory.mktemp("logs"), Effort(0.0, 0, 0.0, 1))
    entries = suite.entries(cell, tiny, backends.get("onnxruntime_cpu"))
    request = request_in(entries, backends.get("onnxruntime_cpu"), tiny, "infer", THREADS)
    return request, load_expected(entries["expected"].path), allowed_in(entries)


@pytest.fixture(params=["onnxruntime_cpu", "openvino_cpu"])
def proof_and_step(request, request_and_expected):
    given, expected, allowed = request_and_expected
    adapter = backends.get(request.param)
    adapter.load(with_threads(THREADS))
    step = adapter.prepare(given)
    step.compile()
    return Proof(adapter, given, expected, allowed), step


def test_every_flow_computes_what_its_step_computes(proof_and_step):
    proof, step = proof_and_step
    for opener in step.flows():
        flow = opener()
        flow.run(2 * flow.in_flight, 0.0)
        proof.of_flow(flow)
        batches = [batch for batch, _ in flow.outputs()]
        assert set(batches) == {0, 1}
        assert flow.effective().told()["threads"] == THREADS
        assert flow.setting["streams"] * flow.setting["threads_per_stream"] == THREADS
        flow.close()


def test_a_flow_runs_at_least_so_many_and_tells_when_each_ran(proof_and_step):
    _, step = proof_and_step
    flow = step.flows()[-1]()
    spans = flow.run(10, 0.0)
    assert len(spans) >= 10
    assert all(start < end for start, end in spans)
    tries = [flow_throughput(flow, 200, 0.0) for _ in range(5)]  # what runs beside the tests disturbs one, not all
    assert {found.in_flight for found in tries} == {flow.in_flight}
    assert min(second for found in tries for second in found.seconds) > 0
    # Steps of microseconds: much of the time is between them.
    assert 0.2 < max(found.little_ratio for found in tries) < 1.5


def test_training_has_no_flows():
    for name in ("onnxruntime_cpu", "openvino_cpu"):
        assert backends.get(name).is_serial(load("mlp", "tiny").programs["train"])


class MadeUp(Flow):
    """Two streams whose steps take `step_s` each, on a clock of their own; `wrong` swaps the batches' outputs."""

    in_flight = 2

    def __init__(self, step_s=0.01, outputs=((0, 0), (1, 1)), threads_per_stream=1, **told):
        self.setting = {"streams": 2, "threads_per_stream": threads_per_stream, "requests": 2}
        self.runs = 0
        self.step_s, self.pairs, self.told = step_s, outputs, told
        self.is_closed = False

    def run(self, least, seconds):
        self.runs += 1
        n = max(least, round(2 * seconds / self.step_s))
        ns = round(self.step_s * 1e9)
        return [(i // 2 * ns, i // 2 * ns + ns) for i in range(n)]

    def outputs(self):
        return ((batch, {"logits": EXPECTED[source]}) for batch, source in self.pairs)

    def effective(self):
        return replace(Effective("cpu", "fp32", THREADS), **self.told)

    def close(self):
        self.is_closed = True


EXPECTED = [np.full((4, 5), value) for value in (1.0, 2.0)]


@pytest.fixture
def proof(request_and_expected):
    from workloads.summary import summarize

    given, _, allowed = request_and_expected
    expected = {f"output.{i}.logits": summarize(array) for i, array in enumerate(EXPECTED)}
    return Proof(backends.get("onnxruntime_cpu"), given, expected, allowed)


def test_two_steps_at_once_are_twice_the_rate():
    found = flow_throughput(MadeUp(0.01), 100, 0.0)
    assert found.seconds == pytest.approx([0.005] * len(found.seconds))
    assert found.little_ratio == pytest.approx(1.0)


def test_outputs_of_another_batch_are_wrong(proof):
    with pytest.raises(WrongResult):
        proof.of_flow(MadeUp(outputs=((0, 0), (1, 0))))


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"precision": "bf16"}, "effective_precision"),
        ({"device": "gpu"}, "effective_device"),
        ({"threads": 9}, "effective_threads"),
    ],
)
def test_a_flow_that_runs_elsewhere_or_otherwise_is_refused(proof, told, code):
    with pytest.raises(Refused) as refusal:
        proof.of_flow(MadeUp(**told))
    assert refusal.value.code == code


EFFORT = Effort(0.0, 0, 1.0, 1)


class Queueing:
    """A clock under which queued steps take `step_s` each."""

    def __init__(self, step_s):
        self.step_s = step_s

    def queued(self, effort, step_s):
        return Throughput((self.step_s,), 1, 2, 1.0)


def chosen(proof, step_s, *flows, queued_s=None):
    """Returns how steps are overlapped where one alone takes `step_s`, and `queued_s` where they queue."""

    class WithFlows:
        def flows(self):
            return [lambda flow=flow: flow for flow in flows]

    return loads.choose(WithFlows(), proof, Queueing(queued_s), step_s, EFFORT)


def test_the_fastest_flow_is_taken_and_the_others_are_closed(proof):
    slow, fast = MadeUp(0.02, threads_per_stream=2), MadeUp(0.01)
    load = chosen(proof, 0.015, slow, fast)
    assert (load.mode, load.flow) == ("requests", fast)
    assert (slow.is_closed, fast.is_closed) == (True, False)
    assert load.setting["tried_steps_per_s"].keys() == {"1", "2x2", "2x1"}
    taken = load.take(None, EFFORT, 0.015)
    assert (taken.in_flight, np.mean(taken.seconds)) == (2, pytest.approx(0.005))
    load.close()
    assert fast.is_closed


def test_a_setting_is_tried_once(proof):
    first, same = MadeUp(0.01), MadeUp(0.01)
    chosen(proof, 0.02, first, same)
    assert (first.runs, same.runs, same.is_closed) == (1, 0, True)


def test_where_no_flow_is_faster_steps_go_one_by_one(proof):
    slow = MadeUp(0.01)
    load = chosen(proof, 0.004, slow)
    assert (load.mode, load.flow, slow.is_closed) == ("serial", None, True)
    assert load.setting == {"tried_steps_per_s": {"1": 250.0, "2x1": 200.0}}


def test_a_flow_that_computes_something_else_is_not_chosen(proof):
    with pytest.raises(WrongResult):
        chosen(proof, 0.02, MadeUp(0.01, outputs=((0, 0), (1, 0))))


def test_what_overlaps_by_itself_is_queued_and_what_cannot_is_serial(proof):
    asynchronous = replace(proof, adapter=backends.get("torch_cpu"))
    assert chosen(proof, 0.01, queued_s=0.009).mode == "queued"
    assert chosen(asynchronous, 0.01).mode == "serial"


def test_a_way_that_is_hardly_faster_is_not_taken(proof):
    load = chosen(proof, 0.01, queued_s=0.0096)
    assert (load.mode, load.setting) == ("serial", {"tried_steps_per_s": {"1": 100.0, "queued": 104.2}})
    hardly = MadeUp(0.0192)
    assert (chosen(proof, 0.01, hardly).mode, hardly.is_closed) == ("serial", True)
