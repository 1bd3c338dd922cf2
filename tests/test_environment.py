"""What a child is given before it starts: variables, threads, CPUs."""

import json
from dataclasses import replace

import pytest

from bench.parent import environment
from bench.parent.environment import CLEARED_PREFIXES, THREAD_VARIABLES, child_environment, usable_cpus
from tests.fakes.bench import CELL, faulty_suite, filled_cache


def test_a_child_has_our_thread_counts():
    given = child_environment(dict.fromkeys(THREAD_VARIABLES, "64"), 2)
    assert {name: given[name] for name in THREAD_VARIABLES} == dict.fromkeys(THREAD_VARIABLES, "2")


@pytest.mark.parametrize("prefix", CLEARED_PREFIXES)
def test_what_steers_a_framework_is_cleared(prefix):
    assert f"{prefix}ANYTHING" not in child_environment({f"{prefix}ANYTHING": "1"}, 1)


@pytest.mark.parametrize(
    "name",
    ["KMP_AFFINITY", "OMP_PROC_BIND", "MKL_DYNAMIC", "XLA_FLAGS", "JAX_PLATFORMS", "JAX_ENABLE_X64", "ONEDNN_VERBOSE"],
)
def test_well_known_switches_are_among_them(name):
    assert name not in child_environment({name: "1"}, 1)


def test_everything_else_is_passed_on():
    parent = {"PATH": "/bin", "HOME": "/root", "SAMESTEP_CACHE": "/cache", "CUDA_VISIBLE_DEVICES": "0"}
    assert child_environment(parent, 1).items() >= parent.items()


def test_hashes_are_the_same_in_every_child():
    assert child_environment({"PYTHONHASHSEED": "random"}, 1)["PYTHONHASHSEED"] == "0"


def test_the_parent_keeps_its_own():
    parent = {"OMP_NUM_THREADS": "64"}
    child_environment(parent, 1)
    assert parent == {"OMP_NUM_THREADS": "64"}


@pytest.mark.parametrize("threads", [1, len(usable_cpus())])
def test_a_cell_runs_with_its_threads_on_as_many_cpus(tmp_path, monkeypatch, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    suite = faulty_suite(filled_cache(tmp_path / "cache"), tmp_path)
    effective = json.loads(suite.run(replace(CELL, threads=threads)).columns["effective"])
    assert (effective["omp_num_threads"], effective["cpus"]) == (str(threads), threads)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Builds /sys of a machine whose cores have the given sibling lists, and lets this process use some CPUs."""

    def build(siblings, allowed):
        for cpu, text in siblings.items():
            folder = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/topology"
            folder.mkdir(parents=True)
            (folder / "thread_siblings_list").write_text(f"{text}\n")
        monkeypatch.setattr(environment, "Path", lambda path: tmp_path / path.lstrip("/"))
        monkeypatch.setattr(environment.os, "sched_getaffinity", lambda pid: set(allowed))

    return build


@pytest.mark.parametrize(
    ("siblings", "allowed", "expected"),
    [
        ({0: "0", 1: "1"}, {0, 1}, (0, 1)),
        ({0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}, {0, 1, 2, 3}, (0, 1)),
        ({0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}, {0, 1, 2, 3}, (0, 2)),
        ({0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}, {1, 3}, (1, 3)),
        ({0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}, {3}, (3,)),
        ({}, {5, 4}, (4, 5)),
    ],
    ids=["no siblings", "far siblings", "near siblings", "second siblings", "one CPU", "no topology"],
)
def test_one_cpu_per_physical_core_that_is_allowed(machine, siblings, allowed, expected):
    machine(siblings, allowed)
    assert usable_cpus() == expected


def test_without_affinity_all_cpus_are_usable(monkeypatch):
    monkeypatch.delattr(environment.os, "sched_getaffinity")
    monkeypatch.setattr(environment.os, "cpu_count", lambda: 3)
    assert usable_cpus() == (0, 1, 2)
