"""Models of users' own in the plan of a run: how they are asked for, what they depend on, and rows of what failed."""

from types import SimpleNamespace

import pytest

import backends
from backends._records import Probe
from bench.cell import Cell
from bench.child.own.conditioned import check
from bench.effort import ONE_STEP
from bench.parent import suite
from bench.parent.cache import Cache
from bench.parent.own.asked import Asked, asked_for
from bench.parent.own.depends import digest_of_module, libraries_of
from bench.parent.own.made import Made
from bench.parent.plans import plan
from bench.parent.plans.parse import PlanError
from bench.parent.suite import Suite
from workloads.catalog import CONTROLS, LIMITS, SUITES
from workloads.precision import BF16
from workloads.tolerance import MissingTolerance, Tolerance


def asked(**options):
    return asked_for(lambda name: options.get(name[2:].replace("-", "_")))


def test_a_model_is_called_as_its_factory_or_as_it_is_said():
    first, second = asked(model="pkg.models:small, big=pkg.models:factory")
    assert (first.name, first.reference, first.module) == ("small", "pkg.models:small", "pkg.models")
    assert (second.name, second.reference) == ("big", "pkg.models:factory")
    assert asked() == ()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": ","}, "--model is empty"),
        ({"model": "mymodel"}, "--model takes package.module:factory"),
        ({"model": "a b:c"}, "--model takes package.module:factory"),
        ({"model": "a:f,b:f"}, "--model has two called f; NAME=b:f gives another name"),
        ({"model": "a:gpt2"}, "gpt2 is a workload of ours; NAME=a:gpt2 gives another name"),
        ({"model": "x/y=a:f"}, "'x/y' is no name of a model"),
        ({"model_inputs": "f.npz"}, "--model-inputs is for --model"),
        ({"model": "a:f", "model_inputs": "nowhere.npz"}, "--model-inputs nowhere.npz: there is no such file"),
        ({"model": "a:f,a:g", "model_inputs": "nowhere.npz"}, "whose inputs?"),
        ({"model": "a:f", "model_inputs": "g=nowhere.npz"}, "--model-inputs for g, which is not asked for; there is f"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_made(options, said):
    with pytest.raises(PlanError) as refused:
        asked(**options)
    assert said in str(refused.value)


@pytest.fixture
def package(tmp_path):
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("raise RuntimeError('nobody shall import this')\n")
    (tmp_path / "pkg" / "models.py").write_text("import json\nimport beside\nfrom . import layers\nimport numpy\n")
    (tmp_path / "pkg" / "layers.py").write_text("width = 1\n")
    (tmp_path / "pkg" / "weights.bin").write_bytes(b"1")
    (tmp_path / "beside.py").write_text("import deeper\n")
    (tmp_path / "deeper.py").write_text("depth = 1\n")
    (tmp_path / "unrelated.py").write_text("x = 1\n")
    return tmp_path


@pytest.mark.parametrize("name", ["pkg/models.py", "pkg/layers.py", "pkg/weights.bin", "beside.py", "deeper.py"])
def test_a_change_of_what_a_model_is_made_of_is_seen(package, name, fresh):
    before = digest_of_module("pkg.models", [str(package)])
    with (package / name).open("a") as file:
        file.write("# another\n")
    fresh()
    assert digest_of_module("pkg.models", [str(package)]) != before


def test_a_change_of_what_it_is_not_made_of_changes_nothing(package, fresh):
    before = digest_of_module("pkg.models", [str(package)])
    (package / "unrelated.py").write_text("x = 2\n")
    fresh()
    assert digest_of_module("pkg.models", [str(package)]) == before
    assert {"numpy", "json", "beside"} <= {*libraries_of("pkg.models", [str(package)])}


@pytest.fixture
def fresh():
    """Forgets what was read, as another process has it."""
    from importlib import invalidate_caches

    from bench.parent.own import depends

    def forget():
        for known in (depends._files, depends._found, depends._imported):
            known.cache_clear()
        invalidate_caches()

    forget()
    return forget


def test_a_module_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModuleNotFoundError, match=r"no module 'nowhere.models' here"):
        digest_of_module("nowhere.models", [str(tmp_path)])


def select(monkeypatch, made, **options):
    """Returns a plan in which the models are made already."""
    monkeypatch.setattr(plan.made, "make", lambda *arguments: made)
    names = {"--model": "a:f", **{f"--{name}": value for name, value in options.items()}}
    return plan.select(names.get, backends.names(), 2)


MICRO = {name for name in LIMITS if name not in SUITES["core"]}
FAILED = Made("f", 4, failure="a:f raised ValueError: no")


def test_a_model_alone_runs_beside_limits_and_the_control_and_nothing_else(monkeypatch):
    selection = select(monkeypatch, (FAILED,))
    cells = plan.planned(selection, backends.names())
    assert {cell.workload for cell in cells} == {"f", *LIMITS, *CONTROLS} - MICRO
    mine = [cell for cell in cells if cell.workload == "f"]
    assert {cell.phase for cell in mine} == {"infer"}  # one row says it
    assert {"torch_cpu", "jax_cpu", "onnxruntime_cpu", "openvino_cpu"} <= {cell.backend for cell in mine}
    assert mine[0].id.startswith("f-b4-fp32-")


def test_a_model_beside_named_workloads_runs_with_them(monkeypatch):
    selection = select(monkeypatch, (FAILED,), workloads="mlp", backends="torch_cpu")
    cells = plan.planned(selection, backends.names())
    assert {cell.workload for cell in cells} == {"f", "mlp", *CONTROLS}


def test_what_could_not_be_made_has_a_row_that_says_why(monkeypatch, tmp_path):
    (cell, *_) = plan.planned(select(monkeypatch, (FAILED,), backends="torch_cpu"), backends.names())
    of_run = Suite(Cache(tmp_path / "cache", print), tmp_path, ONE_STEP)
    of_run.prepare([cell])
    assert not (tmp_path / "cache").exists()  # nothing was made for it
    columns = of_run.run(cell).columns
    assert (columns["status"], columns["reason_code"]) == ("error", "model_refused")
    assert columns["reason"] == "a:f raised ValueError: no"


def test_what_could_not_be_made_is_absent_where_the_hardware_is(monkeypatch, tmp_path):
    absent = Probe("absent", reason="no such chip", reason_code="no_device")
    monkeypatch.setattr(suite, "probed", lambda adapter: absent)
    (cell, *_) = plan.planned(select(monkeypatch, (FAILED,), backends="torch_cpu"), backends.names())
    columns = Suite(Cache(tmp_path / "cache", print), tmp_path, ONE_STEP).run(cell).columns
    assert (columns["status"], columns["reason"]) == ("unavailable", "no such chip")


def test_a_failure_is_no_dimension_of_a_cell():
    cell = Cell("f", "own", "infer", "torch_cpu", 4, None, "fp32", 1, model_failure="no")
    assert "no" not in cell.columns().values()
    assert cell.load_workload().refused["infer"] == "no"


def test_an_ill_conditioned_step_is_not_widened_but_refused():
    check({"loss.0": Tolerance(1e-7, 1e-7), "first_moment.w": Tolerance(0.5, 0.5)})
    with pytest.raises(MissingTolerance, match=r"ill-conditioned in float32, .* change loss.2 by 0.03 of it"):
        check({"loss.0": Tolerance(1e-7, 1e-7), "loss.2": Tolerance(0.033, 0.01)})
    with pytest.raises(MissingTolerance, match="ill-conditioned"):
        check({"output.0.y": Tolerance(float("nan"), 0.0)})


def test_what_a_shorter_type_changes_altogether_is_refused_in_it():
    check({"output.0.y": Tolerance(0.09, 0.01)}, BF16)
    with pytest.raises(MissingTolerance, match=r"ill-conditioned in bf16, .* change output.0.y by 0.2 of it"):
        check({"output.0.y": Tolerance(0.2, 0.01)}, BF16)


def test_files_and_modules_are_told_apart_by_their_spelling():
    assert Asked("f", "a.b:f", "maker").module == "a.b"
    assert Asked("f", "a/b.onnx", "maker").module is None


def test_a_run_does_not_go_on_with_another_model(monkeypatch):
    from bench.parent.plans import options

    selection = select(monkeypatch, (FAILED,))
    run = SimpleNamespace(header={"options": {"selection": dict(selection.chosen)}})
    options._check_models(run, selection)
    run.header["options"]["selection"]["models"] = {"f at batch 4": "another"}
    with pytest.raises(PlanError, match="f at batch 4 is another model than when the run began"):
        options._check_models(run, selection)
    del run.header["options"]["selection"]["models"]  # a run of before there were any
    options._check_models(run, selection)
