"""What is seen of NVIDIA's GPUs without starting one: files, versions, NVML, and what an error says."""

import importlib.util
import sys
from types import SimpleNamespace

import pytest
import torch

import backends
from backends import _nvidia
from backends.base import DeviceReading, EnergyUnavailable
from tests.fakes.hardware import NVMLError, fake_gpu_files, fake_nvml

TORCH, JAX = backends.get("torch_cuda"), backends.get("jax_cuda")


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


@pytest.mark.parametrize("name", ["torch_cuda", "torch_compile_cuda", "jax_cuda"])
def test_energy_is_that_of_the_visible_board(monkeypatch, tmp_path, installed, name):
    installed(tmp_path, "pynvml")
    millijoules = {"first": 1_000, "second": 2_500}
    monkeypatch.setitem(
        sys.modules, "pynvml", fake_nvml(nvmlDeviceGetTotalEnergyConsumption=lambda handle: millijoules[handle])
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,GPU-2")
    counter = backends.get(name).energy_counter(1)
    assert (counter.origin, counter.read_j(), counter.range_j) == ("NVML board", 2.5, 0.0)


def test_energy_that_nvml_does_not_tell(monkeypatch, tmp_path, installed):
    installed(tmp_path)
    with pytest.raises(EnergyUnavailable, match=r"NVML's library is not installed: pip install nvidia-ml-py"):
        TORCH.energy_counter(0)
    installed(tmp_path, "pynvml")
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(nvmlInit=unknown))
    with pytest.raises(EnergyUnavailable, match="NVML does not answer: Not Found"):
        TORCH.energy_counter(0)
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(nvmlDeviceGetTotalEnergyConsumption=unknown))
    with pytest.raises(EnergyUnavailable, match="NVML does not tell the board's energy: Not Found"):
        TORCH.energy_counter(0).read_j()


def test_jax_out_of_memory():
    assert JAX.is_out_of_memory(RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes"))
    assert not JAX.is_out_of_memory(RuntimeError("INTERNAL: CUDA_ERROR_LAUNCH_FAILED"))
