"""What was asked for is planned, or refused before anything runs: with what was got, expected and possible."""

import re
from pathlib import Path

import pytest

import backends
import conftest
from bench.parent.plans import shapes as shapes_of_run
from bench.parent.plans.parse import PlanError
from bench.parent.plans.plan import cells, left_out, planned, select
from bench.parent.plans.presets import PRESETS
from tests.fakes.door import bench, run_in, statuses
from workloads import catalog
from workloads.catalog import CATALOG, CONTROLS, LIMITS, MODELS, SUITES, phases, phases_of

BACKENDS = backends.names()


def selected(**given):
    options = {"--preset": "smoke"} | {f"--{name}": value for name, value in given.items()}
    return select(options.get, BACKENDS, cores=4)


@pytest.mark.parametrize(
    ("option", "value", "got", "possible"),
    [
        ("backends", "cuda", "unknown backend 'cuda'", ", ".join(BACKENDS)),
        ("backends", "null,Torch_CPU", "unknown backend 'Torch_CPU'", ", ".join(BACKENDS)),
        ("backends", "base", "unknown backend 'base'", ", ".join(BACKENDS)),
        ("backends", "", "--backends is empty", ", ".join(BACKENDS)),
        ("backends", " , ", "--backends is empty", ", ".join(BACKENDS)),
        ("workloads", "bert", "unknown workload 'bert'", ", ".join(CATALOG)),
        ("phases", "predict", "unknown phase 'predict'", ", ".join(phases())),
        ("preset", "fast", "unknown preset 'fast'", ", ".join(PRESETS)),
        ("preset", "", "unknown preset ''", ", ".join(PRESETS)),
        ("batch", "0", "--batch", "at most 999999999, comma-separated; got '0'"),
        ("batch", "-4", "--batch", "at most 999999999, comma-separated; got '-4'"),
        ("batch", "many", "--batch", "at most 999999999, comma-separated; got 'many'"),
        ("batch", "2.5", "--batch", "at most 999999999, comma-separated; got '2.5'"),
        ("batch", "²", "--batch", "at most 999999999, comma-separated; got '²'"),
        ("batch", "", "--batch", "at most 999999999, comma-separated; got ''"),
        ("batch", "1,,2", "--batch", "at most 999999999, comma-separated; got ''"),
        ("sequence", "0", "--sequence", "at most 999999999, comma-separated; got '0'"),
        ("batch", "9999999999", "--batch", "at most 999999999, comma-separated; got '9999999999'"),
        ("sequence", "33", "sequence 33", "bert_base-tiny's 32 positions"),
        ("sequence", "8,33", "sequence 33", "bert_base-tiny's 32 positions"),
        ("threads", "5", "--threads 5", "at most 4"),
        ("threads", "0", "--threads", "at least 1"),
        ("threads", "all", "--threads", "got 'all'"),
        ("threads", "1,2", "--threads takes one number", "got 1, 2"),
    ],
)
def test_bad_input_is_refused(option, value, got, possible):
    with pytest.raises(PlanError) as refusal:
        selected(**{option: value})
    assert got in str(refusal.value)
    assert possible in str(refusal.value)


@pytest.mark.parametrize("given", ["-1", "one", "", "0,1", "1.0", "²", "99999"])
def test_a_device_that_is_no_index_is_refused(given):
    with pytest.raises(PlanError, match="--device takes one whole number, from 0 to 9999; got"):
        selected(device=given)


def test_a_device_is_that_of_every_accelerator_and_the_cpu_has_one():
    def devices(**given):
        planned = cells(selected(workloads="mlp", **given), "infer", BACKENDS)
        return {cell.backend: cell.device_index for cell in planned}

    first, second = devices(), devices(device="1")
    assert set(first.values()) == {0}
    assert {name for name, index in second.items() if index == 1} == {"torch_cuda", "jax_cuda", "jax_tpu", "inferentia"}
    assert {name for name, index in second.items() if index == 0} == {"null", "numpy_cpu"}
    assert left_out(selected(device="1"), BACKENDS) == (
        "--device 1 leaves out what runs on the CPU, device 0: jax_cpu, onnxruntime_cpu, openvino_cpu, torch_cpu"
    )
    assert left_out(selected(), BACKENDS) == ""
    assert devices(device="1", backends="torch_cuda") == {"torch_cuda": 1, "null": 0, "numpy_cpu": 0}
    with pytest.raises(PlanError, match="--device 1: torch_cpu runs on the CPU, which is device 0"):
        selected(device="1", backends="torch_cpu,torch_cuda")
    assert selected(device="0", backends="torch_cpu").device == 0


def test_a_sequence_for_a_workload_without_one_is_refused():
    with pytest.raises(PlanError, match=r"--sequence is for steps of language models that read one; mlp has none"):
        selected(workloads="mlp", sequence="64")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"sequence": "8", "phases": "decode"}, "--sequence is .*; gpt2, llama in decode has none"),
        (
            {"depth": "8", "phases": "infer,prefill"},
            "--depth is for --phases decode of .*; gpt2, llama in infer, prefill",
        ),
        (
            {"generated-tokens": "4", "phases": "decode"},
            "--generated-tokens is for --phases generate of .* in decode has",
        ),
        ({"generated-tokens": "4"}, "--generated-tokens is for --phases generate of .*; gpt2, llama has none"),
    ],
)
def test_a_shape_that_no_step_of_the_run_has_is_refused(asked, message):
    with pytest.raises(PlanError, match=message):
        selected(workloads="gpt2,llama", **asked)


def test_a_sequence_is_held_against_the_size_that_runs():
    with pytest.raises(PlanError, match=r"sequence 1025 .*1024 positions"):
        selected(preset="quick", workloads="gpt2", sequence="1025")
    assert selected(preset="quick", workloads="gpt2", sequence="1024").sequences == (1024,)


def test_threads_are_all_cores_unless_given():
    assert (selected().threads, selected(threads="4").threads, selected(threads="1").threads) == (4, 4, 1)


def shapes(phase="infer", **given):
    """Returns the cells of work: the control's are in every run."""
    planned = cells(selected(**given), phase, BACKENDS)
    return [(c.workload, c.size, c.batch, c.sequence, c.backend) for c in planned if c.workload not in CONTROLS]


def test_several_batches_and_sequences_make_several_cells():
    assert shapes(workloads="gpt2", backends="null", batch="1,4", sequence="8,16") == [
        ("gpt2", "tiny", 1, 8, "null"),
        ("gpt2", "tiny", 1, 16, "null"),
        ("gpt2", "tiny", 4, 8, "null"),
        ("gpt2", "tiny", 4, 16, "null"),
    ]


def test_names_are_planned_once_in_the_order_given():
    found = shapes(workloads="mlp", backends="null, torch_cpu,null", batch="2,2")
    assert found == [("mlp", "tiny", 2, None, "null"), ("mlp", "tiny", 2, None, "torch_cpu")]


@pytest.mark.parametrize(
    "given", [{}, {"workloads": "mlp"}, {"backends": "torch_cpu"}, {"phases": "train"}, {"batch": "7"}]
)
def test_the_control_and_the_harness_are_in_every_run(given):
    planned = cells(selected(**given), "infer", BACKENDS)
    assert [(c.workload, c.batch, c.backend) for c in planned if c.workload in CONTROLS] == [
        ("control_copy", 4, "numpy_cpu"),
        ("control_matmul", 4, "numpy_cpu"),
    ]
    phase = given.get("phases", "infer")
    assert "null" in [shape[4] for shape in shapes(phase, **given)]


def test_the_control_has_no_training_step():
    assert [c for c in cells(selected(), "train", BACKENDS) if c.workload in CONTROLS] == []


ONLY_IN_FULL = {"torch_compile_cpu", "torch_compile_cuda"}


def test_nothing_given_plans_every_workload_on_every_backend_of_the_preset():
    of_presets = {*BACKENDS} - {"numpy_cpu", "openai_http"}  # the control, and what has no step
    taken = of_presets - ONLY_IN_FULL
    models, limits = ([name for name in SUITES["core"] if name in kind] for kind in (MODELS, LIMITS))
    everything = {(w, b) for w in models for b in taken} | {(w, b) for w in limits for b in taken - {"null"}}
    assert {(name, backend) for name, _, _, _, backend in shapes()} == everything
    assert {shape[4] for shape in shapes(preset="full")} == of_presets


def test_a_backend_of_another_preset_is_planned_where_it_is_named():
    assert [shape[4] for shape in shapes(workloads="mlp", backends="torch_compile_cpu")] == [
        "torch_compile_cpu",
        "null",
    ]


def test_a_service_is_no_backend_of_a_preset_and_has_cells_where_it_is_named():
    assert [shape[4] for shape in shapes(workloads="mlp", backends="openai_http")] == ["openai_http", "null"]
    assert backends.get("openai_http").why_unsupported("train", "any")[1].endswith("samestep run --service URL")


def test_a_run_of_a_service_alone_plans_no_cell():
    of_service = {"service": "http://h/v1", "service-model": "m"}
    assert planned(selected(**of_service), BACKENDS) == []
    assert [shape[4] for shape in shapes(workloads="mlp", backends="torch_cpu", **of_service)] == ["torch_cpu", "null"]


def test_a_phase_that_was_not_asked_for_has_no_cells():
    assert shapes("train", phases="infer") == []


def test_the_quick_preset_plans_the_published_sizes():
    assert [shape[:4] for shape in shapes(preset="quick", backends="torch_cpu") if shape[4] == "torch_cpu"][-4:] == [
        ("conv", "256x28", 8, None),
        ("matmul", "2048", 2048, None),
        ("stream", "192mib", 16, None),
        ("stream_read", "192mib", 48, None),
    ]
    assert shapes(preset="quick", backends="null") == [
        ("bert_base", "110m", 2, 128, "null"),
        ("gpt2", "124m", 2, 128, "null"),
        ("mlp", "base", 64, None, "null"),
        ("resnet50", "224", 4, None, "null"),
    ]


def test_the_full_preset_gives_a_curve_that_a_batch_replaces():
    assert [shape[2:4] for shape in shapes(preset="full", backends="null", workloads="gpt2")] == [
        (1, 128),
        (2, 128),
        (4, 128),
        (1, 512),
    ]
    assert [shape[2:4] for shape in shapes(preset="full", backends="null", workloads="gpt2", batch="8")] == [
        (8, 128),
        (8, 512),
    ]


@pytest.mark.parametrize(
    "given", [["-n", "2"], ["-n2"], ["-d", "--tx", "2*popen"], ["--dist", "load", "--tx", "popen"]], ids=" ".join
)
def test_cells_beside_each_other_are_refused_in_one_line(tmp_path, given):
    pytest.importorskip("xdist")
    done = bench(*NULL, *given, "--results-dir", "runs", cwd=tmp_path)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    (line,) = (line for line in done.stderr.splitlines() if line)
    assert line.startswith("ERROR: -n runs cells beside each other")
    assert left_in(tmp_path) == []


def left_in(folder):
    """Returns what lies in the folder; pytest-benchmark makes its own one before anybody can refuse."""
    return [path.name for path in folder.iterdir() if path.name != ".benchmarks"]


NULL = ("--preset", "smoke", "--workloads", "mlp", "--phases", "infer", "--backends", "null")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backends", "cuda"], f"unknown backend 'cuda'; known: {', '.join(BACKENDS)}"),
        (["--batch=-1"], "--batch takes whole numbers, at least 1 and at most 999999999, comma-separated; got '-1'"),
        (["--batch", "99999999999999999999"], "99999999999999999999"),
        (["--threads", "100000"], "--threads 100000 is more than the"),
        (["--baseline", "cuda"], f"unknown baseline 'cuda'; known: {', '.join(BACKENDS)}"),
        (["--baseline", "null,torch_cpu"], "'null,torch_cpu'"),
        (["--baseline", "torch_cpu"], "torch_cpu"),  # known, and not in this run
        (["--stage-deadline", "0"], "--stage-deadline takes whole numbers, at least 1"),
        (["--stage-deadline", "60,90"], "--stage-deadline takes one number"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_refusal_ends_pytest_before_anything_runs(tmp_path, options, message):
    done = bench(*NULL, *options, "--results-dir", "runs", cwd=tmp_path, SAMESTEP_CACHE=str(tmp_path / "cache"))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert message in done.stderr
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/samestep"])
def test_a_results_folder_that_cannot_be_written(tmp_path, place):
    (tmp_path / "file").touch()
    given = str(tmp_path / place)
    done = bench(*NULL, "--results-dir", given, cwd=tmp_path, SAMESTEP_CACHE=str(tmp_path / "cache"))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert given in done.stderr
    assert "choose" in done.stderr
    assert left_in(tmp_path) == ["file"]


def test_collecting_lists_the_cells_and_creates_nothing(tmp_path):
    options = [*NULL, "--batch", "1,2", "--results-dir", "runs", "--co", "-q"]
    done = bench(*options, cwd=tmp_path, SAMESTEP_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0
    assert [line.partition("::")[2] for line in done.stdout.splitlines() if "::" in line] == [
        "test_step[infer-mlp-b1-fp32-null]",
        "test_step[infer-mlp-b2-fp32-null]",
        "test_step[infer-control_copy-b4-fp32-numpy_cpu]",
        "test_step[infer-control_matmul-b4-fp32-numpy_cpu]",
    ]
    assert left_in(tmp_path) == []


PAIR = ("--preset", "smoke", "--workloads", "mlp", "--phases", "infer", "--results-dir", "runs")
ABSENT = {("infer", "openvino_cpu"): "unavailable", ("infer", "null"): "ok"}


def test_a_backend_asked_for_by_name_must_be_there_and_the_others_run(tmp_path):
    done = bench(*PAIR, "--backends", "openvino_cpu,null", cwd=tmp_path, fake="absent@probe")
    run = run_in(tmp_path / "runs")
    assert (done.returncode, statuses(run)) == (pytest.ExitCode.TESTS_FAILED, ABSENT)
    assert "1 failed, 3 passed" in done.stdout


def test_a_backend_that_is_not_there_is_a_skipped_row_with_its_reason(tmp_path):
    done = bench(*PAIR, "-k", "openvino_cpu or null", cwd=tmp_path, fake="absent@probe")
    run = run_in(tmp_path / "runs")
    assert (done.returncode, statuses(run)) == (pytest.ExitCode.OK, ABSENT)
    assert "1 passed, 1 skipped" in done.stdout
    assert "unavailable: no fake device here" in done.stdout
    (row,) = (row for row in run.rows if row["status"] == "unavailable")
    assert (row["reason_code"], row["reason"]) == ("no_device", "no fake device here")


def test_the_page_of_options_lists_every_one():
    parser = pytest.Parser(_ispytest=True)
    conftest.pytest_addoption(parser)
    options = {name for option in parser.getgroup("samestep").options for name in option.names()}
    page = (Path(conftest.__file__).parent / "docs" / "options.md").read_text()
    table = page.partition("\n## Options of `samestep run`\n")[2].partition("\n## ")[0]
    rows = "\n".join(line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `--"))
    assert set(re.findall(r"`(--[a-z-]+)", rows)) == options


def test_a_phase_is_planned_because_a_workload_has_it(monkeypatch):
    def of(name):
        return (*phases_of(name), "distil") if name == "mlp" else phases_of(name)

    for module in (catalog, shapes_of_run):
        monkeypatch.setattr(module, "phases_of", of)
    ours = {"infer", "train", "prefill", "decode", "generate", "lora", "dpo", "grpo", "distill", "transfer"}
    assert {*phases()} == {*ours, "distil"}
    planned = cells(selected(workloads="mlp", phases="distil", backends="null"), "distil", BACKENDS)
    assert [(cell.workload, cell.phase, cell.backend) for cell in planned] == [("mlp", "distil", "null")]


def test_what_bounds_the_chip_is_in_every_suite_and_can_say_otherwise(monkeypatch):
    bounds = {name for name in LIMITS if not hasattr(CATALOG[name], "SUITES")}
    assert bounds == {"conv", "matmul", "stream", "stream_read"}
    assert {suite for suite, names in SUITES.items() if bounds <= {*names}} == {*SUITES}
    assert {name for name, *_ in shapes(suite="llm", backends="torch_cpu")} >= bounds
