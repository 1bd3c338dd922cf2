"""An A/B in one session: what a side may be, in which order both run, and that a planted difference is found."""

import json
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

import backends
from bench.cell import Cell, Variant
from bench.effort import METHOD_VERSION
from bench.parent.cache import Cache, default_root
from bench.parent.groups import group_id_of, groups_of
from bench.parent.plans.parse import PlanError
from bench.parent.plans.plan import cells, left_out, select
from bench.parent.plans.sides import PAIRS
from bench.parent.plans.variant import parse, side_of
from bench.parent.suite import Suite
from results.tables.pairs import pairs_of
from tests.fakes.bench import CELL, EFFORT, filled_cache
from tests.fakes.busy import Busy
from tests.fakes.door import bench, run_in
from tests.qa.ab import trial
from workloads.catalog import load

ROOT = Path(__file__).resolve().parents[1]


def selected(*ab, **given):
    options = {"--preset": "smoke", "--ab": list(ab)} | {f"--{name}": value for name, value in given.items()}
    return select(options.get, backends.names(), cores=2)


def test_a_side_is_parsed():
    assert parse("base") == Variant()
    expected = Variant(threads=1, options={"spinning": "off"}, environment={"XLA_FLAGS": "--a=b"})
    assert parse("threads=1, spinning=off,env.XLA_FLAGS=--a=b") == expected
    side = side_of("B", " threads=1, spinning=off,env.XLA_FLAGS=--a=b")
    assert (side.letter, side.variant, str(side)) == ("B", expected, "B: threads=1, spinning=off,env.XLA_FLAGS=--a=b")
    assert replace(CELL, variant=side).overrides == expected
    assert CELL.overrides == side_of("A", "base").variant == Variant()
    assert parse(f"python={sys.executable}").python == sys.executable
    assert parse(f"tree={ROOT}").tree == ROOT


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected `base` or KEY=VALUE"),
        ("fast", "got 'fast'"),
        ("threads=", "got 'threads='"),
        ("threads=none", "got 'none'"),
        ("threads=0", "at least 1; got '0'"),
        ("threads=1,threads=2", "threads is given twice"),
        ("B: threads=1", "'B: threads' is no name of an option or a variable"),
        ("env.=x", "'' is no name of an option or a variable"),
        ("env.OMP_NUM_THREADS=4", "OMP_NUM_THREADS is set by the harness"),
        ("env.SAMESTEP_CACHE=/tmp", "SAMESTEP_CACHE is set by the harness"),
        ("python=/nowhere/python", "expected an interpreter"),
        ("tree=/nowhere", "expected a checkout of samestep"),
        ("threads=3", "threads=3 is more than the 2 cores here"),
        ("speed=high", "no backend of the run takes 'speed=high'; their options: onnxruntime_cpu: graph_level=all|"),
        ("spinning=perhaps", "no backend of the run takes 'spinning=perhaps'"),
    ],
)
def test_a_side_that_makes_no_sense_is_refused(text, said):
    with pytest.raises(PlanError) as refusal:
        selected("base", text, backends="onnxruntime_cpu")
    assert str(refusal.value).startswith("--ab, side B: ")
    assert said in str(refusal.value)


def test_a_checkout_that_measures_otherwise_is_refused(tmp_path):
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "worker.py").touch()
    (tmp_path / "bench" / "effort.py").write_text("METHOD_VERSION = 1\n")
    with pytest.raises(ValueError, match=rf"its method_version is 1, ours {METHOD_VERSION}"):
        parse(f"tree={tmp_path}")


@pytest.mark.parametrize(
    ("given", "said"), [({"launches": "3"}, "say --pairs N"), ({"pairs": "x"}, "--pairs takes whole numbers")]
)
def test_options_that_do_not_go_with_it(given, said):
    with pytest.raises(PlanError, match=said):
        selected("base", "threads=1", backends="onnxruntime_cpu", **given)
    with pytest.raises(PlanError, match=r"--pairs is for --ab"):
        select({"--preset": "smoke", "--pairs": "3"}.get, backends.names(), cores=2)


def test_each_cell_has_two_sides_and_nothing_else_runs():
    selection = selected("base", "spinning=off,threads=1", workloads="mlp")
    planned = cells(selection, "infer", backends.names())
    assert [(cell.backend, cell.threads, str(cell.variant)) for cell in planned] == [
        ("onnxruntime_cpu", 2, "A: base"),
        ("onnxruntime_cpu", 1, "B: spinning=off,threads=1"),
    ]
    assert selection.launches == PAIRS


def test_sides_that_no_backend_takes_both_are_refused():
    with pytest.raises(PlanError, match=r"takes both sides, A: spinning=off and B: memory_format=contiguous"):
        selected("spinning=off", "memory_format=contiguous", backends="onnxruntime_cpu,torch_cpu")


def test_the_harness_alone_is_not_compared():
    with pytest.raises(PlanError, match="null and numpy_cpu alone are the harness and its control"):
        selected("base", "base", backends="null")


def test_a_backend_that_is_left_out_is_named():
    assert left_out(selected("base", "spinning=off", backends="torch_cpu,onnxruntime_cpu"), backends.names()) == (
        "--ab leaves out what has no such options: torch_cpu"
    )
    assert left_out(selected("base", "threads=1", backends="torch_cpu"), backends.names()) == ""
    assert left_out(select({"--preset": "smoke"}.get, backends.names(), cores=2), backends.names()) == ""


def test_without_named_workloads_the_models_are_compared():
    planned = cells(selected("base", "base", backends="torch_cpu"), "infer", backends.names())
    assert {cell.workload for cell in planned} == {"mlp", "resnet50", "gpt2", "bert_base"}


def test_both_sides_of_a_cell_are_measured_side_by_side_and_no_other_cell_is():
    both = side_of("A", "base"), side_of("B", "threads=1")
    sides = [replace(CELL, backend=name, variant=side) for name in ("torch_cpu", "jax_cpu") for side in both]
    groups = groups_of(sides)
    assert groups == [sides[:2], sides[2:]]
    assert [group_id_of(group[0]).split()[-2:] for group in groups] == [["torch_cpu", "cpu"], ["jax_cpu", "cpu"]]


def cases():
    for name in ("torch_cpu", "jax_cpu", "onnxruntime_cpu", "openvino_cpu"):
        for option, (_, *others) in backends.get(name).options.items():
            yield from (pytest.param(name, f"{option}={value}", id=f"{name}-{option}-{value}") for value in others)


READ_BACK = {
    "memory_format=contiguous": ("memory_format", "contiguous"),
    "graph_level=extended": ("compile_mode", "graph optimisation ORT_ENABLE_EXTENDED"),
    "graph_level=basic": ("compile_mode", "graph optimisation ORT_ENABLE_BASIC"),
    "spinning=off": ("spinning", "0"),
    "arena=off": ("cpu_mem_arena", False),
    "memory_pattern=off": ("memory_pattern", False),
    "hint=throughput": ("performance_hint", "THROUGHPUT"),
    "pinning=on": ("cpu_pinning", True),
}
"""What the runtime itself says; XLA's program is ours, and says nothing."""


@pytest.mark.parametrize(("backend", "option"), [*cases()])
def test_every_option_computes_the_same_and_is_in_the_row(backend, option, tmp_path):
    workload = load("resnet50", "tiny")
    suite = Suite(Cache(default_root(os.environ), lambda text: None), tmp_path, replace(EFFORT, min_rounds=1))
    for phase in ("infer", "train"):
        side = side_of("B", option)
        cell = Cell("resnet50", "tiny", phase, backend, workload.batch, None, "fp32", 2, variant=side)
        columns = suite.outcome(cell)
        assert (columns["status"], columns["reason"]) == ("ok", None)
        name, _, value = option.partition("=")
        assert json.loads(columns["options"])[name] == value
        if option in READ_BACK:
            key, expected = READ_BACK[option]
            assert json.loads(columns["effective"])[key] == expected


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_inductor_says_whether_it_froze_the_weights(tmp_path):
    workload = load("mlp", "tiny")
    suite = Suite(Cache(default_root(os.environ), lambda text: None), tmp_path, replace(EFFORT, min_rounds=1))
    packed = {}
    for value in ("off", "on"):
        side = side_of("B", f"freezing={value}")
        cell = Cell("mlp", "tiny", "infer", "torch_compile_cpu", workload.batch, None, "fp32", 2, variant=side)
        columns = suite.outcome(cell)
        assert (columns["status"], columns["reason"]) == ("ok", None)
        packed[value] = json.loads(columns["effective"])["packed_weights"]
    assert packed["off"] == 0 < packed["on"]


def test_an_option_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"torch_cpu has no option 'spinning'; it has: memory_format"):
        backends.get("torch_cpu").chosen_options({"spinning": "off"})
    assert backends.get("torch_cpu").chosen_options({})["memory_format"] == "mixed"


@pytest.fixture(scope="module")
def suite():
    with tempfile.TemporaryDirectory() as folder:
        adapter = Busy()
        yield Suite(filled_cache(Path(folder) / "cache"), Path(folder), EFFORT, find_adapter=lambda name: adapter)


def test_half_as_slow_again_is_found(suite):
    found = trial(suite, "500", 12)
    assert (found.n, found.verdict) == (12, "B slower")
    assert 1.2 < found.ratio < 1.9


def test_another_python_checkout_and_variable_are_the_child_s(suite, tmp_path):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$PLANTED $@" > {tmp_path}/seen\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("bench", "backends", "host", "workloads", "results", "tests", "samestep"):
        (tree / name).symlink_to(ROOT / name)
    columns = suite.outcome(replace(CELL, variant=side_of("B", f"python={python},tree={tree},env.PLANTED=seven")))
    assert (columns["status"], columns["reason"]) == ("ok", None)
    assert (tmp_path / "seen").read_text().startswith(f"seven -P {tree}/bench/child/worker.py ")


@pytest.fixture
def older_tree(tmp_path):
    """A checkout of before there were A/Bs: its cells have no variant, its jobs no options."""
    for name in ("backends", "host", "workloads", "tests", "samestep"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("bench", "results"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    dimensions = tmp_path / "results" / "record" / "dimensions.py"
    begin, end = dimensions.read_text().split('    Dimension(\n        "variant",')
    dimensions.write_text(begin + end.partition("    ),\n")[2])
    for name, old, new in (
        ("child/worker.py", 'job.get("options", {})', "{}"),
        (
            "child/told.py",
            '        "options": json.dumps(dict(request.options), sort_keys=True)',
            '        "options": None',
        ),
    ):
        file = tmp_path / "bench" / name
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))
    return tmp_path


def test_an_older_checkout_is_measured_and_one_that_knows_no_options_is_refused_them(suite, older_tree):
    columns = suite.outcome(replace(CELL, variant=side_of("A", f"tree={older_tree}")))
    assert (columns["status"], columns["reason"]) == ("ok", None)
    columns = suite.outcome(replace(CELL, variant=side_of("B", f"tree={older_tree},planted=20")))
    assert (columns["status"], columns["reason_code"]) == ("refused", "effective_options")
    assert columns["reason"] == "asked for {'planted': '20'}, its adapter took no options"


def test_versions_of_another_python_are_its_own_or_none(suite, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 3\n")
    python.chmod(0o755)
    columns = suite.outcome(replace(CELL, variant=side_of("B", f"python={python}")))
    assert (columns["status"], columns["python_version"], columns["library_versions"]) == ("crashed", None, None)
    columns = suite.outcome(replace(CELL, variant=side_of("B", f"python={sys.executable}")))
    assert (columns["status"], columns["python_version"]) == ("ok", platform.python_version())


def test_it_ends_with_a_verdict(tmp_path):
    arguments = ("--preset", "smoke", "--workloads", "mlp", "--phases", "infer", "--backends", "onnxruntime_cpu")
    done = bench(*arguments, "--ab", "base", "threads=1", "--pairs", "2", "--results-dir", "runs", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Side A: base" in done.stdout
    assert "too few pairs" in done.stdout
    run = run_in(tmp_path / "runs")
    assert [
        (row["variant"], row["threads"], row["launches_ok"]) for row in sorted(run.rows, key=lambda r: r["variant"])
    ] == [
        ("A: base", 2, 2),
        ("B: threads=1", 1, 2),
    ]
    assert {one.result.n for one in pairs_of(run)} == {2}
    assert [one["variant"][0] for one in run.launches] == ["A", "B", "A", "B"]
