"""The cache: an entry is whole or made again, keyed by all that it depends on, and shared where it may be."""

import shutil
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Thread

import pytest

from backends._graphs import ONNX
from backends.base import Artifact
from bench.artifacts import BATCHES, EXPECTED, PARAMETERS, waves
from bench.parent import cache as caching
from bench.parent.cache import Cache, default_root, entry_name
from bench.parent.sources import ROOT, digest_of, sources_of
from tests.fakes.bench import CELL, faulty_suite, filled_cache
from workloads.catalog import load
from workloads.precision import FP32

WORKLOAD = load("mlp", "tiny")
KINDS = {kind.name: kind for kind in (PARAMETERS, BATCHES, EXPECTED, ONNX)}
NAME = entry_name(PARAMETERS, WORKLOAD, "infer", FP32)


def make(folder):
    (folder / "one").write_bytes(b"first")
    (folder / "two").write_bytes(b"second")
    return {"remembered": 7, "seconds": 1.5}


class Recorder:
    """A cache that remembers what it said, and how often something was made."""

    def __init__(self, root):
        self.said, self.made = [], 0
        self.cache = Cache(root, self.said.append)

    def ensure(self):
        return self.cache.ensure(NAME, self._make)

    def _make(self, folder):
        self.made += 1
        return make(folder)


@pytest.fixture
def path(tmp_path):
    return Recorder(tmp_path).ensure().path


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_made_is_found_again(tmp_path, path):
    recorder = Recorder(tmp_path)
    entry = recorder.ensure()
    assert (entry.path, entry.made, entry.seconds) == (path, {"remembered": 7}, 0.0)
    assert (recorder.made, recorder.said) == (0, [])
    assert names_in(path) == ["manifest.json", "one", "two"]


def test_the_time_that_making_took_is_reported_once(tmp_path):
    recorder = Recorder(tmp_path)
    assert [recorder.ensure().seconds, recorder.ensure().seconds] == [1.5, 0.0]
    assert recorder.made == 1


def flip_a_byte(path):
    (path / "two").write_bytes(b"sEcond")


def truncate_the_manifest(path):
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text[: len(text) // 2])


def replace_by_a_file(path):
    shutil.rmtree(path)
    path.touch()


DAMAGES = {
    "flipped byte": flip_a_byte,
    "shortened file": lambda path: (path / "one").write_bytes(b"firs"),
    "missing file": lambda path: (path / "one").unlink(),
    "missing manifest": lambda path: (path / "manifest.json").unlink(),
    "truncated manifest": truncate_the_manifest,
    "empty manifest": lambda path: (path / "manifest.json").write_text(""),
    "binary manifest": lambda path: (path / "manifest.json").write_bytes(b"\xff\xfe"),
    "manifest of something else": lambda path: (path / "manifest.json").write_text("[]"),
    "a file in its place": replace_by_a_file,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_corrupt_entry_is_rebuilt_and_said_so(tmp_path, path, damage):
    DAMAGES[damage](path)
    recorder = Recorder(tmp_path)
    entry = recorder.ensure()
    assert (recorder.made, entry.path, entry.made) == (1, path, {"remembered": 7})
    assert len(recorder.said) == 1
    assert f"cache entry {path.name} is corrupt" in recorder.said[0]
    assert "it is rebuilt" in recorder.said[0]
    again = Recorder(tmp_path)
    assert again.ensure().path == path
    assert (again.made, again.said) == (0, [])


def test_another_run_may_remove_a_corrupt_entry_first(tmp_path, path):
    flip_a_byte(path)
    cache = Cache(tmp_path, lambda text: shutil.rmtree(path))
    assert cache.ensure(NAME, make).path == path
    assert (path / "two").read_bytes() == b"second"


def test_a_cell_runs_on_what_was_rebuilt(tmp_path):
    filled_cache(tmp_path / "cache")
    (entry,) = (tmp_path / "cache").glob("batches-*")
    data = bytearray((entry / "batches.safetensors").read_bytes())
    data[-1] ^= 1
    (entry / "batches.safetensors").write_bytes(data)
    said = []
    result = faulty_suite(Cache(tmp_path / "cache", said.append), tmp_path).run(CELL)
    assert result.columns["status"] == "ok"
    assert f"cache entry {entry.name} is corrupt (batches.safetensors is not what was written); it is rebuilt" in said
    data[-1] ^= 1
    assert (entry / "batches.safetensors").read_bytes() == data


def test_a_making_that_fails_leaves_nothing(tmp_path):
    def fail(folder):
        make(folder)
        raise RuntimeError("planted failure")

    with pytest.raises(RuntimeError, match="planted failure"):
        Cache(tmp_path, lambda text: None).ensure(NAME, fail)
    assert names_in(tmp_path) == []


def test_the_slower_of_two_makers_takes_the_entry_of_the_faster(tmp_path):
    def make_late(folder):
        faster.ensure()
        return make(folder)

    faster = Recorder(tmp_path)
    entry = Cache(tmp_path, lambda text: None).ensure(NAME, make_late)
    assert (entry.path, faster.made) == (faster.ensure().path, 1)
    assert names_in(tmp_path) == [entry.path.name]


def test_two_makers_at_once_end_with_one_good_entry(tmp_path):
    together, entries = Barrier(2), []

    def make_together(folder):
        made = make(folder)
        together.wait()
        return made

    def run():
        cache = Cache(tmp_path, lambda text: None)
        entries.append(cache.ensure(NAME, make_together))

    threads = [Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.path for entry in entries] == [tmp_path / NAME] * 2
    assert names_in(tmp_path) == [entries[0].path.name]
    again = Recorder(tmp_path)
    again.ensure()
    assert (again.made, again.said) == (0, [])


def keys(workload, phase="infer"):
    return {name: entry_name(kind, workload, phase, FP32) for name, kind in KINDS.items()}


def changed(first, second):
    return {kind for kind in KINDS if first[kind] != second[kind]}


def test_parameters_are_shared_by_all_batch_sizes():
    assert changed(keys(WORKLOAD), keys(load("mlp", "tiny", batch=8))) == {"batches", "expected", "onnx"}


def test_parameters_are_shared_by_all_sequences():
    short, long = (keys(load("gpt2", "tiny", sequence=sequence)) for sequence in (8, 16))
    assert changed(short, long) == {"batches", "expected", "onnx"}


def test_phases_share_their_data():
    assert changed(keys(WORKLOAD), keys(WORKLOAD, "train")) == {"expected", "onnx"}


@pytest.mark.parametrize(
    "other",
    [load("mlp", "base", batch=4), load("gpt2", "tiny", batch=4), replace(WORKLOAD, seed=1)],
    ids=["size", "workload", "seed"],
)
def test_another_workload_has_keys_of_its_own(other):
    assert changed(keys(WORKLOAD), keys(other)) == set(KINDS)


def test_another_optimizer_changes_what_is_expected():
    program = WORKLOAD.programs["train"]
    faster = replace(program.update, rule=replace(program.update.rule, learning_rate=0.02))
    other = replace(WORKLOAD, programs={**WORKLOAD.programs, "train": replace(program, update=faster)})
    assert {"expected", "onnx"} <= changed(keys(WORKLOAD, "train"), keys(other, "train"))


def test_another_library_version_changes_what_it_made(monkeypatch):
    before = keys(WORKLOAD)
    monkeypatch.setattr(caching, "versions", lambda names: dict.fromkeys(names, "0.0.1"))
    assert changed(before, keys(WORKLOAD)) == {"expected", "onnx"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("workloads/data.py", {"parameters", "batches"}),
        ("workloads/specs.py", set(KINDS)),
        ("workloads/arrays.py", set(KINDS)),
        ("workloads/ops.py", {"expected", "onnx"}),
        ("workloads/weights/published.py", set(KINDS)),
        ("workloads/weights/tensor_files.py", set(KINDS)),
        ("workloads/program.py", {"expected", "onnx"}),
        ("workloads/summary.py", {"expected"}),
        ("workloads/models/mlp.py", {"expected", "onnx"}),
        ("workloads/models/gpt2.py", set()),
        ("backends/_torch_ops.py", {"expected", "onnx"}),
        ("backends/_torch.py", set()),  # the step's own: its profiler, its switches
        ("backends/_torch_module.py", {"onnx"}),
        ("backends/_onnx_export.py", {"onnx"}),
        ("backends/_decompositions.py", {"onnx"}),
        ("bench/child/expected.py", {"expected"}),
        ("bench/child/inputs.py", {"parameters", "batches"}),
        ("bench/child/checks/verify.py", set()),
        ("backends/_jax.py", set()),
    ],
)
def test_another_source_changes_what_it_made(monkeypatch, source, expected):
    read_bytes, target = Path.read_bytes, ROOT / source
    assert target.is_file()
    before = keys(WORKLOAD)
    monkeypatch.setattr(Path, "read_bytes", lambda self: read_bytes(self) + b"\n" * (self == target))
    assert changed(before, keys(WORKLOAD)) == expected


def test_a_model_that_computes_in_another_models_file_depends_on_it():
    files = sources_of("workloads.models.control_matmul")
    assert ROOT / "workloads/models/matmul.py" in files


def test_sources_are_followed_at_any_depth_but_not_for_type_checkers(tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "a.py").write_text("def f():\n    from pack import b\n    import json\n")
    (tmp_path / "pack" / "b.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pack.c\n")
    (tmp_path / "pack" / "c.py").write_text("")
    names = {path.name for path in sources_of("pack.a", root=tmp_path)}
    assert names == {"__init__.py", "a.py", "b.py"}
    before = digest_of("pack.a", root=tmp_path)
    (tmp_path / "pack" / "c.py").write_text("changed")
    assert digest_of("pack.a", root=tmp_path) == before
    (tmp_path / "pack" / "b.py").write_text("changed = 1")
    assert digest_of("pack.a", root=tmp_path) != before


def test_a_maker_without_a_source_is_an_error():
    with pytest.raises(ModuleNotFoundError, match=r"no source file of workloads\.nothing"):
        sources_of("workloads.nothing")


def test_artifacts_are_made_in_waves_each_from_the_ones_before():
    assert [[one.name for one in wave] for wave in waves(KINDS.values())] == [
        ["parameters"],
        ["batches"],
        ["expected", "onnx"],
    ]


def test_an_artifact_that_needs_what_nobody_declares_is_refused():
    lost = Artifact("lost", "nowhere:make", needs=("nothing",))
    with pytest.raises(ValueError, match="the artifact 'lost' needs 'nothing', which nobody declares"):
        list(waves([PARAMETERS, lost]))


def test_where_the_cache_lies(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert default_root({"SAMESTEP_CACHE": str(tmp_path), "XDG_CACHE_HOME": "/elsewhere"}) == tmp_path.resolve()
    assert default_root({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "samestep"
    assert default_root({"SAMESTEP_CACHE": "", "XDG_CACHE_HOME": ""}) == tmp_path / "home" / ".cache" / "samestep"
