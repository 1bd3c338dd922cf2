"""What must not be lost, overwritten, believed or run: whole files, caches of our own, quiet interpreters."""

import json
import os
import re
import signal
import stat
import sys
from pathlib import Path

import pytest

from backends.base import Request
from bench.child import trial
from bench.child.checks.verify import Refused
from bench.parent.cache import Cache, UnsafeCache
from bench.parent.children import child as children
from bench.parent.verdict import FLAGS
from host.machine import describe_machine, describe_software
from results.record.files import AtomicPath, ResultsError
from results.record.run import find_runs, read_run
from tests.fakes.bench import CELL, faulty_suite, filled_cache
from tests.fakes.door import bench
from workloads import data
from workloads.catalog import load
from workloads.precision import FP32

ROOT = Path(__file__).resolve().parent.parent


def test_what_another_wrote_is_put_in_its_place_whole(tmp_path):
    target = tmp_path / "out.json"
    target.write_text("old")
    path = AtomicPath(target)
    with open(path, "wb") as file:  # noqa: PTH123 - as pytest-benchmark opens it
        file.write(b"new")
    assert (str(path), target.read_text()) == (str(target), "old")
    path.commit("nothing")
    assert (target.read_text(), [p.name for p in tmp_path.iterdir()]) == ("new", ["out.json"])


def test_a_stale_file_is_never_taken_for_this_runs(tmp_path):
    (tmp_path / "out.json").write_text("of last night")
    AtomicPath(tmp_path / "out.json").commit("nothing was measured")
    assert (tmp_path / "out.json").read_text() == "nothing was measured"


def test_a_place_that_cannot_be_written_is_refused_at_the_begin(tmp_path):
    with pytest.raises(ResultsError, match="is no folder, or cannot be written to"):
        AtomicPath(tmp_path / "nowhere" / "out.json")
    given = ("--preset", "smoke", "--backends", "null", "--results-dir", "runs", "--benchmark-json", "nowhere/out.json")
    done = bench(*given, cwd=tmp_path)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "cannot write nowhere/out.json" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_run_without_a_number_leaves_a_json_that_says_so(tmp_path):
    (tmp_path / "out.json").write_text('{"benchmarks": ["of last night"]}')
    given = ("--preset", "smoke", "--workloads", "mlp", "--backends", "openvino_cpu", "-k", "openvino")
    bench(*given, "--results-dir", "runs", "--benchmark-json", "out.json", cwd=tmp_path, fake="raise@import")
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["benchmarks"] == []
    assert {cell["status"] for cell in found["samestep"]["failed"]} == {"broken"}


@pytest.mark.parametrize("bits", [stat.S_IWGRP, stat.S_IWOTH])
def test_a_cache_that_others_can_write_is_refused(tmp_path, bits):
    tmp_path.chmod(0o700 | bits)
    with pytest.raises(UnsafeCache, match=r"others can write to the cache .*: chmod go-w"):
        Cache(tmp_path, print)


def test_a_cache_of_somebody_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    if tmp_path.stat().st_uid == 0:
        Cache(tmp_path, print)  # root's own is safe for all
        os.chown(tmp_path, 54321, -1)
    with pytest.raises(UnsafeCache, match=r"belongs to user \d+; set SAMESTEP_CACHE"):
        Cache(tmp_path, print)


def test_the_door_refuses_an_unsafe_cache(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    given = ("--preset", "smoke", "--backends", "null", "--results-dir", "runs")
    done = bench(*given, cwd=tmp_path, SAMESTEP_CACHE=str(tmp_path / "cache"))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "others can write to the cache" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("install", [sys.settrace, sys.setprofile], ids=["trace", "profile"])
def test_a_tracer_in_the_child_is_refused(install):
    install(lambda *event: None)
    try:
        with pytest.raises(Refused, match="a tracer or profiler is on") as refusal:
            trial._check_quiet_interpreter()
    finally:
        install(None)
    assert refusal.value.code == "implausible"


def test_a_child_that_the_kernel_killed_for_memory_ran_out_of_it(tmp_path, monkeypatch, when):
    monkeypatch.setenv("SAMESTEP_FAKE", "sleep@measure")
    kills = iter((3, 4))
    monkeypatch.setattr(children, "memory_kills", lambda: next(kills))

    when("measure", lambda pid: os.kill(pid, signal.SIGKILL))
    columns = faulty_suite(filled_cache(tmp_path / "cache"), tmp_path).run(CELL).columns
    assert (columns["status"], columns["reason_code"]) == ("out_of_memory", "memory")


def test_a_compilation_while_steps_are_timed_is_counted():
    jax = pytest.importorskip("jax")
    from backends._jax import JaxStep

    tiny = load("mlp", "tiny")
    batches = tuple(data.make_batches(tiny))
    request = Request(tiny, "infer", FP32, 1, 0, parameters=data.make_parameters(tiny), batches=batches)
    step = JaxStep(request, jax.devices("cpu")[0])
    step.compile()
    before = step.compilations()
    step.step(0)
    step.sync()
    assert step.compilations() == before
    jax.jit(lambda x: x * 3.25 + 1)(jax.numpy.arange(7.0)).block_until_ready()
    assert step.compilations() > before


def test_software_is_another_when_anything_of_it_is(tmp_path):
    first, same = describe_software(), describe_software()
    assert first == same
    assert first["packages"]["numpy"]
    elsewhere = describe_software(tmp_path)  # another operating system, no drivers
    assert elsewhere["software_id"] != first["software_id"]
    assert describe_machine()["machine_id"] == describe_machine()["machine_id"]


def test_drivers_are_named(tmp_path):
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Sat\n"
    )
    (tmp_path / "sys/module/neuron").mkdir(parents=True)
    (tmp_path / "sys/module/neuron/version").write_text("2.24.7\n")
    assert describe_software(tmp_path)["drivers"] == {"nvidia": "580.95.05", "neuron": "2.24.7"}


@pytest.mark.parametrize("name", ["format-1", "format-2", "format-3"])
def test_runs_of_every_format_are_read(name):
    run = read_run(ROOT / "tests" / "runs" / name)
    assert run.header["journal_format"] == int(name[-1])
    assert {row["status"] for row in run.rows} == {"ok", "unavailable"}
    assert all(row["latency_p50_s"] > 0 for row in run.rows if row["status"] == "ok")
    assert (run.problems, run.end_reason) == ((), "the plan is done")


def test_only_folders_called_as_runs_are_runs(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "journal.jsonl").write_text("{}")
    assert find_runs(tmp_path) == ()


def test_nothing_is_loaded_that_could_run_code():
    calls = re.compile(r"import pickle\b|pickle\.loads?\(|Unpickler|marshal\.load|(?<![\w.])(?:eval|exec)\(|shelve")
    found = [
        f"{path.relative_to(ROOT)}: {call}"
        for room in ("workloads", "backends", "bench", "results", "samestep")
        for path in (ROOT / room).rglob("*.py")
        for call in calls.findall(path.read_text())
    ]
    assert found == []


PER = {"": "", "threads": " × threads", "watched_s": " × watched time"}


def test_the_documented_flags_are_those_there_are():
    table = (ROOT / "docs" / "measuring.md").read_text()
    for flag in FLAGS:
        sign = "<" if flag.below else ">"
        limit = f"`{flag.column}` {sign} {flag.limit:g}{PER[flag.per]}{' and ±' if flag.moved else ''}"
        assert f"| `{flag.name}` | {flag.effect} | {limit} | {flag.meaning} |" in table
    assert table.count("| degraded |") + table.count("| invalid |") + table.count("| note |") == len(FLAGS)
