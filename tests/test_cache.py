"""The cache: an entry is whole or made again, keyed by all that it depends on, and shared where it may be."""

import ast
import shutil
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Thread

import pytest

from bench.child.artifacts import MAKERS
from bench.parent import cache as caching
from bench.parent.cache import Cache, default_root, entry_name, source_digest
from tests.fakes.bench import CELL, faulty_suite, filled_cache
from workloads.catalog import load

WORKLOAD = load("mlp", "tiny")
KINDS = ("parameters", "batches", "expected", "graph")


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
        return self.cache.ensure("parameters", WORKLOAD, "infer", self._make)

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
    assert cache.ensure("parameters", WORKLOAD, "infer", make).path == path
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
        Cache(tmp_path, lambda text: None).ensure("parameters", WORKLOAD, "infer", fail)
    assert names_in(tmp_path) == []


def test_the_slower_of_two_makers_takes_the_entry_of_the_faster(tmp_path):
    def make_late(folder):
        faster.ensure()
        return make(folder)

    faster = Recorder(tmp_path)
    entry = Cache(tmp_path, lambda text: None).ensure("parameters", WORKLOAD, "infer", make_late)
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
        entries.append(cache.ensure("parameters", WORKLOAD, "infer", make_together))

    threads = [Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.path for entry in entries] == [tmp_path / entry_name("parameters", WORKLOAD, "infer")] * 2
    assert names_in(tmp_path) == [entries[0].path.name]
    again = Recorder(tmp_path)
    again.ensure()
    assert (again.made, again.said) == (0, [])


def keys(workload, phase="infer"):
    return {kind: entry_name(kind, workload, phase) for kind in KINDS}


def changed(first, second):
    return {kind for kind in KINDS if first[kind] != second[kind]}


def test_parameters_are_shared_by_all_batch_sizes():
    assert changed(keys(WORKLOAD), keys(load("mlp", "tiny", batch=8))) == {"batches", "expected", "graph"}


def test_parameters_are_shared_by_all_sequences():
    short, long = (keys(load("gpt2", "tiny", sequence=sequence)) for sequence in (8, 16))
    assert changed(short, long) == {"batches", "expected", "graph"}


def test_phases_share_their_data():
    assert changed(keys(WORKLOAD), keys(WORKLOAD, "train")) == {"expected", "graph"}


@pytest.mark.parametrize(
    "other",
    [load("mlp", "base", batch=4), load("gpt2", "tiny", batch=4), replace(WORKLOAD, seed=1)],
    ids=["size", "workload", "seed"],
)
def test_another_workload_has_keys_of_its_own(other):
    assert changed(keys(WORKLOAD), keys(other)) == set(KINDS)


def test_another_optimizer_changes_what_is_expected():
    other = replace(WORKLOAD, optimizer=replace(WORKLOAD.optimizer, learning_rate=0.02))
    assert {"expected", "graph"} <= changed(keys(WORKLOAD, "train"), keys(other, "train"))


def test_another_library_version_changes_what_it_made(monkeypatch):
    before = keys(WORKLOAD)
    monkeypatch.setattr(caching, "versions", lambda names: dict.fromkeys(names, "0.0.1"))
    assert changed(before, keys(WORKLOAD)) == {"expected", "graph"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("workloads/data.py", set(KINDS)),
        ("workloads/ops.py", {"expected", "graph"}),
        ("workloads/models/mlp.py", {"expected", "graph"}),
        ("workloads/models/gpt2.py", set()),
        ("backends/_torch.py", {"expected", "graph"}),
        ("backends/_onnx_export.py", {"graph"}),
        ("backends/_decompositions.py", {"graph"}),
        ("bench/child/verify.py", {"expected"}),
        ("bench/child/artifacts.py", set(KINDS)),
        ("backends/_jax.py", set()),
    ],
)
def test_another_source_changes_what_it_made(monkeypatch, source, expected):
    read_bytes, target = Path.read_bytes, caching.ROOT / source
    assert target.is_file()
    before = keys(WORKLOAD)
    monkeypatch.setattr(Path, "read_bytes", lambda self: read_bytes(self) + b"\n" * (self == target))
    assert changed(before, keys(WORKLOAD)) == expected


def bindings_imported(tree):
    """Returns the files `backends/_*.py` that are imported below `tree`, at any depth, and by those in turn."""
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    found = {f"{name.replace('.', '/')}.py" for name in names if name.startswith("backends._")}
    found = {source for source in found if (caching.ROOT / source).is_file()}
    return found.union(*(bindings_imported(ast.parse((caching.ROOT / source).read_text())) for source in found))


@pytest.mark.parametrize(
    ("kind", "at_least"),
    [
        ("expected", {"backends/_torch.py"}),
        ("graph", {"backends/_onnx_export.py", "backends/_torch.py", "backends/_decompositions.py"}),
    ],
)
def test_the_key_has_every_binding_that_its_maker_imports(kind, at_least):
    tree = ast.parse((caching.ROOT / "bench/child/artifacts.py").read_text())
    others = {maker.__name__ for other, maker in MAKERS.items() if other != kind}
    tree.body = [node for node in tree.body if getattr(node, "name", "") not in others]
    imported = bindings_imported(tree)
    assert at_least <= imported
    assert {source for source in imported if source not in caching._SOURCES[kind]} == set()


def test_the_digest_of_sources_depends_on_names_and_bytes(tmp_path):
    (tmp_path / "a.py").write_text("one")
    before = source_digest(("*.py",), tmp_path)
    assert source_digest(("a.py", "*.py"), tmp_path) == before
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    renamed = source_digest(("*.py",), tmp_path)
    (tmp_path / "b.py").write_text("two")
    assert len({before, renamed, source_digest(("*.py",), tmp_path)}) == 3


def test_where_the_cache_lies(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert default_root({"SAMESTEP_CACHE": str(tmp_path), "XDG_CACHE_HOME": "/elsewhere"}) == tmp_path.resolve()
    assert default_root({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "samestep"
    assert default_root({"SAMESTEP_CACHE": "", "XDG_CACHE_HOME": ""}) == tmp_path / "home" / ".cache" / "samestep"
