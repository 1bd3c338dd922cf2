"""Inferentia without the device: what its probe says is missing, and its inference path on a fake torch_neuronx."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from backends import inferentia
from backends.base import Request
from bench.child.checks import verify
from bench.child.checks.proof import WrongResult, verify_step
from bench.child.expected import load_expected
from tests.fakes.models import MECHANISMS
from tests.fakes.steps import allowed_in, make_in, with_threads
from workloads import data
from workloads.catalog import load
from workloads.precision import FP32

ADAPTER = inferentia.Inferentia()
CHIPS = {
    "inf1": ("Inferentia", "Inf1"),
    "inf2": ("Inferentia2", "Inf2"),
    "trn1": ("Trainium1", "Trn1"),
    "trn2": ("Trainium2", "Trn2"),
}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Returns what makes this machine one of AWS's: its chip, and the version of the software that is installed."""

    def make(chip, module=None, version="", devices=1):
        for i in range(devices if chip else 0):
            (tmp_path / "dev").mkdir(exist_ok=True)
            (tmp_path / "dev" / f"neuron{i}").touch()
            if chip in CHIPS:
                folder = tmp_path / "sys" / f"neuron{i}" / "info" / "architecture"
                folder.mkdir(parents=True)
                for name, text in zip(("device_name", "instance_type"), CHIPS[chip], strict=True):
                    (folder / name).write_text(f"{text}\n")
        monkeypatch.setattr(inferentia, "DEV", tmp_path / "dev")
        monkeypatch.setattr(inferentia, "SYSFS", tmp_path / "sys")
        monkeypatch.setattr(inferentia, "find_spec", lambda name: name if name == module else None)
        monkeypatch.setattr(inferentia, "versions", lambda names: {"torch-neuronx": version} if version else {})
        return ADAPTER.probe()

    return make


@pytest.mark.parametrize(
    ("installed", "status", "code", "words"),
    [
        ((None,), "absent", "no_device", "no /dev/neuron*"),
        ((None, "torch_neuronx", "2.9.0"), "absent", "no_device", "aws-neuronx-dkms"),
        (("unknown", "torch_neuronx", "2.9.0"), "broken", "start_failed", "does not name its architecture"),
        (("inf1",), "absent", "not_installed", "torch_neuron, which Inf1 takes, is not installed"),
        (("inf1", "torch_neuron"), "absent", "wrong_platform", "it takes Inf2 or Trn1 with torch_neuronx"),
        (("inf2",), "absent", "not_installed", "torch_neuronx is not installed: pip install 'torch-neuronx==2.9.*'"),
        (("trn1",), "absent", "not_installed", "torch_neuronx is not installed"),
        (("trn2",), "absent", "not_installed", "torch_neuronx is not installed"),
        (
            ("trn2", "torch_neuronx", "2.13.3.0.1"),
            "absent",
            "not_installed",
            "2.13.3.0.1 is the native `neuron` device",
        ),
        (("inf2", "torch_neuronx", "1.0"), "broken", "import_failed", "torch-neuronx 1.0 is not AWS's"),
    ],
)
def test_the_probe_says_exactly_what_is_missing(machine, installed, status, code, words):
    probe = machine(*installed)
    assert (probe.status, probe.reason_code) == (status, code)
    assert words in probe.reason


@pytest.mark.parametrize("chip", ["inf2", "trn1", "trn2"])
def test_with_device_and_software_it_is_usable_and_named(machine, chip):
    probe = machine(chip, "torch_neuronx", "2.9.0.2.15.1", devices=2)
    assert (probe.status, probe.device) == ("usable", f"{CHIPS[chip][0]} ×2")
    assert probe.version == "torch-neuronx 2.9.0.2.15.1"


def test_training_is_unsupported_and_says_why():
    code, reason = ADAPTER.why_unsupported("train", "fp32")
    assert (code, "inference only" in reason) == ("phase_not_supported", True)
    assert ADAPTER.why_unsupported("infer", "fp32") is None
    assert ADAPTER.why_unsupported("infer", "bf16")[0] == "precision_not_supported"


class Traced:
    """What the fake gives for a compiled module: it computes on this CPU, and its graph says `neuron::forward_v2`."""

    def __init__(self, module, kinds, spoil):
        self.module, self.spoil = module, spoil
        self.inlined_graph = SimpleNamespace(nodes=lambda: [SimpleNamespace(kind=lambda kind=k: kind) for k in kinds])

    def __call__(self, *inputs):
        assert not torch.is_grad_enabled()
        return tuple(self.spoil(output) for output in self.module(*inputs))


@pytest.fixture
def neuronx(monkeypatch):
    """A fake torch_neuronx that remembers its calls; `kinds`, `spoil` and `error` say what goes wrong."""
    fake = ModuleType("torch_neuronx")
    fake.calls, fake.kinds, fake.spoil, fake.error = [], ("prim::Constant", "neuron::forward_v2"), lambda x: x, None

    def trace(func, example_inputs, *_, compiler_args=None, **more):
        fake.calls.append((func, example_inputs, compiler_args, more))
        if fake.error:
            raise fake.error
        return Traced(func, fake.kinds, fake.spoil)

    fake.trace = trace
    monkeypatch.setitem(sys.modules, "torch_neuronx", fake)
    monkeypatch.delitem(sys.modules, "backends._neuron", raising=False)
    for name in ("NEURON_CC_FLAGS", "NEURON_RT_VISIBLE_CORES"):
        monkeypatch.setenv(name, "")  # so that what the adapter sets is undone
        monkeypatch.delenv(name)
    yield fake
    sys.modules.pop("backends._neuron", None)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Returns request and expectation of a tiny workload's inference."""

    def make(name):
        workload = load(name, "tiny")
        folders = make_in(tmp_path_factory.mktemp("made"), workload, "infer")
        batches = tuple(data.make_batches(workload))
        parameters = data.make_parameters(workload)
        request = Request(workload, "infer", FP32, torch.get_num_threads(), 3, parameters=parameters, batches=batches)
        return request, load_expected(folders["expected"]), allowed_in(folders)

    return make


def verified(made, name="mlp"):
    request, expected, allowed = made(name)
    ADAPTER.load(with_threads(torch.get_num_threads()))
    step = ADAPTER.prepare(request)
    step.compile()
    columns, _ = verify_step(ADAPTER, step, request, expected, allowed)
    return request, step, columns


@pytest.mark.parametrize("name", MECHANISMS)
def test_what_it_runs_is_verified(neuronx, made, name):
    assert verified(made, name)[2]["verification"] == "passed"


def test_it_is_traced_once_without_casts_on_the_first_batch(neuronx, made):
    request, step, _ = verified(made)
    ((module, inputs, compiler_args, more),) = neuronx.calls
    assert (compiler_args, more) == (["--auto-cast", "none"], {})
    assert isinstance(module, torch.nn.Module)
    assert not module.training
    assert dict(module.named_parameters()).keys() == request.parameters.keys()
    assert [i.numpy().tobytes() for i in inputs] == [request.batches[0]["x"].tobytes()]
    assert step.effective().told()["visible_cores"] == "3"
    step.close()
    step.close()


def refusal(made):
    with pytest.raises(verify.Refused) as refused:
        verified(made)
    return refused.value.code, str(refused.value)


def test_operators_left_on_the_host_are_refused(neuronx, made):
    neuronx.kinds = ("neuron::forward_v2", "aten::linear")
    assert refusal(made) == (
        "effective_device",
        "asked for neuron, the runtime runs on neuron, and cpu for aten::linear",
    )


def test_a_graph_without_the_device_is_refused(neuronx, made):
    neuronx.kinds = ("aten::linear",)
    assert refusal(made) == ("effective_device", "asked for neuron, the runtime runs on cpu")


@pytest.mark.parametrize("flags", ["--auto-cast matmult", "--auto-cast=matmult --optlevel 1"])
def test_flags_of_the_environment_that_cast_are_refused(neuronx, made, monkeypatch, flags):
    monkeypatch.setenv("NEURON_CC_FLAGS", flags)
    assert refusal(made) == (
        "effective_precision",
        "asked for fp32, the runtime runs float32 with --auto-cast matmult/none",
    )


def test_outputs_of_another_type_are_refused(neuronx, made):
    neuronx.spoil = lambda x: x.half()
    assert refusal(made)[0] == "effective_precision"


def test_wrong_outputs_are_refused(neuronx, made):
    neuronx.spoil = lambda x: x.bfloat16().float()
    with pytest.raises(WrongResult, match="output"):
        verified(made)


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (RuntimeError('nrt_load status=4 message="Allocation Failure"'), True),
        (RuntimeError("Failure: NRT_RESOURCE in nrt_load()"), True),
        (MemoryError(), True),
        (RuntimeError('nrt_execute status=5 message="Timeout"'), False),
    ],
)
def test_out_of_memory_is_told_apart(neuronx, made, error, is_memory):
    neuronx.error = error
    with pytest.raises(type(error)) as raised:
        verified(made)
    assert ADAPTER.is_out_of_memory(raised.value) is is_memory
