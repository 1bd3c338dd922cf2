"""The adapters of NVIDIA GPUs from loading to the last line before the device, which is a fake."""

import os
from types import SimpleNamespace

import jax
import pytest
import torch

import backends
from backends import _jax, _torch, _torch_transfer, torch_cuda
from bench.child.checks.proof import WrongResult
from bench.child.checks.verify import Refused
from tests.fakes.hardware import FakeEvent, Prepared, fake_cuda, kept_switches
from tests.fakes.steps import with_threads
from workloads.models._transfer import TRANSFER
from workloads.precision import precision_of

TORCH, JAX = backends.get("torch_cuda"), backends.get("jax_cuda")


@pytest.fixture(scope="module", params=["infer", "train"])
def prepared(request, tmp_path_factory):
    return Prepared("mlp", request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(autouse=True)
def switches_given_back():
    with kept_switches():
        yield


def loaded_torch_step(monkeypatch, prepared, **cuda):
    fake_cuda(monkeypatch, **cuda)
    TORCH.load(with_threads(torch.get_num_threads()))
    return TORCH.prepare(prepared.request)


def test_torch_step_on_a_fake_device_passes(monkeypatch, prepared):
    step = loaded_torch_step(monkeypatch, prepared)
    assert prepared.verify(TORCH, step)["verification"] == "passed"
    assert {
        "device": "cuda",
        "precision": "fp32",
        "cuda_matmul_fp32_precision": "ieee",
        "cudnn_conv_fp32_precision": "ieee",
        "device_name": "NVIDIA H100 80GB HBM3",
        "compute_capability": "9.0",
        "device_peak_memory_bytes": 123456,
    }.items() <= step.effective().told().items()


def test_device_time_is_that_between_the_steps_events(monkeypatch, prepared):
    step = loaded_torch_step(monkeypatch, prepared)
    before = FakeEvent.clock
    step.step(0)
    assert FakeEvent.clock == before  # what is timed by the host has no events in it
    assert step.device_step(1) == 1e-3


def test_a_mark_is_an_event_that_is_waited_for_alone(monkeypatch, prepared):
    step = loaded_torch_step(monkeypatch, prepared)
    step.step(0)
    first = step.mark()
    step.step(1)
    step.wait(first)
    assert FakeEvent.waited == (first.at,)


def test_sync_waits_for_the_steps_device(monkeypatch, prepared):
    waited = []
    loaded_torch_step(monkeypatch, prepared, synchronize=waited.append).sync()
    assert waited == [torch.device("cuda", 0)]


@pytest.mark.parametrize("switches", [torch.backends.cuda.matmul, torch.backends.cudnn.conv], ids=["matmul", "conv"])
@pytest.mark.parametrize("value", ["tf32", "none"])
def test_tf32_left_on_is_refused(monkeypatch, prepared, switches, value):
    step = loaded_torch_step(monkeypatch, prepared)
    switches.fp32_precision = value
    with pytest.raises(Refused, match=f"fp32_precision {value}") as refusal:
        prepared.verify(TORCH, step)
    assert refusal.value.code == "effective_precision"


def test_tf32_forced_by_the_environment_is_refused(monkeypatch, prepared):
    step = loaded_torch_step(monkeypatch, prepared)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert step.effective().told()["precision"] == "fp32"
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    with pytest.raises(Refused, match="float32 with NVIDIA_TF32_OVERRIDE 1"):
        prepared.verify(TORCH, step)


def test_tensors_that_lie_on_the_cpu_are_refused(monkeypatch, prepared):
    device_types = _torch.device_types
    step = loaded_torch_step(monkeypatch, prepared)
    monkeypatch.setattr(_torch, "device_types", device_types)
    with pytest.raises(Refused, match="asked for cuda, the runtime runs on cpu") as refusal:
        prepared.verify(TORCH, step)
    assert refusal.value.code == "effective_device"


def test_torch_without_a_device_raises_and_takes_no_other(monkeypatch, prepared):
    fake_cuda(monkeypatch, is_available=lambda: False)
    with pytest.raises(RuntimeError, match="sees no CUDA device"):
        TORCH.prepare(prepared.request)
    fake_cuda(monkeypatch, device_count=lambda: 0)
    with pytest.raises(RuntimeError, match="asked for CUDA device 0; torch sees 0"):
        TORCH.prepare(prepared.request)


def test_a_lost_device_is_raised_by_sync_and_is_not_out_of_memory(monkeypatch, prepared):
    def lost(device):
        raise RuntimeError("CUDA error: unspecified launch failure")

    step = loaded_torch_step(monkeypatch, prepared, synchronize=lost)
    with pytest.raises(RuntimeError, match="unspecified launch failure") as error:
        prepared.verify(TORCH, step)
    assert not TORCH.is_out_of_memory(error.value)


def test_loading_jax_leaves_it_no_other_platform(monkeypatch):
    updated = {}
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "true")
    monkeypatch.setattr(jax.config, "update", updated.__setitem__)
    JAX.load(with_threads(1))
    assert updated == {"jax_platforms": "cuda", "jax_default_matmul_precision": "highest"}
    assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"


def test_jax_without_a_gpu_raises(prepared):
    with pytest.raises(RuntimeError, match="cuda"):
        JAX.prepare(prepared.request)


def test_a_jax_device_that_is_not_there_is_named(monkeypatch, prepared):
    monkeypatch.setattr(jax, "devices", lambda platform: [])
    with pytest.raises(RuntimeError, match="asked for cuda device 0; JAX sees 0"):
        JAX.prepare(prepared.request)


@pytest.mark.parametrize(
    ("platform", "version", "kind"),
    [
        ("gpu", "PJRT C API\ncuda 13000", "cuda"),
        ("gpu", "rocm 70000", "rocm"),
        ("gpu", "something else", "gpu"),
        ("cpu", "cuda", "cpu"),
        ("tpu", "PJRT C API\nTFRT TPU v5 lite", "tpu"),
    ],
)
def test_the_kind_of_a_jax_device(platform, version, kind):
    device = SimpleNamespace(platform=platform, client=SimpleNamespace(platform_version=version))
    assert _jax.device_kind(device) == kind


@pytest.fixture
def jax_step(monkeypatch, prepared):
    """A step of `jax_cuda` whose device is in truth the CPU."""
    (cpu,) = jax.devices("cpu")[:1]
    monkeypatch.setattr(jax, "devices", lambda platform: [cpu])
    step = JAX.prepare(prepared.request)
    with jax.default_matmul_precision("highest"):
        step.compile()
        yield step


def test_jax_on_the_cpu_is_refused(prepared, jax_step):
    with pytest.raises(Refused, match="asked for cuda, the runtime runs on cpu"):
        prepared.verify(JAX, jax_step)


def test_jax_step_on_a_fake_device_passes(monkeypatch, prepared, jax_step):
    monkeypatch.setattr(_jax, "device_kind", lambda device: "cuda")
    assert prepared.verify(JAX, jax_step)["verification"] == "passed"


@pytest.mark.parametrize("precision", JAX.precisions[1:])
def test_jax_in_each_precision_on_a_fake_device_passes(monkeypatch, tmp_path, precision):
    prepared = Prepared("mlp", "infer", tmp_path, precision_of(precision))
    here = jax.devices("cpu")[:1]
    monkeypatch.setattr(jax, "devices", lambda platform: here)
    monkeypatch.setattr(_jax, "device_kind", lambda device: "cuda")
    step = JAX.prepare(prepared.request)
    with jax.default_matmul_precision("tensorfloat32" if precision == "tf32" else "highest"):
        step.compile()
        assert prepared.verify(JAX, step)["verification"] == "passed"
        told = step.effective().told()
    assert told["precision"] == precision
    assert ("arithmetic" in told) == (precision != "tf32")


@pytest.mark.parametrize("precision", ["tensorfloat32", "default"])
def test_jax_in_tf32_is_refused(monkeypatch, prepared, jax_step, precision):
    monkeypatch.setattr(_jax, "device_kind", lambda device: "cuda")
    with jax.default_matmul_precision(precision), pytest.raises(Refused, match=f"with {precision} matmul"):
        prepared.verify(JAX, jax_step)


def test_the_peak_that_the_device_reports_is_in_the_row(jax_step):
    assert "device_peak_memory_bytes" not in jax_step.effective().told()
    jax_step.device = SimpleNamespace(
        memory_stats=lambda: {"peak_bytes_in_use": 4096, "bytes_in_use": 1},
        device_kind="NVIDIA H100",
        client=SimpleNamespace(platform_version="PJRT C API\ncuda 13000"),
    )
    said = jax_step.effective().told()
    assert [said[key] for key in ("device_peak_memory_bytes", "device_name", "platform_version")] == [
        4096,
        "NVIDIA H100",
        "PJRT C API cuda 13000",
    ]


def test_the_declaration_is_of_one_gpu():
    assert (torch_cuda.TorchCuda.device_kind, TORCH.overlap, JAX.overlap) == ("cuda", "all", "all")


@pytest.fixture(params=["host_to_device", "device_to_host"])
def transferred(request, monkeypatch, tmp_path):
    """Returns what was made for a copy, and the step on a fake device, whose host has no page-locked memory."""
    prepared = Prepared(request.param, TRANSFER, tmp_path)
    fake_cuda(monkeypatch)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(torch, "empty_like", lambda like, pin_memory: torch.zeros(like.shape, dtype=like.dtype))
    monkeypatch.setattr(_torch_transfer, "device_types", lambda tensors: "cuda")
    TORCH.load(with_threads(torch.get_num_threads()))
    return prepared, TORCH.prepare(prepared.request)


def test_a_copy_on_a_fake_device_passes(transferred):
    prepared, step = transferred
    assert prepared.verify(TORCH, step)["verification"] == "passed"
    assert step.effective().told()["host_memory"] == "page-locked"


def test_a_copy_is_of_the_one_batch_after_the_other_and_ends_where_it_should(transferred):
    prepared, step = transferred
    step.step(0)
    step.step(1)
    (y,) = step.outputs().values()
    assert (y == prepared.request.batches[1]["x"]).all()
    is_to_device = prepared.request.workload.name == "host_to_device"
    assert (step.of_device is step.arrived) == is_to_device


def test_a_copy_that_is_left_out_is_refused(transferred):
    prepared, step = transferred
    first = step.sources[0]
    step.sources = [first, first]
    with pytest.raises(WrongResult):
        prepared.verify(TORCH, step)


@pytest.mark.parametrize(
    ("name", "precision", "why"),
    [
        ("torch_cpu", "fp32", "torch_cpu copies nothing between host and device: its device is the host"),
        (
            "jax_cuda",
            "fp32",
            "jax_cuda copies nothing between host and device: its adapter has no step that only copies",
        ),
        ("torch_cuda", "fp8", "bytes are copied, whatever they stand for: in fp32 alone"),
    ],
)
def test_what_copies_nothing_says_why(monkeypatch, name, precision, why):
    monkeypatch.setattr(torch_cuda, "why_too_old", lambda name, precision: None)
    assert backends.get(name).why_unsupported(TRANSFER, precision)[1].endswith(why)
