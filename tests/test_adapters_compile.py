"""torch.compile: the whole loss in one graph, compiled before the first step, with the state where it was.

The compiler here is `aot_eager`, which traces as Inductor does and generates no code; `pytest bench --backends
torch_compile_cpu` runs Inductor.
"""

import os
import shutil
import sys
from types import SimpleNamespace

import pytest
import torch

import backends
from backends._torch_compile import CompiledCudaStep, CompiledStep
from tests.fakes.hardware import Prepared, fake_cuda, fake_gpu_files, kept_switches
from tests.fakes.models import MECHANISMS
from tests.fakes.steps import with_threads
from workloads.precision import precision_of

# torch says so on every compilation without caches, which is what we ask for (2.13).
pytestmark = pytest.mark.filterwarnings("ignore:dynamo_pgo force disabled:UserWarning")

CPU, CUDA = backends.get("torch_compile_cpu"), backends.get("torch_compile_cuda")


@pytest.fixture(scope="module", params=[(w, p) for w in MECHANISMS for p in ("infer", "train")], ids="-".join)
def prepared(request, tmp_path_factory):
    return Prepared(*request.param, tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module", params=["infer", "train"])
def small(request, tmp_path_factory):
    return Prepared("mlp", request.param, tmp_path_factory.mktemp("small"))


@pytest.fixture(autouse=True)
def tracing_alone(monkeypatch):
    """Every step is traced afresh, and no code is generated."""
    monkeypatch.setattr(CompiledStep, "backend", "aot_eager")
    torch.compiler.reset()
    with kept_switches():
        yield
    torch.compiler.reset()
    torch.compiler.config.force_disable_caches = False


def test_every_workload_is_one_graph_that_is_never_compiled_again(prepared):
    step = CPU.prepare(prepared.request)
    step.compile()
    assert step.effective().told()["compiled_graphs"] == 1
    assert prepared.verify(CPU, step)["verification"] == "passed"
    assert step.effective().told()["compiled_graphs"] == 1


@pytest.mark.parametrize("precision", [precision for precision in CPU.precisions if precision != "fp32"])
def test_every_precision_is_one_graph(tmp_path, precision):
    prepared = Prepared("mlp", "infer", tmp_path, precision_of(precision))
    step = CPU.prepare(prepared.request)
    step.compile()
    assert prepared.verify(CPU, step)["verification"] == "passed"
    told = step.effective().told()
    assert (told["precision"], told["compiled_graphs"]) == (precision, 1)
    assert told["arithmetic"].startswith({"int8": "i8", "w8": "f32"}.get(precision, ""))


def test_compiling_leaves_the_state_where_it_was(small):
    step = CPU.prepare(small.request)
    before = {name: tensor.detach().clone() for name, tensor in (step.parameters | step.buffers).items()}
    step.compile()
    after = step.parameters | step.buffers
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert {tensor.grad for tensor in after.values()} == {None}
    assert step.last == {}
    if small.request.program.update is not None:
        assert not step.optimizer.state


def test_the_row_says_how_it_was_compiled(small):
    step = CPU.prepare(small.request)
    step.compile()
    assert step.effective().told()["compile_mode"] == "torch.compile(aot_eager, fullgraph, static shapes)"


def test_the_compiler_is_inductor(monkeypatch, small):
    monkeypatch.undo()
    asked = []
    real = torch._dynamo.lookup_backend
    monkeypatch.setattr(torch._dynamo, "lookup_backend", lambda name: asked.append(name) or real("eager"))
    CPU.prepare(small.request).compile()
    assert asked[0] == "inductor"


def test_kernels_are_compiled_into_a_folder_that_was_empty_and_goes(small):
    step = CPU.prepare(small.request)
    step.compile()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(step.folder)
    assert step.folder.is_dir()
    step.close()
    assert not step.folder.exists()


def test_torch_compile_that_does_nothing_is_refused(monkeypatch, small):
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    with pytest.raises(RuntimeError, match=r"torch\.compile compiled nothing: unset TORCH_COMPILE_DISABLE"):
        CPU.prepare(small.request).compile()


def test_a_graph_break_is_an_error(small):
    step = CPU.prepare(small.request)
    linear = step.ops.linear

    def broken(*arguments):
        torch._dynamo.graph_break()
        return linear(*arguments)

    step.ops.linear = broken
    with pytest.raises(torch._dynamo.exc.Unsupported):
        step.compile()


def test_cuda_step_compiles_with_events_and_switches(monkeypatch, small):
    fake_cuda(monkeypatch)
    CUDA.load(with_threads(torch.get_num_threads()))
    step = CUDA.prepare(small.request)
    assert isinstance(step, CompiledCudaStep)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # the compiler would go and look for itself
    step.compile()
    assert small.verify(CUDA, step)["verification"] == "passed"
    assert step.device_step(0) == 1e-3
    said = step.effective().told()
    assert (said["compiled_graphs"], said["cudnn_conv_fp32_precision"]) == (1, "ieee")


@pytest.mark.parametrize(
    ("given", "there", "found"),
    [
        (None, {"g++", "clang++"}, "g++"),
        (None, {"clang++"}, "clang++"),
        ("icpx", {"icpx", "g++"}, "icpx"),
        ("icpx", {"g++"}, None),
        (None, set(), None),
    ],
)
def test_the_first_compiler_that_is_there(monkeypatch, given, there, found):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name in there else None)
    monkeypatch.delenv("CXX", raising=False)
    if given:
        monkeypatch.setenv("CXX", given)
    assert sys.modules["backends.torch_compile_cpu"].cxx() == found
    assert CPU.probe().status == ("usable" if found else "absent")


def test_without_a_compiler_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    probe = CPU.probe()
    assert (probe.status, probe.reason_code) == ("absent", "not_installed")
    assert probe.reason == "no g++ or clang++: torch.compile needs a C++ compiler; install g++"
    monkeypatch.setenv("CXX", "ccache g++")
    assert CPU.probe().reason.startswith("no 'ccache g++', which $CXX names: unset it")


def test_without_pythons_headers_it_says_what_to_install(monkeypatch, tmp_path):
    module = sys.modules["backends.torch_compile_cpu"]
    monkeypatch.setattr(module, "sysconfig", SimpleNamespace(get_path=lambda name: str(tmp_path)))
    assert CPU.probe().status == "absent"
    assert CPU.probe().reason.endswith("install python3-dev")


def test_without_torch_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("backends._probes.find_spec", lambda name: None)
    assert CPU.probe().reason == "torch is not installed: pip install -e '.[torch]'"


@pytest.mark.parametrize(("triton", "status"), [(None, "absent"), (object(), "usable")])
def test_a_gpu_needs_triton(monkeypatch, tmp_path, triton, status):
    fake_gpu_files(monkeypatch, tmp_path, "dev/nvidia0")
    (tmp_path / "version.py").write_text("cuda = '13.0'\n")
    torch_spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("backends._nvidia.find_spec", lambda name: torch_spec if name == "torch" else None)
    monkeypatch.setattr("backends.torch_compile_cuda.find_spec", lambda name: triton)
    probe = CUDA.probe()
    assert probe.status == status
    assert ("triton is not installed" in probe.reason) == (triton is None)


def test_both_belong_to_the_full_preset_alone():
    assert (CPU.presets, CUDA.presets, backends.get("torch_cpu").presets) == (
        ("full",),
        ("full",),
        ("smoke", "quick", "full"),
    )
