"""Devices that are not here: PCI folders, NVML and `torch.cuda` as they are documented, with CPU tensors behind."""

from __future__ import annotations

import os
from contextlib import contextmanager
from types import SimpleNamespace

import torch

from backends import _nvidia, _torch
from backends.base import Request
from bench.child.checks.proof import verify_step
from bench.child.expected import load_expected
from tests.fakes.steps import allowed_in, make_in
from workloads import data
from workloads.arrays import PARAMETERS_FILE, map_arrays
from workloads.catalog import load
from workloads.precision import FP32


class Prepared:
    """A workload of tiny size, ready to be given to an adapter, with what it shall compute."""

    def __init__(self, name, phase, folder, precision=FP32):
        self.workload = load(name, "tiny")
        folders = make_in(folder, self.workload, phase, precision=precision)
        self.expected, self.allowed = load_expected(folders["expected"]), allowed_in(folders, precision)
        parameters, batches = map_arrays(folders["parameters"] / PARAMETERS_FILE), data.make_batches(self.workload)
        self.request = Request(
            self.workload,
            phase,
            precision,
            torch.get_num_threads(),
            parameters=parameters,
            batches=tuple(batches),
        )

    def verify(self, adapter, step):
        """Returns verification's columns of `step`, as a cell would."""
        return verify_step(adapter, step, self.request, self.expected, self.allowed)[0]


class FakeEvent:
    """An event that counts when it is recorded; one count is a millisecond."""

    clock = 0
    waited = ()

    def __init__(self, enable_timing=False):
        self.enable_timing = enable_timing

    def record(self):
        FakeEvent.clock += 1
        self.at = FakeEvent.clock

    def elapsed_time(self, end):
        assert self.enable_timing
        return float(end.at - self.at)

    def synchronize(self):
        FakeEvent.waited += (self.at,)


def fake_cuda(monkeypatch, **changes):
    """Puts a CUDA device into torch, on which tensors lie that compute on the CPU."""
    device = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "Event": FakeEvent,
        "synchronize": lambda device: None,
        "set_device": lambda device: None,
        "get_device_capability": lambda device: (9, 0),
        "get_device_name": lambda device: "NVIDIA H100 80GB HBM3",
        "max_memory_allocated": lambda device: 123456,
    }
    monkeypatch.setattr(FakeEvent, "waited", ())
    for name, value in (device | changes).items():
        monkeypatch.setattr(torch.cuda, name, value)
    place = _torch.to_torch
    monkeypatch.setattr(_torch, "to_torch", lambda array, device: place(array, torch.device("cpu")))
    monkeypatch.setattr(_torch, "device_types", lambda tensors: "cuda")


@contextmanager
def kept_switches():
    """Gives torch's precision switches back at the end."""
    both = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = [switches.fp32_precision for switches in both]
    try:
        yield
    finally:
        for switches, value in zip(both, before, strict=True):
            switches.fp32_precision = value


class NVMLError(Exception):
    """As `pynvml.NVMLError`."""


def fake_nvml(**changes):
    """Returns a module with those functions of `pynvml` that are used."""

    def capability(handle):
        return {"first": (9, 0), "second": (8, 6)}[handle]

    functions = {
        "NVMLError": NVMLError,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda i: ("first", "second")[i],
        "nvmlDeviceGetHandleByUUID": lambda uuid: {"GPU-2": "second"}[uuid],
        "nvmlDeviceGetCudaComputeCapability": capability,
        "nvmlSystemGetDriverVersion": lambda: "580.95.05",
        "nvmlDeviceGetName": lambda handle: f"NVIDIA {handle}",
        "nvmlDeviceGetClockInfo": lambda handle, kind: 1980,
        "nvmlDeviceGetTemperature": lambda handle, kind: 54,
        "nvmlDeviceGetCurrentClocksEventReasons": lambda handle: 0x44,
        "nvmlDeviceGetComputeRunningProcesses": lambda handle: [SimpleNamespace(pid=p) for p in (os.getpid(), 1)],
        "nvmlDeviceGetViolationStatus": lambda handle, kind: SimpleNamespace(violationTime=kind * 10**9),
        "nvmlDeviceGetTotalEccErrors": lambda handle, kind, counter: 4,
    }
    constants = {
        "NVML_CLOCK_SM": 1,
        "NVML_TEMPERATURE_GPU": 0,
        "NVML_PERF_POLICY_POWER": 5,
        "NVML_PERF_POLICY_THERMAL": 1,
        "NVML_PERF_POLICY_RELIABILITY": 2,
        "NVML_MEMORY_ERROR_TYPE_UNCORRECTED": 1,
        "NVML_VOLATILE_ECC": 0,
    }
    return SimpleNamespace(**constants | functions | changes)


def fake_gpu_files(monkeypatch, root, *files):
    """Lets the probe look for a GPU below `root`, in which `files` lie."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(_nvidia.probe_gpu, "__defaults__", (root,))
