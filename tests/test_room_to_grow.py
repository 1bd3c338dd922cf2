"""A workload is one file, a backend one file and one dependency group: in a scratch copy nothing else is edited."""

import shutil
import subprocess
import sys

import pytest

from results.record.run import latest_run, read_run
from tests.fakes.door import ROOT, environment

COPIED = ("backends", "bench", "host", "results", "samestep", "scripts", "tests", "workloads")
FILES = ("conftest.py", "pyproject.toml", "tox.ini", "toxfile.py", "constraints.txt")

WORKLOAD = '''"""A line through points: the smallest model that trains."""

from __future__ import annotations

from workloads.ops import Array, Ops, Parameters
from workloads.optim import SGD
from workloads.program import Work, inference, training
from workloads.specs import InputSpec, ParameterSpec
from workloads.workload import Workload

SIZES = {"tiny": 6, "base": 600}
PUBLISHED = "base"
BATCHES = {"tiny": 4, "base": 64}
SEQUENCES = None


def build(size: str, batch: int, sequence: int | None = None) -> Workload:
    """Returns the workload at `size`."""
    n = SIZES[size]

    def infer(ops: Ops, p: Parameters, batch: Parameters) -> dict[str, Array]:
        return {"y": ops.linear(batch["x"], p["weight"], p["bias"])}

    def loss(ops: Ops, p: Parameters, batch: Parameters) -> tuple[Array, dict[str, Array]]:
        return ops.cross_entropy(infer(ops, p, batch)["y"], batch["labels"]), {}

    specs = (ParameterSpec("weight", (5, n), 0.0, n**-0.5), ParameterSpec("bias", (5,), 0.0, 0.02))
    x, labels = InputSpec("x", (batch, n), "float32"), InputSpec("labels", (batch,), "int64", high=5)
    rule = SGD(learning_rate=0.1, momentum=0.9)
    return Workload(
        name="line",
        size=size,
        batch=batch,
        sequence=None,
        parameters=specs,
        hyperparameters={"n": n},
        programs={
            "infer": inference(infer, inputs=(x,), constants=specs, work=Work(batch)),
            "train": training(loss, rule, inputs=(x, labels), parameters=specs, work=Work(batch)),
            "head": training(
                loss,
                rule,
                inputs=(x, labels),
                parameters=specs,
                work=Work(batch),
                trained=lambda name: name == "bias",
            ),
        },
    )
'''

BACKEND = '''"""PyTorch once more, under another name. Requires torch."""

from __future__ import annotations

from backends._probes import probe_cpu
from backends.base import Adapter, Probe, Request, Setting, Step


class ScratchCpu(Adapter):
    """Eager PyTorch on the CPU."""

    device_kind = "cpu"
    extra = "scratch"
    phases = None
    overlap = "none"
    distributions = ("torch",)

    def probe(self) -> Probe:
        return probe_cpu("torch", self.distributions, self.extra)

    def load(self, setting: Setting) -> None:
        import torch

        torch.set_num_threads(setting.threads)

    def prepare(self, request: Request) -> Step:
        import torch

        from backends._torch import TorchStep

        return TorchStep(request, torch.device("cpu"))
'''
GROUP = 'scratch = ["samestep[reports]", "torch>=2.9"]\n'


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the tree with one workload, one backend and its dependency group more."""
    tree = tmp_path_factory.mktemp("tree")
    for room in COPIED:
        shutil.copytree(ROOT / room, tree / room, ignore=shutil.ignore_patterns("__pycache__", "runs"))
    for file in FILES:
        shutil.copy(ROOT / file, tree / file)
    (tree / "workloads" / "models" / "line.py").write_text(WORKLOAD)
    (tree / "backends" / "scratch_cpu.py").write_text(BACKEND)
    text = (tree / "pyproject.toml").read_text()
    mark = "[project.optional-dependencies]\n"
    assert text.count(mark) == 1
    (tree / "pyproject.toml").write_text(text.replace(mark, mark + GROUP))
    return tree


def run(tree, *words):
    """Runs Python with the tree's own packages and returns what came of it."""
    command, kept = [sys.executable, *words], environment(PYTHONPATH=str(tree))
    return subprocess.run(command, cwd=tree, env=kept, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def smoke(tree):
    """The smoke run of the new workload on the new backend, on JAX and on two runtimes that take graphs."""
    chosen = (
        "--workloads",
        "line,mlp",
        "--backends",
        "scratch_cpu,jax_cpu,onnxruntime_cpu,openvino_cpu",
        "--benchmark-disable",
    )
    words = ("-m", "pytest", "bench", "-p", "no:cacheprovider", "--preset", "smoke", *chosen)
    return run(tree, *words, "--results-dir", str(tree / "out"))


def test_both_run_through_smoke(tree, smoke):
    rows = read_run(latest_run(tree / "out")).rows
    of_line = {(row["phase"], row["backend"]): row["status"] for row in rows if row["workload"] == "line"}
    phases, runtimes = ("infer", "train", "head"), ("scratch_cpu", "jax_cpu", "onnxruntime_cpu", "openvino_cpu")
    assert {key: of_line.get(key) for key in ((p, b) for p in phases for b in runtimes)} == {
        (phase, backend): "ok" for phase in phases for backend in runtimes
    }, smoke.stdout
    of_mlp = {
        row["phase"]: row["status"] for row in rows if (row["workload"], row["backend"]) == ("mlp", "scratch_cpu")
    }
    assert of_mlp == {"infer": "ok", "train": "ok"}


def test_both_are_in_the_table(tree, smoke):
    done = run(tree, "-m", "results", "table", str(latest_run(tree / "out")))
    assert done.returncode == 0, done.stderr
    assert "scratch_cpu" in done.stdout
    assert any(line.startswith("line ") and "head" in line for line in done.stdout.splitlines())


def test_the_backend_is_listed_and_in_the_nights(tree):
    assert run(tree, "-m", "backends", "scratch_cpu").stdout.startswith("scratch_cpu        usable")
    kinds = run(tree, "-m", "backends", "--kinds").stdout
    assert "scratch" in kinds.split()


def test_both_pass_the_suite_of_every_adapter(tree, smoke):
    suite = tree / "test_scratch.py"
    suite.write_text(
        "import samestep\n\nclass TestScratch(samestep.AdapterConformance):\n    adapter = 'scratch_cpu'\n"
    )
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", str(suite), "-k", "line or mlp or declares or probing")
    done = run(tree, *words)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
