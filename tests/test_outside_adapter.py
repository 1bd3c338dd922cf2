"""The example of docs/adding-a-backend.md, taken from the page as it stands, installed and run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.door import bench, run_in, statuses
from workloads.catalog import CATALOG, CONTROLS, phases, phases_of
from workloads.precision import PRECISIONS

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "adding-a-backend.md"
FILE = re.compile(r"^\*\*`([^`]+)`\*\*\n\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """Returns the folder with the page's files."""
    folder = tmp_path_factory.mktemp("example")
    for name, text in FILE.findall(PAGE.read_text()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def installed(example, tmp_path_factory):
    """Returns the folder into which pip has installed it, with nothing fetched from anywhere."""
    pytest.importorskip("setuptools", reason="the example is built with setuptools, without a network")
    pytest.importorskip("torch")
    target = tmp_path_factory.mktemp("installed")
    pip = ["install", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *pip, "--target", str(target), str(example)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return target


def path(installed):
    return os.pathsep.join([str(installed), str(ROOT)])


def python(installed, *arguments, cwd):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=kept | {"PYTHONPATH": path(installed)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_page_holds_every_file_that_it_lists(example):
    listed = re.findall(r"^    (\S+)  ", PAGE.read_text(), re.MULTILINE)
    assert {str(p.relative_to(example)) for p in example.rglob("*") if p.suffix in (".py", ".toml")} == set(listed)


def test_it_is_listed_as_usable(installed):
    done = python(installed, "-m", "backends", "mybackend", cwd=ROOT)
    assert (done.returncode, done.stdout.split()[:2]) == (0, ["mybackend", "usable"])


def test_it_passes_the_conformance_suite(installed, example):
    done = python(installed, "-m", "pytest", "tests", "-q", "-rs", "-p", "no:cacheprovider", cwd=example)
    assert done.returncode == 0, done.stdout
    skipped = {line.partition(": ")[2] for line in done.stdout.splitlines() if line.startswith("SKIPPED")}
    others = [name for name in PRECISIONS if name != "fp32"]
    assert skipped == {
        *(
            f"mybackend has no {phase} cells of {workload}"
            for workload in CATALOG
            for phase in phases()
            if workload in CONTROLS or phase not in phases_of(workload)
        ),
        *(f"mybackend cannot run in {name}; it can in: fp32" for name in others),
    }
    assert re.search(r"^\d+ passed, \d+ skipped in", done.stdout.splitlines()[-1])


def test_its_cells_are_ok(installed, tmp_path):
    options = ["--preset", "smoke", "--backends", "mybackend", "--workloads", "mlp", "--results-dir", "runs"]
    done = bench(*options, cwd=tmp_path, PYTHONPATH=path(installed))
    assert done.returncode == 0, done.stdout
    assert statuses(run_in(tmp_path / "runs")) == {
        ("infer", "mybackend"): "ok",
        ("train", "mybackend"): "ok",
        ("infer", "null"): "ok",  # once in a run
    }


def replaced(example, folder, old, new):
    """Puts the example into `folder` with one text of it replaced by another."""
    changed = 0
    (folder / "mybackend").mkdir()
    for source in (example / "mybackend").glob("*.py"):
        text = source.read_text()
        changed += text.count(old)
        (folder / "mybackend" / source.name).write_text(text.replace(old, new))
    assert changed == 1


def conformance(folder, chosen):
    """Runs the chosen tests on the example in `folder`: on the path and by class, which needs no entry point."""
    (folder / "test_it.py").write_text(
        "import samestep\nfrom mybackend import MyBackend\n\n\n"
        "class TestIt(samestep.AdapterConformance):\n    adapter = MyBackend\n"
    )
    return python(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, cwd=folder)


def test_it_may_name_its_own_package_for_its_version(example, tmp_path):
    replaced(example, tmp_path, 'distributions = ("torch",)', 'distributions = ("torch", "mybackend")')
    done = conformance(tmp_path, "importing")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].startswith("1 passed")


FAULTS = {
    "names another device": (
        ('device="/".join(sorted({tensor.device.type for tensor in held}))', 'device="cuda"'),
        ("same_step and mlp-infer", "asked for cpu, the runtime runs on cuda"),
    ),
    "multiplies in bfloat16": (
        ('mkldnn.matmul.fp32_precision = "ieee"', 'mkldnn.matmul.fp32_precision = "bf16"'),
        ("same_step and mlp-infer", "asked for fp32, the runtime runs float32 with bf16 matmul, ieee convolution"),
    ),
    "convolves in bfloat16": (
        ('mkldnn.conv.fp32_precision = "ieee"', 'mkldnn.conv.fp32_precision = "bf16"'),
        ("same_step and mlp-infer", "asked for fp32, the runtime runs float32 with ieee matmul, bf16 convolution"),
    ),
    "takes another batch": (
        ("batch = self.batches[i % len(self.batches)]", "batch = self.batches[0 if i > 2 else i % 2]"),
        ("close_twice and infer", "must run batch 1 of 2; its outputs are those of [0]"),
    ),
    "computes something else": (
        ("return F.cross_entropy(logits, labels)", "return 1.01 * F.cross_entropy(logits, labels)"),
        ("same_step and mlp-train", "wrong in stage verify: "),
    ),
    "cannot be closed twice": (
        ("    def sync(self):", "    def close(self):\n        del self.constants\n\n    def sync(self):"),
        ("close_twice and infer", "AttributeError"),
    ),
    "imports heavily": (
        ("from importlib.util import find_spec\n", "from importlib.util import find_spec\n\nimport numpy\n"),
        ("importing", "importing and probing it loads numpy"),
    ),
    "has a brother": (
        ("class MyBackend(Adapter):", "class Other(Adapter): ...\n\n\nclass MyBackend(Adapter):"),
        ("exactly_one", "must declare exactly one Adapter"),
    ),
    "changes the environment": (
        ('        return Probe("usable"', '        import os; os.environ["X"] = "1"\n        return Probe("usable"'),
        ("importing", "importing or probing it changes environment variables"),
    ),
    # Not an environment variable: the child has it already, from the process that imported the adapter first.
    "changes the path when imported": (
        (
            "from importlib.util import find_spec\n",
            "import sys\nfrom importlib.util import find_spec\n\nsys.path.append('/X')\n",
        ),
        ("importing", "importing or probing it changes sys.path"),
    ),
    "answers a second time with nothing": (
        (
            "    def probe(self) -> Probe:\n",
            "    asked = iter('ab')\n\n    def probe(self):\n        if next(self.asked) == 'b':\n            return\n",
        ),
        ("importing", "probe() must return a Probe, got None"),
    ),
    "loads its second distribution": (
        ('distributions = ("torch",)', 'distributions = ("mybackend", "colorsys")\n    import colorsys'),
        ("importing", "importing and probing it loads colorsys: import"),
    ),
    "accepts any precision": (
        ("    def load(self", "    def why_unsupported(self, phase, precision): ...\n\n    def load(self"),
        ("precision", "accepts a precision that is none"),
    ),
    "says why not in a code of its own": (
        (
            "    def load(self",
            "    def why_unsupported(self, phase, precision): return 'mine', 'why'\n\n    def load(self",
        ),
        (
            "precision or same_step or close_twice",
            "must return None or (phase_not_supported or precision_not_supported",
        ),
    ),
    "has no fp32": (
        ('precisions = ("fp32",)', 'precisions = ("bf16",)'),
        ("declares_itself_well", "precisions must include fp32: what runs in another one is held against it"),
    ),
    "leaves verification": (
        ('    device_kind = "cpu"\n', '    device_kind = "cpu"\n    verifiable = False\n'),
        ("declares_itself_well", "verifiable must be True: a step that is not verified has no number"),
    ),
    "is of the first edition": (
        ('overlap = "none"', 'serial_phases = ("train",)'),
        ("declares_itself_well", "serial_phases is overlap = "),
    ),
    "declares nonsense": (
        ('    precisions = ("fp32",)', '    phases = ("serve",)\n    precisions = ("fp32",)'),
        ("declares_itself_well", "phases must be of infer, train, got ('serve',)"),
    ),
}
"""What is replaced in the example, and by what; the test of the suite that refuses it, and its words."""


@pytest.mark.parametrize("fault", FAULTS)
def test_the_suite_refuses_an_adapter_that(example, tmp_path, fault):
    (old, new), (chosen, words) = FAULTS[fault]
    replaced(example, tmp_path, old, new)
    done = conformance(tmp_path, chosen)
    assert done.returncode == 1, done.stdout
    assert words in done.stdout
    assert " passed" not in done.stdout.splitlines()[-1]
