"""Shards are joined by their index, whichever of them is named; what is missing or inconsistent is refused."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import backends
from bench.artifacts import PARAMETERS
from bench.parent.plans.plan import cells, select
from tests.fakes.steps import make
from tests.fakes.weights import TINY, follow, random, read_back, refused, saved
from workloads.weights import files as weights

INDEX = "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
WTE = "transformer.wte.weight"


def write_index(folder, shard_of, name=INDEX):
    (folder / name).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": shard_of}))
    return folder / name


def split(folder, tensors=None):
    """Writes the tensors in two shards with their index, the first in the second shard; returns the weight map."""
    tensors = random() if tensors is None else tensors
    folder.mkdir(exist_ok=True)
    shard_of = {name: SHARDS[i < len(tensors) // 2] for i, name in enumerate(tensors)}
    for shard in SHARDS:
        saved(folder / shard, {name: array for name, array in tensors.items() if shard_of[name] == shard})
    write_index(folder, shard_of)
    return shard_of


@pytest.fixture
def folder(tmp_path):
    split(tmp_path / "gpt2")
    return tmp_path / "gpt2"


def refused_by(path, words):
    """Returns why `path` is refused, where the reason lies in another file than that."""
    with pytest.raises(ValueError, match=words) as refusal:
        weights.check(path, TINY)
    return str(refusal.value)


@pytest.mark.parametrize("named", ["", INDEX, *SHARDS])
def test_shards_are_joined_whichever_is_named(folder, named):
    checked = weights.check(folder / named, TINY)
    assert checked.path == str(folder / INDEX)
    one_after_another = b"".join((folder / shard).read_bytes() for shard in SHARDS)
    assert checked.sha256 == hashlib.sha256(one_after_another).hexdigest()
    values = weights.read(replace(TINY, weights=checked))
    assert values.keys() == random().keys()
    for name, array in random().items():
        np.testing.assert_array_equal(values[name], array)


def test_a_relative_path_is_kept_whole(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert weights.check(Path("gpt2"), TINY).path == str(folder / INDEX)


def test_wrappers_before_the_names_of_all_shards(tmp_path):
    split(tmp_path, {f"_orig_mod.{name}": array for name, array in random().items()})
    np.testing.assert_array_equal(read_back(tmp_path)[WTE], random()[WTE])


def test_a_wrappers_prefix_in_one_shard_alone_is_none(folder):
    shard_of = json.loads((folder / INDEX).read_text())["weight_map"]
    first = {name: random()[name] for name, shard in shard_of.items() if shard == SHARDS[0]}
    saved(folder / SHARDS[0], {f"module.{name}": array for name, array in first.items()})
    write_index(folder, {("module." * (name in first)) + name: shard for name, shard in shard_of.items()})
    refused(folder, "has module.transformer.", "which gpt2 tiny does not have")


def test_the_advice_for_float64_makes_one_file_of_all_shards(tmp_path):
    split(tmp_path, {name: array.astype(np.float64) + 1e-12 for name, array in random().items()})
    made = follow(refused_by(tmp_path / SHARDS[1], "has dtype F64"))
    np.testing.assert_array_equal(read_back(made)[WTE], (random()[WTE].astype(np.float64) + 1e-12).astype(np.float32))


def test_a_tied_head_in_another_shard(tmp_path):
    shard_of = split(tmp_path, random() | {"lm_head.weight": random()[WTE]})
    assert shard_of[WTE] != shard_of["lm_head.weight"]
    assert WTE in read_back(tmp_path)


def cached(folder, root):
    """Lays `folder` out as Hugging Face's cache does: links with names, to contents without."""
    (root / "blobs").mkdir(parents=True)
    (root / "snapshots").mkdir()
    for file in sorted(folder.iterdir()):
        blob = root / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        blob.write_bytes(file.read_bytes())
        (root / "snapshots" / file.name).symlink_to(Path("..") / "blobs" / blob.name)
    return root / "snapshots"


@pytest.mark.parametrize("named", ["", INDEX, SHARDS[0]])
def test_shards_in_hugging_faces_cache(folder, tmp_path, named):
    snapshot = cached(folder, tmp_path / "models--gpt2")
    assert weights.check(snapshot / named, TINY).sha256 == weights.check(folder, TINY).sha256
    np.testing.assert_array_equal(read_back(snapshot / named)[WTE], random()[WTE])


@pytest.mark.parametrize("named", ["", "model.safetensors"])
def test_one_file_in_hugging_faces_cache(tmp_path, named):
    (tmp_path / "plain").mkdir()
    saved(tmp_path / "plain" / "model.safetensors", random())
    snapshot = cached(tmp_path / "plain", tmp_path / "models--gpt2")
    np.testing.assert_array_equal(read_back(snapshot / named)[WTE], random()[WTE])


def test_a_whole_file_beside_shards_is_taken_of_their_folder(folder):
    saved(folder / "model.safetensors", random())
    assert weights.check(folder, TINY).path == str(folder / "model.safetensors")


def test_the_only_file_of_a_folder(tmp_path):
    path = saved(tmp_path / "whatever.safetensors", random())
    assert weights.check(tmp_path, TINY).path == str(path)


@pytest.mark.parametrize("name", ["model-00001-of-00001.safetensors", "gpt2-0001-of-2.safetensors"])
def test_one_shard_of_one_needs_no_index(tmp_path, name):
    path = saved(tmp_path / name, random())
    assert weights.check(path, TINY).path == str(path)
    assert weights.check(tmp_path, TINY).path == str(path)


def test_the_index_of_a_variant(folder):
    variant = {shard: shard.replace("model", "model.fp16") for shard in SHARDS}
    shard_of = json.loads((folder / INDEX).read_text())["weight_map"]
    for shard, name in variant.items():
        (folder / shard).rename(folder / name)
    (folder / INDEX).unlink()
    index = write_index(folder, {n: variant[s] for n, s in shard_of.items()}, "model.safetensors.index.fp16.json")
    for named in ("", variant[SHARDS[1]]):
        assert weights.check(folder / named, TINY).path == str(index)


def test_a_folder_with_several_models(tmp_path):
    for name in ("one.safetensors", "other.safetensors"):
        saved(tmp_path / name, random())
    refused(tmp_path, "has one.safetensors, other.safetensors; give the path of one")


def test_folders_without_a_model(tmp_path):
    refused(tmp_path, "has no safetensors file (it is empty)", "give the folder that has it")
    (tmp_path / "config.json").write_text("{}")
    refused(tmp_path, "has no safetensors file (config.json)", "give the folder that has it")


@pytest.mark.parametrize("named", ["", SHARDS[0]])
def test_a_shard_without_its_index(folder, named):
    (folder / INDEX).unlink()
    refused(folder / named, "is one shard of 2", f"no index beside it names it; fetch the {INDEX}")


def test_a_shard_that_two_indexes_name(folder):
    (folder / "other.safetensors.index.json").write_bytes((folder / INDEX).read_bytes())
    refused(folder / SHARDS[0], f"{INDEX}, other.safetensors.index.json name it; give one of them")


@pytest.mark.parametrize("named", ["", INDEX, SHARDS[1]])
def test_a_shard_that_is_not_there(folder, named):
    (folder / SHARDS[0]).unlink()
    missing = f"{folder / INDEX} names 2 shards, of which {SHARDS[0]} is not in {folder}; fetch what is missing"
    assert refused_by(folder / named, "names 2 shards") == missing


def test_a_shard_that_is_truncated(folder):
    (folder / SHARDS[1]).write_bytes((folder / SHARDS[1]).read_bytes()[:-1])
    assert f"{folder / SHARDS[1]} is truncated in " in refused(folder)


def test_a_shard_that_is_a_pointer(folder):
    (folder / SHARDS[1]).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    refused(folder, f"{SHARDS[1]} is not a safetensors file: it is a Git LFS pointer", "git lfs pull")


def test_a_tensor_in_no_shard(folder):
    shard_of = json.loads((folder / INDEX).read_text())["weight_map"]
    write_index(folder, shard_of | {"score.weight": SHARDS[0]})
    refused(folder, f"has score.weight in {SHARDS[0]}, and it is in no shard", "fetch the index and its shards again")


def test_a_tensor_in_two_shards(folder):
    shard_of = json.loads((folder / INDEX).read_text())["weight_map"]
    second = {
        name: random()[name] for name in shard_of if shard_of[name] == SHARDS[1] or name == "transformer.ln_f.bias"
    }
    assert shard_of["transformer.ln_f.bias"] == SHARDS[0]
    saved(folder / SHARDS[1], second)
    refused(folder, f"transformer.ln_f.bias is in two shards, {SHARDS[0]} and {SHARDS[1]}, expected in one")


def test_a_tensor_in_another_shard_than_its_index_says(folder):
    shard_of = json.loads((folder / INDEX).read_text())["weight_map"]
    write_index(folder, shard_of | {WTE: SHARDS[0]})
    assert shard_of[WTE] == SHARDS[1]
    refused(folder, f"has {WTE} in {SHARDS[0]}, and it is in {SHARDS[1]}")


def test_a_tensor_that_the_index_does_not_name(folder):
    shard_of = json.loads((folder / INDEX).read_text())["weight_map"]
    del shard_of[WTE]
    write_index(folder, shard_of)
    refused(folder, f"does not name {WTE} of {SHARDS[1]}")


def test_a_tensor_that_no_shard_has_and_the_model_needs(tmp_path):
    tensors = random()
    del tensors[WTE]
    split(tmp_path, tensors)
    refused(tmp_path, f"lacks {WTE} of gpt2 tiny")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not the index of a model"),
        ("", "is not the index of a model"),
        ("[]", "expected an object whose weight_map names the shard of every tensor"),
        ('{"model_type": "gpt2"}', "expected an object whose weight_map names"),
        ('{"weight_map": {}}', "expected an object whose weight_map names"),
        ('{"weight_map": []}', "expected an object whose weight_map names"),
        ('{"weight_map": {"a": 1}}', "has a in 1, expected the name of a file beside it"),
        ('{"weight_map": {"a": "../a.safetensors"}}', "expected the name of a file beside it"),
        ('{"weight_map": {"a": ""}}', "expected the name of a file beside it"),
        ('{"weight_map": {"a": "one", "a": "two"}}', "it names a twice"),
        ("version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        ("<!DOCTYPE html>", "is a web page"),
        ("[" * 100_000, "is not the index of a model"),
    ],
    ids=range(13),
)
def test_what_is_no_index(tmp_path, text, words):
    (tmp_path / INDEX).write_text(text)
    refused(tmp_path, words)
    refused(tmp_path / INDEX, words)


def test_an_index_that_is_no_text(tmp_path):
    (tmp_path / INDEX).write_bytes(b"\xff\xfe\xfa")
    refused(tmp_path, "is not the index of a model")


@pytest.mark.parametrize("changed", SHARDS)
def test_a_shard_that_changes_after_the_check(folder, changed):
    checked = weights.check(folder, TINY)
    data = bytearray((folder / changed).read_bytes())
    data[-1] ^= 1
    (folder / changed).write_bytes(data)
    with pytest.raises(ValueError, match="has changed since it was checked"):
        weights.read(replace(TINY, weights=checked))


def test_the_cache_of_shards_is_that_of_their_one_file(tmp_path, folder):
    one = saved(tmp_path / "one.safetensors", random())
    options = {"--preset": "smoke", "--workloads": "gpt2", "--weights": f"gpt2={folder}"}
    selection = select(options.get, backends.names(), cores=4)
    (workload,) = (cell.load_workload() for cell in cells(selection, "infer", ("null",)) if cell.workload == "gpt2")
    made = tmp_path / "made"
    made.mkdir()
    make(PARAMETERS, workload, "infer", made, {})
    assert (made / "parameters.safetensors").read_bytes() == one.read_bytes()
