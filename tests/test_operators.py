"""Time by operator: what each runtime's profiler says, the kinds that all share, and the table made of it."""

import json
import os
import tempfile
from types import SimpleNamespace

import pytest

import backends
from backends._operator_kinds import KINDS, kind_of
from backends._xla_profile import names_of
from backends._xla_profile import operators_of as operators_of_xla
from backends.base import NoOperators, Operator
from bench.cell import Cell
from bench.child.beside.operators import operator_columns
from bench.effort import Effort
from bench.parent.cache import Cache, default_root
from bench.parent.children.launch import Outcome
from bench.parent.plans.options import effort
from bench.parent.record import Launch, to_launch
from bench.parent.suite import Suite
from results import __main__ as door
from results.record.journal import Journal
from results.record.run import read_run
from results.show.operators import render_operators
from results.tables.operators import OPERATOR_COLUMNS, operators_frame, operators_of
from tests.fakes.door import bench, rows_of_work, run_in
from tests.fakes.rows import HEADER, RUN_ID, cell, idle_row, row_of
from tests.fakes.steps import request_in
from workloads.catalog import load

# JAX, where another test has imported it, minds that OpenVINO forks when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")

THREADS = 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::addmm", "matmul"),
        ("AddmmBackward0", "matmul"),
        ("autograd::engine::evaluate_function: AddmmBackward0", "matmul"),
        ("TBackward0", "data_movement"),
        ("aten::mkldnn_convolution", "convolution"),
        ("aten::convolution_backward", "convolution"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", "attention"),
        ("aten::native_layer_norm_backward", "normalisation"),
        ("aten::_log_softmax_backward_data", "softmax_loss"),
        ("aten::nll_loss_forward", "softmax_loss"),
        ("aten::gelu_backward", "activation"),
        ("aten::threshold_backward", "activation"),
        ("aten::add_", "elementwise"),
        ("torch::autograd::AccumulateGrad", "elementwise"),
        ("aten::max_pool2d_with_indices_backward", "reduction"),
        ("aten::embedding_dense_backward", "data_movement"),
        ("Optimizer.step#AdamW.step", "optimizer"),
        ("aten::_fused_adamw_", "optimizer"),
        ("graph_1_cpp_fused_add_native_layer_norm_view_4", "normalisation"),
        ("cpp_fused_gelu_view_2", "activation"),
        ("triton_per_fused__softmax_add_3", "softmax_loss"),
        ("ampere_sgemm_128x64_tn", "matmul"),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>(int)", "elementwise"),
        ("void cudnn::bn_fw_tr_1C11_singleread<float, 512, true, 1, 2, 0>(...)", "normalisation"),
        ("Memcpy HtoD (Pageable -> Device)", "data_movement"),
        ("FusedMatMul", "matmul"),
        ("Gemm", "matmul"),
        ("ConvTranspose", "convolution"),
        ("SkipLayerNormalization", "normalisation"),
        ("Mul", "elementwise"),
        ("ReduceMean", "reduction"),
        ("ReorderOutput", "data_movement"),
        ("FullyConnected", "matmul"),
        ("ConvolutionBackpropData", "convolution"),
        ("MVN", "normalisation"),
        ("Subgraph", "elementwise"),
        ("Reference:node_max_pool2d_with_indices__0", "reduction"),
        ("dot+add+tanh", "matmul"),
        ("layer_norm+add", "normalisation"),
        ("copy+transpose", "data_movement"),
        ("Torch-Compiled Region: 0/0", "other"),
        ("Adder", "other"),
        ("", "other"),
    ],
)
def test_a_name_has_its_kind(name, kind):
    assert kind in KINDS
    assert kind_of(name) == kind


def test_no_name_is_of_two_kinds():
    from backends._operator_kinds import _NAMES

    names = [name for listed in _NAMES.values() for name in listed.split()]
    assert len(names) == len(set(names))


def step_of(backend, workload, phase, logs):
    """Returns a compiled step of the tiny `workload`."""
    tiny = load(workload, "tiny")
    planned = Cell(workload, "tiny", phase, backend, tiny.batch, tiny.sequence, "fp32", THREADS)
    suite = Suite(Cache(default_root(os.environ), print), logs, Effort(0.0, 0, 0.0, 1))
    adapter = backends.get(backend)
    entries = suite.entries(planned, tiny, adapter)
    step = adapter.prepare(request_in(entries, adapter, tiny, phase, THREADS))
    step.compile()
    return step


# The calls of products in one step of the tiny model (2 blocks), as each runtime makes them.
@pytest.mark.parametrize(
    ("backend", "workload", "phase", "name", "calls"),
    [
        ("torch_cpu", "gpt2", "infer", "aten::addmm", 8),
        ("torch_cpu", "gpt2", "train", "aten::_fused_adamw_", 1),
        ("onnxruntime_cpu", "gpt2", "infer", "Gemm", 8),
        ("openvino_cpu", "gpt2", "infer", "FullyConnected", 9),
        ("jax_cpu", "mlp", "train", "optimizer", None),
        ("jax_cpu", "gpt2", "infer", "attention", None),
        ("openvino_cpu", "mlp", "train", "MatMul", None),
        ("onnxruntime_cpu", "mlp", "train", "Mul", None),
    ],
)
def test_a_profile_names_and_counts_the_operators(
    backend, workload, phase, name, calls, monkeypatch, tmp_path, tmp_path_factory
):
    step = step_of(backend, workload, phase, tmp_path_factory.mktemp("logs"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    found = {operator.name: operator for operator in step.operators(3)}
    assert name in found
    assert calls in (None, found[name].calls)
    assert all(operator.seconds >= 0 for operator in found.values())
    assert sum(operator.seconds for operator in found.values()) > 0
    # torch's profiler looks up Inductor's folder, which makes it: empty.
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    kinds = {kind_of(name) for name in found}
    assert "matmul" in kinds
    assert "other" not in kinds


def test_onnxruntime_counts_the_last_runs_alone():
    from backends._onnxruntime import operators_of as of_onnxruntime

    def node(ts, dur, name="a_kernel_time"):
        return {"cat": "Node", "name": name, "ts": ts, "dur": dur, "args": {"op_name": "Gemm"}}

    runs = [{"cat": "Session", "name": "model_run", "ts": ts, "dur": 9} for ts in (0, 100, 200)]
    events = [node(1, 5000), node(101, 20), node(201, 40), node(202, 7, "a_fence_before"), *runs]
    assert of_onnxruntime(events, 2) == [Operator("Gemm", pytest.approx(30e-6), 1.0)]


def test_openvino_takes_the_first_step_out_of_the_means():
    from datetime import timedelta

    from backends._openvino import operators_of as of_openvino

    def counter(name, kind, us):
        return SimpleNamespace(node_name=name, node_type=kind, real_time=timedelta(microseconds=us))

    first = [counter("a", "MatMul", 100), counter("b", "Relu", 0), counter("c", "Reference", 4)]
    last = [counter("a", "MatMul", 40), counter("b", "Relu", 0), counter("c", "Reference", 4)]
    found = of_openvino(first, last, 2)
    assert found == [Operator("MatMul", pytest.approx(10e-6), 1), Operator("Reference:c", pytest.approx(4e-6), 1)]


HLO = """HloModule jit__step

%fused_computation (param_0: f32[4,4]) -> f32[4,4] {
  %param_0 = f32[4,4]{1,0} parameter(0)
  %dot.0 = f32[4,4]{1,0} dot(%param_0, %param_0), metadata={op_name="jit(_step)/jvp()/dot_general"}
  ROOT %tanh.0 = f32[4,4]{1,0} tanh(%dot.0), metadata={op_name="jit(_step)/jvp(gelu)/tanh"}
}

%fused_computation.1 (param_0: f32[4,4]) -> (f32[4,4], f32[4]) {
  %constant.0 = f32[] constant(0)
  ROOT %multiply.0 = (f32[4,4]{1,0}, f32[4]{0}) multiply(%param_0), metadata={op_name="jit(_step)/mul"}
}

ENTRY %main.3 (x.1: f32[4,4]) -> f32[4,4] {
  %ynn_fusion = f32[4,4]{1,0} fusion(%x.1), kind=kCustom, calls=%fused_computation, metadata={op_name="jit(_step)/x"}
  %loop = (f32[4,4]{1,0}, f32[4]{0}) fusion(%x.1), kind=kLoop, calls=%fused_computation.1
  %dot.9 = f32[4,4]{1,0} dot(%x.1, %x.1), metadata={op_name="jit(_step)/transpose(jvp(attention))/dot_general"}
  ROOT %copy.1 = f32[4,4]{1,0} copy(%x.1)
}
"""


def test_a_fusion_is_named_by_what_is_in_it():
    names = names_of(HLO)
    wanted = ("ynn_fusion", "loop", "dot.9", "copy.1")
    assert [names[name] for name in wanted] == ["dot+gelu", "optimizer", "attention", "copy"]
    assert names_of(HLO.replace("jvp", "vmap"))["loop"] == "multiply"  # nothing was differentiated


def plane(name, *lines):
    events = [
        [SimpleNamespace(start_ns=a, duration_ns=b - a, stats=[("hlo_op", op)] if op else []) for a, b, op in line]
        for line in lines
    ]
    return SimpleNamespace(name=name, lines=[SimpleNamespace(events=listed) for listed in events])


def test_xla_counts_what_lies_within_another_once_and_a_device_before_its_host():
    host = plane("/host:CPU", [(0, 100, "loop"), (10, 30, "copy.1"), (30, 40, "copy.1"), (0, 500, None)])
    found = {o.name: (round(o.seconds * 1e9), o.calls) for o in operators_of_xla([host], HLO, 1)}
    assert found == {"optimizer": (70, 1), "copy": (30, 2)}
    device = plane("/device:GPU:0", [(0, 8, "dot.9")], [(0, 8, "copy.1")])
    found = {o.name: (round(o.seconds * 1e9), o.calls) for o in operators_of_xla([host, device], HLO, 2)}
    assert found == {"attention": (4, 0.5), "copy": (4, 0.5)}
    with pytest.raises(NoOperators):
        operators_of_xla([plane("/host:CPU", [(0, 5, None)])], HLO, 1)


class Profiled:
    """A step whose profiler says what a test says."""

    def __init__(self, answer):
        self.answer = answer
        self.steps = None

    def operators(self, steps):
        self.steps = steps
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (NoOperators("it has none"), "it has none"),
        (RuntimeError("no\ncounter"), "its profiler failed: RuntimeError: no counter"),
        ([], "its profiler named no operator"),
    ],
)
def test_why_there_are_none_is_in_the_row_and_takes_no_number_along(answer, reason):
    assert operator_columns(Profiled(answer), 1e-3) == {"operators_reason": reason}


@pytest.mark.parametrize(("step_s", "steps"), [(1e-6, 10), (0.5, 4), (30.0, 1)])
def test_a_slow_step_is_profiled_less_often(step_s, steps):
    step = Profiled([Operator("Mul", 1e-6, 2), Operator("Gemm", 3e-6, 1)])
    found = operator_columns(step, step_s)["operators"]
    assert step.steps == steps
    assert found == [
        {"name": "Gemm", "kind": "matmul", "seconds_per_step": 3e-6, "calls_per_step": 1},
        {"name": "Mul", "kind": "elementwise", "seconds_per_step": 1e-6, "calls_per_step": 2},
    ]


GEMM = {"name": "Gemm", "kind": "matmul", "seconds_per_step": 6e-4, "calls_per_step": 8.0}
MUL = {"name": "=Mul", "kind": "elementwise", "seconds_per_step": 2e-4, "calls_per_step": 2.0}


def test_a_launch_keeps_them_in_its_record_and_not_in_its_row():
    planned = Cell("mlp", "tiny", "infer", "torch_cpu", 4, None, "fp32", 2)
    result = {"samples_s": [1e-3] * 3, "throughput_samples_s": [1e-3] * 3, "operators": [GEMM, MUL]}
    known = planned.columns() | {"tokens_per_step": None, "flops_per_step": 1, "minimum_bytes_per_step": 1}
    launch = to_launch(planned, known, Outcome("ok", "close", None, None, result))
    assert "operators" not in launch.columns
    record = json.loads(json.dumps(launch.to_record(planned)))
    assert record["operators"] == [GEMM, MUL]
    assert Launch.from_record(record).series["operators"] == (GEMM, MUL)


def record(*operators, **more):
    columns = {"quality": "valid"} | more.pop("columns", {})
    return {**cell(), "status": "ok", "columns": columns, "operators": list(operators), **more}


@pytest.fixture
def run(tmp_path):
    """A run of two launches, one invalid, of torch_cpu; a backend with a reason; and one that computes nothing."""
    slower = {**GEMM, "seconds_per_step": 8e-4}
    with Journal.create(tmp_path / "runs", RUN_ID, HEADER) as journal:
        journal.plan([cell(), cell(backend="jax_cpu"), cell(backend="null")])
        journal.launch(record(GEMM, MUL))
        journal.launch(record(slower, MUL))
        journal.launch(record({**GEMM, "seconds_per_step": 9.0}, columns={"quality": "invalid"}))
        journal.launch(record({**GEMM, "seconds_per_step": 9.0}, status="wrong"))
        journal.row(row_of())
        journal.row(row_of(backend="jax_cpu", operators_reason="it names none"))
        journal.row(idle_row())
        journal.end("the plan is done")
    return tmp_path / "runs" / RUN_ID


def test_operators_are_means_over_the_launches_that_count(run):
    jax_cpu, null, torch_cpu = operators_of(read_run(run))
    assert (jax_cpu.listed, null.listed) == ((), ())
    assert torch_cpu.listed == (
        ("Gemm", "matmul", pytest.approx(7e-4), 8.0),
        ("=Mul", "elementwise", pytest.approx(2e-4), 2.0),
    )
    assert torch_cpu.sum_s == pytest.approx(9e-4)


def test_the_table_shows_shares_the_step_and_what_is_in_no_operator(run):
    lines = [line.split() for line in render_operators(read_run(run), names=1).splitlines()]
    assert ["matmul", "700", "µs", "77.8", "%"] in lines
    assert ["elementwise", "200", "µs", "22.2", "%"] in lines
    assert ["sum", "900", "µs", "100", "%"] in lines
    assert ["step,", "not", "profiled", "1,000", "µs"] in lines
    assert ["of", "it", "in", "no", "operator", "10.0", "%"] in lines
    assert ["torch_cpu", "matmul", "700", "µs", "77.8", "%", "8.00x", "Gemm"] in lines
    assert ["jax_cpu", "it", "names", "none", "(mlp", "infer)"] in lines
    assert not any("=Mul" in line for line in lines)


def test_a_step_too_short_for_the_profilers_clock_has_no_shares(tmp_path):
    with Journal.create(tmp_path / "runs", RUN_ID, HEADER) as journal:
        journal.plan([cell()])
        journal.launch(record({**GEMM, "seconds_per_step": 0.0}))
        journal.row(row_of())
        journal.end("the plan is done")
    run = read_run(tmp_path / "runs" / RUN_ID)
    assert operators_frame(run)["share"].tolist() == [None]
    assert ["sum", "0", "ms", "-"] in [line.split() for line in render_operators(run).splitlines()]


def test_a_run_that_was_not_asked_says_how_to_ask(tmp_path):
    with Journal.create(tmp_path, RUN_ID, HEADER) as journal:
        journal.plan([cell()])
        journal.row(row_of())
    text = render_operators(read_run(tmp_path / RUN_ID))
    assert text == f"Run {RUN_ID} has no time by operator: ask for it with `samestep run --operators`."


def test_the_door_shows_the_table_and_writes_each_operator(run, tmp_path, capsys):
    assert door.main(["operators", str(run), "--csv", str(tmp_path / "out.csv")]) == 0
    assert capsys.readouterr().out.startswith("mlp tiny infer, batch 4, fp32, 2 threads: time of a step by kind")
    header, gemm, mul = (tmp_path / "out.csv").read_text().splitlines()
    assert header == ",".join(OPERATOR_COLUMNS)
    values = dict(zip(OPERATOR_COLUMNS, gemm.split(","), strict=True))
    assert (values["backend"], values["kind"], values["name"]) == ("torch_cpu", "matmul", "Gemm")
    assert float(values["share"]) == pytest.approx(7 / 9)
    assert ",'=Mul," in mul  # no spreadsheet takes it for a formula
    assert door.main(["operators", str(tmp_path)]) == 2


SMALL = ("--preset", "smoke", "--workloads", "mlp", "--phases", "infer", "--backends", "torch_cpu")


def test_asked_for_at_the_door_they_are_in_the_journal_also_when_the_run_goes_on(tmp_path):
    done = bench(*SMALL, "--operators", "--results-dir", "runs", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    run = run_in(tmp_path / "runs")
    assert run.header["options"]["effort"]["operators"] is True
    by_backend = {one["backend"]: one for one in run.launches}
    assert "aten::addmm" in {operator["name"] for operator in by_backend["torch_cpu"]["operators"]}
    reasons = {row["backend"]: row["operators_reason"] for row in rows_of_work(run)}
    assert reasons == {"torch_cpu": None, "null": "it computes nothing"}
    done = bench("--resume", str(run.path), "--operators", cwd=tmp_path)
    assert "leave out --operators" in done.stderr


def test_a_run_that_goes_on_keeps_asking():
    past = SimpleNamespace(header={"options": {"effort": {**vars(Effort(0.0, 1, 0.1, 3)), "operators": True}}})
    assert effort(SimpleNamespace(preset="quick"), {}.get, past).operators
    del past.header["options"]["effort"]["operators"]  # of a run before there was such a thing
    assert not effort(SimpleNamespace(preset="quick"), {}.get, past).operators
