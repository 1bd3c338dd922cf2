"""The adapters of NVIDIA GPUs up to the last line before the device, which is a fake."""

import importlib.util
import os
import sys
from types import SimpleNamespace

import jax
import pytest
import torch

import backends
from backends import _jax, _nvidia, _torch, torch_cuda
from backends.base import DeviceReading
from bench.verify import Refused
from tests.fakes.hardware import FakeEvent, NVMLError, Prepared, fake_cuda, fake_gpu_files, fake_nvml, kept_switches

TORCH, JAX = backends.get("torch_cuda"), backends.get("jax_cuda")


@pytest.fixture(scope="module", params=["infer", "train"])
def prepared(request, tmp_path_factory):
    return Prepared("mlp", request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(autouse=True)
def switches_given_back():
    with kept_switches():
        yield


@pytest.fixture
def installed(monkeypatch):
    """Returns a function that says which modules are installed, and with what text of `torch/version.py`."""

    def install(folder, *modules, version_py=None):
        (folder / "version.py").write_text(version_py or "")

        def find_spec(name):
            return SimpleNamespace(origin=str(folder / "__init__.py")) if name in modules else None

        for module in (_nvidia, sys.modules["backends.jax_cuda"], sys.modules["backends.torch_compile_cuda"]):
            monkeypatch.setattr(module, "find_spec", find_spec)

    backends.get("torch_compile_cuda")
    return install


def probed(adapter):
    probe = adapter.probe()
    return probe.status, probe.reason_code, probe.reason


CUDA_BUILD = "__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n"


@pytest.mark.parametrize("name", ["torch_cuda", "jax_cuda", "torch_compile_cuda"])
def test_without_device_files_there_is_no_gpu(monkeypatch, tmp_path, name):
    fake_gpu_files(monkeypatch, tmp_path)
    status, code, reason = probed(backends.get(name))
    assert (status, code) == ("absent", "no_device")
    assert "/dev/nvidia0" in reason


@pytest.mark.parametrize("hidden", ["", "-1", "NoDevFiles"])
def test_a_hidden_gpu_is_absent(monkeypatch, tmp_path, hidden):
    fake_gpu_files(monkeypatch, tmp_path, "dev/nvidia0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert probed(TORCH) == ("absent", "no_device", "CUDA_VISIBLE_DEVICES hides every NVIDIA GPU: unset it")


@pytest.mark.parametrize("file", _nvidia.DEVICE_FILES)
def test_torch_that_is_not_installed(monkeypatch, tmp_path, installed, file):
    fake_gpu_files(monkeypatch, tmp_path, file)
    installed(tmp_path)
    assert probed(TORCH) == ("absent", "not_installed", "torch is not installed: pip install -e '.[cuda]'")


@pytest.mark.parametrize("text", ["cuda: Optional[str] = None\n", "cuda = None\n", ""])
def test_a_torch_without_cuda_says_what_to_install(monkeypatch, tmp_path, installed, text):
    fake_gpu_files(monkeypatch, tmp_path, "dev/nvidia0")
    installed(tmp_path, "torch", version_py=text)
    monkeypatch.setattr(_nvidia, "version", lambda name: "2.13.0+cpu")
    status, code, reason = probed(TORCH)
    assert (status, code) == ("absent", "not_installed")
    assert reason.startswith("torch 2.13.0+cpu is built without CUDA: pip uninstall torch, then pip install torch")


@pytest.mark.parametrize("text", [CUDA_BUILD, "cuda = '13.0'\n", ""])
def test_a_torch_with_cuda_is_usable(monkeypatch, tmp_path, installed, text):
    fake_gpu_files(monkeypatch, tmp_path, "dev/nvidia0")
    installed(tmp_path, "torch", version_py=text)
    monkeypatch.setattr(_nvidia, "version", lambda name: "2.13.0+cu130")
    probe = TORCH.probe()
    assert (probe.status, probe.version) == ("usable", f"torch 2.13.0+cu130 CUDA {'13.0' if text else '130'}")


def test_the_installed_torch_is_read_without_importing_it():
    assert _nvidia.torch_cuda_version() == torch.version.cuda


def test_nothing_is_imported_to_look_for_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.version", None)
    assert importlib.util.find_spec("torch") is not None
    assert _nvidia.torch_cuda_version() == torch.version.cuda


@pytest.mark.parametrize(
    ("visible", "device"),
    [
        (None, "NVIDIA first (driver 580.95.05, compute capability 9.0)"),
        ("1,0", "NVIDIA second (driver 580.95.05, compute capability 8.6)"),
        ("GPU-2", "NVIDIA second (driver 580.95.05, compute capability 8.6)"),
    ],
)
def test_nvml_names_the_visible_gpu(monkeypatch, tmp_path, installed, visible, device):
    fake_gpu_files(monkeypatch, tmp_path, "dev/nvidia0")
    installed(tmp_path, "pynvml")
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert _nvidia.probe_gpu().device == device


def failing(*_):
    raise NVMLError("Driver/library version mismatch")


@pytest.mark.parametrize("function", ["nvmlInit", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetName"])
@pytest.mark.parametrize("adapter", [TORCH, JAX], ids=lambda adapter: adapter.name)
def test_a_driver_that_does_not_answer_is_broken(monkeypatch, tmp_path, installed, adapter, function):
    fake_gpu_files(monkeypatch, tmp_path, "dev/nvidia0")
    installed(tmp_path, "pynvml", "torch", "jax", "jax_cuda13_plugin", version_py=CUDA_BUILD)
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(**{function: failing}))
    status, code, reason = probed(adapter)
    assert (status, code) == ("broken", "start_failed")
    assert "Driver/library version mismatch" in reason


def test_a_driver_without_a_gpu_is_absent(monkeypatch, tmp_path, installed):
    fake_gpu_files(monkeypatch, tmp_path, "dev/nvidiactl")
    installed(tmp_path, "pynvml")
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(nvmlDeviceGetCount=lambda: 0))
    assert probed(TORCH)[:2] == ("absent", "no_device")


def test_without_nvml_the_drivers_files_name_the_gpu(monkeypatch, tmp_path, installed):
    fake_gpu_files(
        monkeypatch,
        tmp_path,
        "dev/nvidia0",
        "proc/driver/nvidia/version",
        "proc/driver/nvidia/gpus/0000:00:1e.0/information",
    )
    installed(tmp_path)
    assert _nvidia.probe_gpu().device == "NVIDIA GPU (driver unknown)"
    (tmp_path / "proc/driver/nvidia/version").write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\nGCC version: 12\n"
    )
    (tmp_path / "proc/driver/nvidia/gpus/0000:00:1e.0/information").write_text("Model: \t\t NVIDIA A100\nIRQ: 1\n")
    assert _nvidia.probe_gpu().device == "NVIDIA A100 (driver 535.104.05)"


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ((), ("absent", "jax is not installed: pip install -e '.[cuda]'")),
        (("jax",), ("absent", "JAX's CUDA plugin (jax_cuda13_plugin or jax_cuda12_plugin) is not installed: pip ")),
        (("jax", "jax_cuda12_plugin"), ("usable", "")),
        (("jax", "jax_cuda13_plugin"), ("usable", "")),
    ],
)
def test_jax_needs_its_plugin(monkeypatch, tmp_path, installed, modules, expected):
    fake_gpu_files(monkeypatch, tmp_path, "dev/nvidia0")
    installed(tmp_path, *modules)
    status, _, reason = probed(JAX)
    assert (status, reason[: len(expected[1])]) == expected


def loaded_torch_step(monkeypatch, prepared, **cuda):
    fake_cuda(monkeypatch, **cuda)
    TORCH.load(torch.get_num_threads())
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
    }.items() <= step.effective().items()


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
    assert step.effective()["precision"] == "fp32"
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


@pytest.mark.parametrize("name", ["torch_cuda", "torch_compile_cuda"])
def test_out_of_memory_is_told_from_other_errors(name):
    adapter = backends.get(name)
    assert adapter.is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert adapter.is_out_of_memory(RuntimeError("CUDA out of memory."))
    assert adapter.is_out_of_memory(MemoryError())
    assert not adapter.is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))


@pytest.mark.parametrize("name", ["torch_cuda", "torch_compile_cuda"])
@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes",
    ],
)
def test_every_librarys_out_of_memory_is_known(name, text):
    assert backends.get(name).is_out_of_memory(RuntimeError(text))


@pytest.mark.parametrize("name", ["torch_cuda", "torch_compile_cuda", "jax_cuda"])
def test_a_lost_device_is_told_from_other_errors(name):
    adapter = backends.get(name)
    assert adapter.is_lost(RuntimeError("NVML: GPU is lost"))
    assert adapter.is_lost(RuntimeError("CUDA error: uncorrectable ECC error encountered"))
    assert not adapter.is_lost(RuntimeError("CUDA error: device-side assert triggered"))


def test_asking_for_the_error_imports_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "backends._torch_cuda", raising=False)
    assert not TORCH.is_out_of_memory(ImportError("libcudnn.so.9: cannot open shared object file"))


def unknown(*_):
    raise NVMLError("Not Found")


@pytest.mark.parametrize(
    ("visible", "status"), [("all", "absent"), ("7", "absent"), ("GPU-8932f937", "usable"), ("MIG-1", "usable")]
)
def test_what_cuda_visible_devices_names(monkeypatch, tmp_path, installed, visible, status):
    fake_gpu_files(monkeypatch, tmp_path, "dev/nvidia0")
    installed(tmp_path, "pynvml")
    lookups = {"nvmlDeviceGetHandleByUUID": unknown, "nvmlDeviceGetHandleByIndex": unknown}
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(**lookups))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    probe = _nvidia.probe_gpu()
    assert probe.status == status
    if status == "absent":
        assert f"CUDA_VISIBLE_DEVICES={visible} names no GPU here (Not Found)" in probe.reason


@pytest.mark.parametrize("adapter", [TORCH, JAX], ids=lambda adapter: adapter.name)
def test_what_the_driver_says_while_it_runs(monkeypatch, tmp_path, installed, adapter):
    installed(tmp_path, "pynvml")
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())
    assert adapter.device_reading(0) == DeviceReading(
        clock_hz=1.98e9,
        temperature_c=54,
        throttle_reasons=("hw_thermal", "sw_power_cap"),
        throttled_s=3.0,
        power_capped_s=5.0,
        other_processes=1,
        memory_errors=4,
    )


def test_a_question_that_a_device_does_not_support_has_no_answer(monkeypatch, tmp_path, installed):
    installed(tmp_path, "pynvml")
    asked = ("ClockInfo", "CurrentClocksEventReasons", "ComputeRunningProcesses", "TotalEccErrors", "Temperature")
    answers = {f"nvmlDeviceGet{name}": unknown for name in (*asked, "ViolationStatus")}
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(**answers))
    assert TORCH.device_reading(0) == DeviceReading()


def test_without_nvml_nothing_is_read(monkeypatch, tmp_path, installed):
    installed(tmp_path)
    assert TORCH.device_reading(0) is None
    installed(tmp_path, "pynvml")
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(nvmlInit=unknown))
    assert TORCH.device_reading(0) is None


def test_jax_out_of_memory():
    assert JAX.is_out_of_memory(RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes"))
    assert not JAX.is_out_of_memory(RuntimeError("INTERNAL: CUDA_ERROR_LAUNCH_FAILED"))


def test_loading_jax_leaves_it_no_other_platform(monkeypatch):
    updated = {}
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "true")
    monkeypatch.setattr(jax.config, "update", updated.__setitem__)
    JAX.load(1)
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


@pytest.mark.parametrize("precision", ["tensorfloat32", "default"])
def test_jax_in_tf32_is_refused(monkeypatch, prepared, jax_step, precision):
    monkeypatch.setattr(_jax, "device_kind", lambda device: "cuda")
    with jax.default_matmul_precision(precision), pytest.raises(Refused, match=f"with {precision} matmul"):
        prepared.verify(JAX, jax_step)


def test_the_peak_that_the_device_reports_is_in_the_row(jax_step):
    assert "device_peak_memory_bytes" not in jax_step.effective()
    jax_step.device = SimpleNamespace(
        memory_stats=lambda: {"peak_bytes_in_use": 4096, "bytes_in_use": 1},
        device_kind="NVIDIA H100",
        client=SimpleNamespace(platform_version="PJRT C API\ncuda 13000"),
    )
    said = jax_step.effective()
    assert [said[key] for key in ("device_peak_memory_bytes", "device_name", "platform_version")] == [
        4096,
        "NVIDIA H100",
        "PJRT C API cuda 13000",
    ]


def test_the_declaration_is_of_one_gpu():
    assert (torch_cuda.TorchCuda.device_kind, TORCH.serial_phases, JAX.serial_phases) == ("cuda", (), ())
