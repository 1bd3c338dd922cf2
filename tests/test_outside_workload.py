"""The example of docs/adding-a-workload.md, taken from the page as it stands, installed and run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.door import bench, run_in, statuses

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "adding-a-workload.md"
FILE = re.compile(r"^\*\*`([^`]+)`\*\*\n\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RUNTIMES = ("torch_cpu", "jax_cpu", "onnxruntime_cpu", "openvino_cpu")


def written(folder, old="", new=""):
    """Writes the page's files into `folder`, one text replaced by another."""
    for name, text in FILE.findall(PAGE.read_text()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.replace(old, new) if old else text)
    return folder


def installed(folder, target):
    """Returns the path for Python with the package in `folder` installed, with nothing fetched from anywhere."""
    pytest.importorskip("setuptools", reason="the example is built with setuptools, without a network")
    pip = ["install", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", *pip, "--target", str(target), str(folder)], check=True)
    return os.pathsep.join([str(target), str(ROOT)])


def python(path, code):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_holds_every_file_that_it_lists(tmp_path):
    listed = re.findall(r"^    (\S+)  ", PAGE.read_text(), re.MULTILINE)
    folder = written(tmp_path)
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == set(listed)


@pytest.mark.parametrize("module", ["torch", "jax"])
def test_it_needs_no_framework(tmp_path, module):
    path = installed(written(tmp_path / "gated"), tmp_path / "at")
    code = f"import sys; from workloads.catalog import load; load('gated_mlp'); print({module!r} in sys.modules)"
    assert python(path, code).strip() == "False"


def test_its_cells_are_ok_on_every_runtime(tmp_path):
    path = installed(written(tmp_path / "gated"), tmp_path / "at")
    chosen = ["--preset", "smoke", "--backends", ",".join(RUNTIMES), "--workloads", "gated_mlp"]
    done = bench(*chosen, "--results-dir", "runs", cwd=tmp_path, PYTHONPATH=path)
    assert done.returncode == 0, done.stdout
    found = statuses(run_in(tmp_path / "runs"))
    assert {(phase, name): found[phase, name] for phase in ("infer", "train") for name in RUNTIMES} == {
        (phase, name): "ok" for phase in ("infer", "train") for name in RUNTIMES
    }


def test_it_is_in_no_suite_but_all(tmp_path):
    path = installed(written(tmp_path / "gated"), tmp_path / "at")
    code = "from workloads.catalog import SUITES; print([name for name, of in SUITES.items() if 'gated_mlp' in of])"
    assert python(path, code).strip() == "['all']"


OURS = "gated_mlp"
FAULTS = {
    "takes a name of ours": ('gated_mlp = "gated', 'mlp = "gated', "mlp", "samestep has a workload 'mlp' of its own"),
    "calls itself otherwise": ('name="gated_mlp"', 'name="gated"', OURS, "the workload calls itself 'gated' and"),
    "has no tiny size": ('"tiny": (12, 16, 2, 5), ', "", OURS, "SIZES and BATCHES must have 'tiny'"),
    "declares too little": ("SEQUENCES = None\n", "", OURS, "it has no SEQUENCES: see docs/adding-a-workload.md"),
    "raises": ("import samestep\n", "import samestep\n1 / 0\n", OURS, "ZeroDivisionError: division by zero"),
    "gives something else": (
        "    return samestep.Workload(",
        "    return dict(",
        OURS,
        "must return a samestep.Workload",
    ),
    "watches": ("SEQUENCES = None\n", 'SEQUENCES = None\nKIND = "control"\n', OURS, "KIND is 'control'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_keep_the_rules_is_left_out_and_says_why(fault, tmp_path):
    old, new, name, why = FAULTS[fault]
    path = installed(written(tmp_path / "gated", old, new), tmp_path / "at")
    code = (
        "from workloads import catalog\n"
        "from bench.parent.plans.parse import PlanError, words\n"
        f"print(len(catalog.MODELS), catalog.REFUSED[{name!r}])\n"
        "try: words('other', '--workloads', tuple(catalog.CATALOG))\n"
        "except PlanError as error: print(error)\n"
        f"if {name!r} not in catalog.CATALOG:\n"
        f"    try: words({name!r}, '--workloads', tuple(catalog.CATALOG))\n"
        "    except PlanError as error: print(error)\n"
    )
    lines = python(path, code).splitlines()
    assert why in lines[0]
    assert lines[1].startswith("unknown workload 'other'; known: ")
    if name != "mlp":
        assert lines[2].startswith(f"unknown workload {name!r}; known: ")
        assert why in lines[2]
