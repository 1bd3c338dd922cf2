"""Which CPUs a cell gets: one per physical core, of the fastest kind first; and which others share their cores."""

import json
import os
from dataclasses import replace

import pytest

from host.topology import core_kinds, cpu_kind, cpu_list, siblings_of, usable_cpus
from results.record.schema import COLUMN
from tests.fakes.bench import CELL, faulty_suite, filled_cache


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Builds /sys of a machine, by CPU what each of its files says, and lets this process use some CPUs."""

    def build(allowed, lists=None, **files):
        for name, by_cpu in files.items():
            for cpu, text in by_cpu.items():
                file = tmp_path / f"sys/devices/system/cpu/cpu{cpu}" / name.replace("__", "/")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(f"{text}\n")
        for kind, text in (lists or {}).items():
            (tmp_path / "sys/devices" / kind).mkdir(parents=True)
            (tmp_path / "sys/devices" / kind / "cpus").write_text(f"{text}\n")
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(allowed), raising=False)
        return tmp_path

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
    assert usable_cpus(machine(allowed, topology__thread_siblings_list=siblings)) == expected


def test_without_affinity_all_cpus_are_usable(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert usable_cpus() == (0, 1, 2)


BIG_LITTLE = {0: 446, 1: 446, 2: 446, 3: 446, 4: 871, 5: 871, 6: 871, 7: 1024}
CLOCKS = {0: 2_000_000, 1: 2_000_000, 2: 5_000_000, 3: 5_100_000}


def test_the_cores_of_highest_capacity_come_first(machine):
    root = machine(range(8), cpu_capacity=BIG_LITTLE)
    assert usable_cpus(root) == (7, 4, 5, 6, 0, 1, 2, 3)
    assert cpu_kind(usable_cpus(root)[:1], root) == "capacity 1024"
    assert cpu_kind(usable_cpus(root)[:4], root) == "1 capacity 1024 + 3 capacity 871"


def test_the_cores_of_highest_clock_come_first_where_nothing_else_is_said(machine):
    root = machine(range(4), cpu_capacity=dict.fromkeys(range(4), 1024), cpufreq__cpuinfo_max_freq=CLOCKS)
    assert usable_cpus(root) == (2, 3, 0, 1)  # 2 % more clock are a favoured core, and no other kind
    assert cpu_kind((2, 3), root) == "up to 5.1 GHz"


@pytest.mark.parametrize(
    "lists",
    [{"cpu_core": "4-7", "cpu_atom": "0-3"}, {"cpu_core": "4-7", "cpu_atom": "2,3", "cpu_lowpower": "0-1"}],
)
def test_intels_performance_cores_come_first(machine, lists):
    siblings = {0: "0", 1: "1", 2: "2", 3: "3", 4: "4-5", 5: "4-5", 6: "6-7", 7: "6-7"}
    root = machine(range(8), lists, topology__thread_siblings_list=siblings)
    assert usable_cpus(root)[:2] == (4, 6)
    assert set(usable_cpus(root)) == {0, 1, 2, 3, 4, 6}
    assert cpu_kind((4, 6), root) == "performance"
    assert cpu_kind((2, 4, 6), root) == "2 performance + 1 efficiency"


def test_of_the_fast_cores_only_those_that_are_allowed(machine):
    assert usable_cpus(machine({1, 2, 6}, cpu_capacity=BIG_LITTLE)) == (6, 1, 2)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"cpu_capacity": dict.fromkeys(range(4), 1024)},
        {"cpufreq__cpuinfo_max_freq": {0: 5_700_000, 1: 6_000_000, 2: 5_700_000, 3: 5_600_000}},
        {"cpu_capacity": dict.fromkeys(range(4), "unknown")},
    ],
    ids=["nothing said", "one capacity", "favoured cores", "no number"],
)
def test_where_all_cores_are_alike_they_keep_their_order_and_have_no_kind(machine, files):
    root = machine(range(4), **files)
    assert (usable_cpus(root), core_kinds(root), cpu_kind((0, 1), root)) == ((0, 1, 2, 3), [], None)


def test_only_one_of_intels_lists_is_no_hybrid(machine):
    assert core_kinds(machine(range(4), {"cpu_core": "0-3"})) == []


def test_the_row_says_which_kind_of_core_was_used(tmp_path):
    assert COLUMN["cpu_kind"].kind == "text"
    suite = faulty_suite(filled_cache(tmp_path / "cache"), tmp_path)
    row = suite.run(replace(CELL, threads=1)).columns
    assert row["cpu_kind"] == cpu_kind(usable_cpus()[:1])
    assert json.loads(row["effective"])["cpus"] == 1


def test_who_shares_a_core_is_named(machine):
    root = machine(range(4), topology__thread_siblings_list={0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"})
    assert (siblings_of((0,), root), siblings_of((0, 1), root), siblings_of((0, 2), root)) == ((2,), (2, 3), ())
    assert siblings_of((7,), root) == ()


@pytest.mark.parametrize(("text", "cpus"), [("0-2,5", (0, 1, 2, 5)), ("7\n", (7,)), ("", ()), ("a-b,3", (3,))])
def test_the_kernels_lists_are_read(text, cpus):
    assert cpu_list(text) == cpus
