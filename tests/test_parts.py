"""A step taken apart: the clock, what its parts compute, and that a measured row has each number or a reason."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import backends
from backends.base import ONE_GRAPH, PARTS
from backends.null import NullStep
from bench.cell import Cell
from bench.child.beside import parts
from bench.child.measure import Clock
from bench.effort import Effort
from bench.parent.cache import Cache
from bench.parent.plans.options import effort, interrupted_run
from bench.parent.plans.parse import PlanError
from bench.parent.plans.presets import PRESETS
from bench.parent.record import workload_columns
from bench.parent.suite import Suite
from bench.parent.verdict import of_launch
from results import __main__ as door
from results.record.csvfile import write_csv
from results.record.row import make_row
from results.show.parts import render_parts
from results.tables.table import to_frame
from tests.fakes.hardware import Prepared
from tests.fakes.rows import idle_row, row_of
from tests.fakes.steps import with_threads
from workloads.catalog import load, phases_of

EFFORT = Effort(0.0, 0, 0.0, 3)
OK = {"status": "ok", "threads": 1}
COMPILED = Effort(0.0, 0, 0.0, 3, parts="all")
GRAPHS = ("onnxruntime_cpu", "openvino_cpu")
SECONDS = {"input_copy": 2.0, "forward": 3.0, "backward": 5.0, "optimizer": 1.0}


class ApartStep(NullStep):
    """A step of 8 s whose parts take `SECONDS`, by a clock that they alone move; the first round takes a minute more.

    What `does_not_wait` leaves its time to no part at all, as work that the next step hides.
    """

    def __init__(self, does_not_wait="", fails=""):
        super().__init__("fp32")
        self.now_s, self.does_not_wait, self.fails = 0.0, does_not_wait, fails
        self.calls = []

    def step(self, i):
        self.now_s += 8.0

    def parts(self):
        return {name: lambda i, name=name: self.run(name, i) for name in PARTS}

    def run(self, name, i):
        if name == self.fails:
            raise RuntimeError("planted:\nno memory for it")
        is_first = name not in {name for name, _ in self.calls}
        self.calls.append((name, i))
        self.now_s += (name != self.does_not_wait) * SECONDS[name] + 60 * is_first


@pytest.fixture
def apart(monkeypatch):
    def measured(effort=EFFORT, **how):
        step = ApartStep(**how)
        step.parts_compile = how.get("fails") == "compile"
        monkeypatch.setattr(parts, "perf_counter_ns", lambda: round(step.now_s * 1e9))
        return step, *parts.measure_parts(step, Clock(step, i=7), effort)

    return measured


def test_each_part_is_timed_beside_the_whole_step_and_the_first_round_is_not(apart):
    step, columns, reason = apart()
    expected = {f"{name}_s": seconds for name, seconds in SECONDS.items()}
    assert columns == pytest.approx(expected | {"parts_sum_s": 9.0, "parts_whole_s": 8.0, "parts_ratio": 9 / 8})
    assert reason == ""
    assert step.calls == [(name, i) for i in (7, 8) for name in PARTS]


def test_parts_of_a_short_step_take_two_rounds(apart, monkeypatch):
    monkeypatch.setattr("bench.child.beside.parts.LONG_S", 100.0)
    assert apart()[0].calls == [(name, i) for i in (7, 8, 9) for name in PARTS]


def test_a_step_of_one_part_is_that_part_and_is_not_measured_twice(apart, monkeypatch):
    def parts_of_inference(step):
        return {name: lambda i, name=name: step.run(name, i) for name in ("input_copy", "forward")}

    monkeypatch.setattr(ApartStep, "parts", parts_of_inference)
    monkeypatch.setattr(ApartStep, "step", lambda step, i: pytest.fail("the whole step was run beside its one part"))
    _, columns, _ = apart()
    assert columns == {
        "input_copy_s": 2.0,
        "forward_s": 3.0,
        "parts_sum_s": 3.0,
        "parts_whole_s": 3.0,
        "parts_ratio": 1,
    }


def test_the_ratio_is_that_of_sum_and_whole_of_one_round(apart, monkeypatch):
    def slower_each_round(step, i):
        step.now_s += 8.0 * 2 ** (i - 8)

    def parts_slower_as_well(step, name, i):
        step.now_s += SECONDS[name] * 2 ** (i - 8)

    monkeypatch.setattr(ApartStep, "step", slower_each_round)
    monkeypatch.setattr(ApartStep, "run", parts_slower_as_well)
    assert apart()[1]["parts_ratio"] == pytest.approx(9 / 8)


def test_rounds_go_on_until_the_time_is_spent(apart):
    step, _, _ = apart(Effort(0.0, 0, 0.9, 1))
    assert len(step.calls) == 2 * len(PARTS)


def test_parts_that_add_up_to_less_than_the_step_are_flagged(apart):
    _, columns, _ = apart()
    assert (of_launch(OK | columns).quality, of_launch(OK | columns).flags) == ("valid", ())
    _, columns, _ = apart(does_not_wait="backward")
    assert (of_launch(OK | columns).quality, of_launch(OK | columns).flags) == ("valid", ("parts_too_small",))


def test_a_part_that_fails_leaves_the_row_its_numbers_and_says_why(apart):
    assert apart(fails="backward")[1:] == ({}, "RuntimeError: planted: no memory for it")


def test_parts_that_must_be_compiled_are_only_where_that_was_asked_for(apart):
    assert apart(fails="compile")[1:] == ({}, parts.NOT_COMPILED)
    assert apart(COMPILED, fails="compile")[1]["parts_ratio"] == 9 / 8


def test_a_step_that_is_one_graph_has_no_parts(monkeypatch):
    step = NullStep("fp32")
    step.parts = lambda: ONE_GRAPH
    assert parts.measure_parts(step, Clock(step), EFFORT) == ({}, ONE_GRAPH)


def test_weights_and_state_are_counted_in_float32():
    tiny = load("resnet50", "tiny")
    buffers = sum(spec.size for spec in tiny.buffers)
    known = workload_columns(tiny, "train")
    assert known["weights_bytes"] == 4 * (tiny.parameter_count + buffers)
    assert known["state_bytes"] == 4 * tiny.parameter_count  # SGD: one moment
    assert workload_columns(tiny, "infer")["state_bytes"] is None
    gpt2 = load("gpt2", "tiny")
    assert workload_columns(gpt2, "train")["state_bytes"] == 8 * gpt2.parameter_count  # AdamW: two


@pytest.fixture(autouse=True)
def torch_may_be_loaded_again(monkeypatch):
    monkeypatch.setattr(torch, "set_num_interop_threads", lambda n: None)


@pytest.fixture(scope="module", params=["mlp", "resnet50", "gpt2"])
def prepared(request, tmp_path_factory):
    return Prepared(request.param, "train", tmp_path_factory.mktemp(request.param))


def state_after(adapter, prepared, advance, n=2):
    """Returns the training state after `n` times `advance(step, i)`."""
    adapter.load(with_threads(torch.get_num_threads()))
    step = adapter.prepare(prepared.request)
    step.compile()
    for i in range(n):
        advance(step, i)
    step.sync()
    return {name: np.array(value) for name, value in step.state()}


def in_parts(leave_out=""):
    made = {}

    def advance(step, i):
        for name, run in made.setdefault(id(step), step.parts()).items():
            if name != leave_out or i == 0:
                run(i)

    return advance


def largest_difference(one, other):
    return max(np.abs(value - other[name]).max() for name, value in one.items())


@pytest.mark.parametrize("name", ["torch_cpu", "jax_cpu"])
def test_the_parts_together_are_the_step(name, prepared):
    adapter = backends.get(name)
    whole = state_after(adapter, prepared, lambda step, i: step.step(i))
    assert largest_difference(whole, state_after(adapter, prepared, in_parts())) < 1e-5
    assert largest_difference(whole, state_after(adapter, prepared, in_parts("optimizer"))) > 1e-5


@pytest.mark.parametrize("name", ["torch_cpu", "jax_cpu"])
def test_inference_has_a_copy_and_a_forward_pass(name, tmp_path):
    adapter, prepared = backends.get(name), Prepared("mlp", "infer", tmp_path)
    adapter.load(with_threads(torch.get_num_threads()))
    step = adapter.prepare(prepared.request)
    step.compile()
    step.step(0)
    step.sync()
    expected = {name: np.array(value) for name, value in step.outputs().items()}
    runs = step.parts()
    assert tuple(runs) == PARTS[:2]
    runs["input_copy"](0)
    runs["forward"](1)
    assert largest_difference(expected, step.outputs()) > 1e-5  # another batch
    runs["forward"](0)
    assert largest_difference(expected, step.outputs()) == 0


def parts_of(preset="quick", **options):
    """Returns which steps a new run with these options takes apart."""
    return effort(SimpleNamespace(preset=preset), options.get).parts


def test_the_option_has_parts_compiled_in_any_preset_and_a_run_that_goes_on_has_its_own():
    assert [parts_of(preset) for preset in PRESETS] == ["all", "ready", "all"]
    assert parts_of(**{"--parts": True}) == "all"
    assert parts_of(**{"--ab": ("base", "base")}) == "none"
    assert parts_of(**{"--ab": ("base", "base"), "--parts": True}) == "all"
    with pytest.raises(PlanError, match="leave out --parts"):
        interrupted_run({"--parts": True, "--resume": "a run"}.get)


def lacking(row):
    """Returns the columns of an `ok` row that have neither a number nor a reason."""
    in_training = ("backward_s", "optimizer_s", "state_bytes")
    of_parts = (*(f"{part}_s" for part in PARTS), "parts_sum_s", "parts_whole_s", "parts_ratio")
    start = ("import_s", "build_s", "compile_s", "first_step_s")
    peaks = ("peak_memory_bytes", "host_peak_memory_bytes", "step_peak_memory_bytes")
    memory = (*peaks, "graph_bytes", "weights_bytes", "state_bytes")
    reasons = json.loads(row["not_measured"])
    return [
        name
        for name in (*of_parts, *start, *memory)
        if row.get(name) is None
        and ("parts" if name in of_parts else name) not in reasons
        and not (row["phase"] == "infer" and name in in_training)
    ]


MEASURED_HERE = [
    *((name, phase, COMPILED) for name in ("torch_cpu", "jax_cpu", *GRAPHS, "null") for phase in phases_of("mlp")),
    ("jax_cpu", "train", EFFORT),
]


@pytest.mark.parametrize(("name", "phase", "effort"), MEASURED_HERE)
def test_a_measured_row_has_each_number_or_says_why_not(name, phase, effort, tmp_path_factory, tmp_path):
    cache = Cache(tmp_path_factory.getbasetemp() / "cache-of-parts", print)
    tiny = load("mlp", "tiny")
    row = Suite(cache, tmp_path, effort).outcome(Cell("mlp", "tiny", phase, name, tiny.batch, None, "fp32", 1))
    assert (row["status"], row["stage"]) == ("ok", "close")
    assert lacking(row) == []
    has_parts = name == "torch_cpu" or (name == "jax_cpu" and (phase == "infer" or effort is COMPILED))
    assert (row.get("forward_s") is not None, "parts" in json.loads(row["not_measured"])) == (has_parts, not has_parts)
    assert (row.get("graph_bytes") is not None) == (name in GRAPHS)


def test_the_rule_sees_what_is_missing():
    assert "forward_s" in lacking({"phase": "infer", "not_measured": "{}"})


def apart_row(backend, **changes):
    numbers = {f"{name}_s": seconds / 1e3 for name, seconds in SECONDS.items()}
    whole = {"parts_sum_s": 9e-3, "parts_whole_s": 8e-3, "parts_ratio": 9 / 8, "not_measured": "{}"}
    return row_of(**{"backend": backend, "phase": "train", **numbers, **whole, "weights_bytes": 2260, **changes})


NONE = dict.fromkeys([*(f"{name}_s" for name in PARTS), "parts_sum_s", "parts_whole_s", "parts_ratio"])
ROWS = [
    apart_row("torch_cpu"),
    apart_row("openvino_cpu", **NONE, graph_bytes=98_900) | {"not_measured": json.dumps({"parts": ONE_GRAPH})},
    idle_row(phase="train"),
    row_of(status="broken", backend="jax_cpu", phase="train"),
]


def test_the_table_has_parts_and_sizes_beside_each_other_and_reasons_below():
    lines = render_parts(to_frame(ROWS)).splitlines()
    assert lines[0] == "mlp tiny train, batch 4, 2 threads"
    assert lines[1].split() == ["openvino_cpu", "torch_cpu"]
    assert {
        "forward - 3.00 ms",
        "optimiser update - 1.00 ms",
        "sum of parts - 9.00 ms",
        "whole step - 8.00 ms",
        "sum / whole - 1.12x",
        "graph file 98.9 kB -",
        "weights 2.26 kB 2.26 kB",
        f"no parts {ONE_GRAPH} (openvino_cpu)",
    } <= {" ".join(line.split()) for line in lines}


def test_a_row_of_before_has_no_reason_and_inference_no_backward_pass():
    text = render_parts(to_frame([row_of(not_measured=None)]))
    assert "backward  " not in text
    assert "  no " not in text
    assert render_parts(to_frame([idle_row()])) == "No cell was measured."


def test_the_command_prints_it(tmp_path, capsys):
    write_csv([make_row(**row) for row in ROWS], tmp_path / "results.csv")
    assert door.main(["parts", str(tmp_path / "results.csv")]) == 0
    assert "sum of parts" in capsys.readouterr().out
