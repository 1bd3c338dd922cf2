"""Who else computes on a device: counted before we are on it, because a container does not know its own numbers."""

import os
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

import backends
from backends import _nvidia
from bench.child.conditions import Watch, read
from bench.parent.verdict import of_launch
from tests.fakes.bench import CELL, faulty_suite, filled_cache
from tests.fakes.hardware import fake_nvml
from tests.fakes.shared import Shared

TORCH, JAX = backends.get("torch_cuda"), backends.get("jax_cuda")


@pytest.fixture
def with_nvml(monkeypatch):
    """Returns a function that installs a library of NVML."""

    def install(nvml):
        monkeypatch.setattr(_nvidia, "find_spec", lambda name: object())
        monkeypatch.setitem(sys.modules, "pynvml", nvml)

    return install


class Container:
    """NVML as drivers answer in a container: processes stand under their ids of the host."""

    def __init__(self, *others):
        self.listed = list(others)

    def nvml(self):
        return fake_nvml(
            nvmlDeviceGetComputeRunningProcesses=lambda handle: [SimpleNamespace(pid=p) for p in self.listed]
        )

    def watch(self, adapter):
        """Returns the columns of a launch in which our own context, process 31415 of the host, comes after `before`."""
        before = adapter.device_reading(0)
        self.listed.append(31415)
        watch = Watch(lambda: read([0], device=lambda: adapter.device_reading(0)), before)
        with watch:
            pass
        return watch.columns()


@pytest.mark.parametrize("adapter", [TORCH, JAX], ids=lambda adapter: adapter.name)
@pytest.mark.parametrize("others", [(), (815,), (815, 4711)])
def test_in_a_container_we_are_not_another_process(with_nvml, adapter, others):
    container = Container(*others)
    with_nvml(container.nvml())
    columns = container.watch(adapter)
    assert columns["device_other_processes"] == len(others)
    flags = of_launch({"status": "ok", **columns, "threads": 1}).flags
    assert ("device_shared" in flags) == bool(others)


def test_a_process_of_the_host_with_our_number_is_another(with_nvml):
    container = Container(os.getpid())
    with_nvml(container.nvml())
    assert container.watch(TORCH)["device_other_processes"] == 1


def test_a_cell_asks_for_the_others_before_it_is_on_the_device(tmp_path):
    """Through the child itself: the first reading comes before `load`, and what was there then is not ours."""
    suite = replace(faulty_suite(filled_cache(tmp_path / "cache"), tmp_path), find_adapter=lambda name: Shared())
    assert suite.run(CELL).columns["device_other_processes"] == 1


def test_children_of_its_group_are_no_other_processes(with_nvml):
    container = Container(815, 4711)
    with_nvml(container.nvml())
    before = TORCH.device_reading(0)
    container.listed.append(31415)
    for beside, others in ((0, 2), (2, 0), (1, 1), (9, 0)):
        watch = Watch(lambda: read([0], device=lambda: TORCH.device_reading(0)), before, beside)
        with watch:
            pass
        assert watch.columns()["device_other_processes"] == others
