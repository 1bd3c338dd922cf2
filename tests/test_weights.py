"""A weights file is loaded as it is, or refused before anything runs: with the tensor, what was got and expected."""

import hashlib
import json
import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import backends
from bench.cell import Cell
from bench.parent.cache import Cache, entry_name
from bench.parent.plan import PlanError, cells, select
from bench.parent.suite import Suite
from tests.fakes.bench import EFFORT
from tests.fakes.door import bench, rows_of_work, run_in, statuses
from tests.fakes.weights import follow, random, refused, saved
from workloads import data, weights
from workloads.catalog import CATALOG, load
from workloads.workload import Weights

GPT2, BERT, RESNET = (load(name, "tiny") for name in ("gpt2", "bert_base", "resnet50"))
WTE = "transformer.wte.weight"
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def path(tmp_path):
    return saved(tmp_path / "model.safetensors", random())


def header_of(path):
    (size,) = struct.unpack("<Q", path.read_bytes()[:8])
    return json.loads(path.read_bytes()[8 : 8 + size]), path.read_bytes()[8 + size :]


def with_header(path, change):
    """Writes the file anew with its header changed by `change`, and the same data."""
    header, body = header_of(path)
    text = json.dumps(change(header)).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def changed(path, name, **entries):
    return with_header(path, lambda header: header | {name: header[name] | entries})


def test_what_fits_is_read_as_it_is(path):
    checked = weights.check(path, GPT2)
    values = weights.read(replace(GPT2, weights=checked))
    assert checked == Weights(str(path), hashlib.sha256(path.read_bytes()).hexdigest())
    assert values.keys() == random().keys()
    for name, array in random().items():
        np.testing.assert_array_equal(values[name], array)


def test_buffers_belong_to_it(tmp_path):
    path = saved(tmp_path / "resnet.safetensors", random(RESNET))
    values = weights.read(replace(RESNET, weights=weights.check(path, RESNET)))
    assert {spec.name for spec in RESNET.buffers} < values.keys()


def gpt2_as_published():
    """As on the hub: no prefix, causal masks, and in some releases the tied head."""
    tensors = {name.removeprefix("transformer."): array for name, array in random().items()}
    masks = {f"h.{i}.attn.bias": np.ones((1, 1, 32, 32), np.uint8) for i in range(2)}
    return tensors | masks | {"h.0.attn.masked_bias": np.float32([-1e4]), "lm_head.weight": tensors["wte.weight"]}


def bert_as_published():
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    tensors = random(BERT)
    for new, name in old.items():
        tensors = {key.replace(new, name): array for key, array in tensors.items()}
    return tensors | {
        "bert.embeddings.position_ids": np.arange(32)[None],
        "cls.predictions.decoder.weight": tensors["bert.embeddings.word_embeddings.weight"],
        "cls.predictions.decoder.bias": tensors["cls.predictions.bias"],
    }


def resnet_as_published():
    names = [name.removesuffix("running_var") for name in random(RESNET) if name.endswith("running_var")]
    return random(RESNET) | {f"{name}num_batches_tracked": np.array(3) for name in names}


@pytest.mark.parametrize(
    ("workload", "published"),
    [(GPT2, gpt2_as_published), (BERT, bert_as_published), (RESNET, resnet_as_published)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_names_of_published_files_are_known(tmp_path, workload, published):
    path = saved(tmp_path / "published.safetensors", published())
    values = weights.read(replace(workload, weights=weights.check(path, workload)))
    for name, array in random(workload).items():
        np.testing.assert_array_equal(values[name], array)


def test_a_missing_file(tmp_path):
    refused(tmp_path / "none", "does not exist", "give the path")


def test_a_link_that_leads_nowhere(tmp_path):
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "none")
    refused(tmp_path / "model.safetensors", "is a link to a file that does not exist", "give the path")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    refused(tmp_path / "pipe.safetensors", "is neither a file nor a folder", "give the path")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(path):
    path.chmod(0)
    refused(path, "cannot be read: Permission denied", "give the path")


def test_a_file_whose_read_fails(path, monkeypatch):
    def fail(self, *arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", fail)
    refused(path, "cannot be read: Permission denied", "give the path")


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04 a pickle of torch.save in a zip archive",
        struct.pack("<Q", 7) + b"{ no js",
        struct.pack("<Q", 12) + b'{"a": "text"',
        struct.pack("<Q", 13) + b'{"a": "text"}',
        struct.pack("<Q", 11) + b'{"a": [10]}',
        struct.pack("<Q", 58) + b'{"a": {"dtype":"F32","shape":[-1],"data_offsets":[0, -4]}}',
        struct.pack("<Q", 1 << 60) + b'{"a": {}}',
        struct.pack("<Q", 58) + b'{"a": {"dtype":"F99","shape":[1],"data_offsets":[0, 4]}}  ' + b"four",
    ],
    ids=range(8),
)
def test_what_is_not_safetensors(tmp_path, content):
    (tmp_path / "model.bin").write_bytes(content)
    refused(tmp_path / "model.bin", "is not a safetensors file", "safetensors.torch.save_file")


@pytest.mark.parametrize("size", [0, 8, 9, 500])
def test_a_file_truncated_in_its_header(path, size):
    path.write_bytes(path.read_bytes()[:size])
    refused(path, "truncated in its header", f"{size} bytes, expected at least", "fetch it again")


def test_a_file_truncated_in_its_data_names_the_tensor(path):
    header, _ = header_of(path)
    last = max((name for name in header if name != "__metadata__"), key=lambda name: header[name]["data_offsets"])
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    refused(path, f"truncated in {last}", f"{size - 1} bytes, expected at least {size}", "fetch it again")


def test_a_file_with_more_than_its_header_declares(path):
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"\0")
    refused(path, f"{size + 1} bytes, expected {size}")


def test_tensors_that_overlap(path):
    bias, weight = "transformer.ln_f.bias", "transformer.ln_f.weight"
    header, _ = header_of(path)
    changed(path, weight, data_offsets=header[bias]["data_offsets"])
    refused(path, "is not a safetensors file", "offset", "transformer.ln_f.", "safetensors.torch.save_file")


def test_tensors_with_fewer_bytes_than_their_shape_takes(path):
    refused(changed(path, WTE, data_offsets=[0, 4]), "is not a safetensors file", f"{WTE} has 4 bytes, expected 27008")


def test_nothing_is_loaded_to_check_but_numpy(path):
    code = "import sys; from pathlib import Path; from workloads import weights; from workloads.catalog import load"
    code += f"; weights.check(Path({str(path)!r}), load('gpt2', 'tiny')); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(np.int64, "I64"), (np.int32, "I32"), (np.uint8, "U8"), (np.bool_, "BOOL"), (np.complex64, "C64")],
)
def test_another_dtype(tmp_path, dtype, name):
    path = saved(tmp_path / "model.safetensors", random() | {WTE: np.zeros((211, 32), dtype)})
    refused(path, f"{WTE} has dtype {name}, expected F32, or F16, BF16 or F64", "before it was quantised or cast")


def test_float8(tmp_path):
    path = saved(tmp_path / "model.safetensors", random() | {WTE: np.zeros((211, 32), np.uint8)})
    refused(changed(path, WTE, dtype="F8_E4M3"), f"{WTE} has dtype F8_E4M3, expected F32, or F16, BF16 or F64")


EXACT = np.float32([0, -0.0, 1.5, -2.75, np.inf, -np.inf, np.nan, 2.0**-24, 65504])
"""Numbers that float16 and float64 have too."""


def read_back(path):
    return weights.read(replace(GPT2, weights=weights.check(path, GPT2)))


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("names", [[WTE], sorted(random())], ids=["one", "all"])
def test_another_precision_is_taken_where_its_numbers_are_float32(tmp_path, dtype, names):
    expected = random()
    for name in names:
        expected[name] = np.resize(EXACT, expected[name].shape).astype(np.float32)
    path = saved(tmp_path / "m.safetensors", expected | {name: expected[name].astype(dtype) for name in names})
    values = read_back(path)
    assert {array.dtype for array in values.values()} == {np.dtype(np.float32)}
    for name, array in expected.items():
        np.testing.assert_array_equal(values[name], array)
        np.testing.assert_array_equal(np.signbit(values[name]), np.signbit(array))


def test_bfloat16_is_the_upper_half_of_float32(tmp_path):
    halves = np.resize(np.arange(1 << 16, dtype=np.uint16), (211, 32))
    halves[:100] = np.resize(np.arange(0xFF00, 0x10000, dtype=np.uint16), (100, 32))
    path = saved(tmp_path / "model.safetensors", random() | {WTE: halves})
    values = read_back(changed(path, WTE, dtype="BF16"))[WTE]
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values.view(np.uint32), halves.astype(np.uint32) << 16)


@pytest.mark.parametrize("number", [0.1, 1e39, 1e-60, 1 + 2.0**-30])
def test_float64_that_is_not_float32_is_refused_and_the_advice_makes_a_file_that_is_taken(tmp_path, number):
    tensors = random() | {WTE: random()[WTE].astype(np.float64)}
    tensors[WTE][3, 4] = number
    path = saved(tmp_path / "model.safetensors", tensors)
    words = f"{WTE} has dtype F64 and 1 of 6752 numbers that are not float32, such as np.float64({number})"
    made = follow(refused(path, words, "round them on purpose"))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(read_back(made)[WTE], tensors[WTE].astype(np.float32))


def test_a_head_in_another_precision_is_compared_by_its_numbers(tmp_path):
    half = np.resize(EXACT, random()[WTE].shape).astype(np.float16)
    tensors = random() | {WTE: half.astype(np.float32), "lm_head.weight": half}
    assert WTE in read_back(saved(tmp_path / "model.safetensors", tensors))
    half[0, 0] = 1
    refused(saved(tmp_path / "model.safetensors", tensors), f"has lm_head.weight unlike {WTE}")


def prefixed(prefix, tensors):
    return {prefix + name: array for name, array in tensors.items()}


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "_orig_mod.module.", "module._orig_mod."])
@pytest.mark.parametrize("inner", ["as published", "as ours"])
def test_what_wrappers_put_before_every_name_is_left_out(tmp_path, prefix, inner):
    tensors = prefixed(prefix, gpt2_as_published() if inner == "as published" else random())
    values = read_back(saved(tmp_path / "model.safetensors", tensors))
    for name, array in random().items():
        np.testing.assert_array_equal(values[name], array)


def test_a_prefix_of_some_tensors_is_no_wrappers(tmp_path):
    tensors = random()
    tensors[f"module.{WTE}"] = tensors.pop(WTE)
    refused(saved(tmp_path / "model.safetensors", tensors), f"has module.{WTE}, which gpt2 tiny does not have")


def test_transposed_weights_are_not_turned_but_named(tmp_path):
    name = "transformer.h.0.attn.c_attn.weight"
    path = saved(tmp_path / "model.safetensors", random() | {name: np.ascontiguousarray(random()[name].T)})
    refused(path, f"{name} has shape [96, 32]", "expects [32, 96]", "transpose the weights of all linear layers")


def test_a_file_without_tensors(tmp_path):
    refused(saved(tmp_path / "model.safetensors", {}), "lacks transformer.wte.weight")


def test_another_shape(path):
    refused(changed(path, WTE, shape=[32, 211]), f"{WTE} has shape [32, 211]", "gpt2 tiny expects [211, 32]", "preset")


def test_another_size_of_the_model(path):
    refused(path, "has shape [", "gpt2 124m expects [", "preset", workload=load("gpt2"))


def test_bytes_that_the_shape_does_not_take(tmp_path):
    path = saved(tmp_path / "model.safetensors", random() | {WTE: np.zeros((211, 33), np.float32)})
    refused(changed(path, WTE, shape=[211, 32]), f"{WTE} has 27852 bytes, expected 27008")


@pytest.mark.parametrize("name", [WTE, "transformer.h.1.mlp.c_fc.bias"])
def test_a_missing_tensor(tmp_path, name):
    tensors = random()
    shape = list(tensors.pop(name).shape)
    refused(saved(tmp_path / "model.safetensors", tensors), f"lacks {name} of gpt2 tiny", f"expected F32 {shape}")


def test_a_missing_buffer(tmp_path):
    tensors = random(RESNET)
    del tensors["bn1.running_var"]
    refused(saved(tmp_path / "model.safetensors", tensors), "lacks bn1.running_var", workload=RESNET)


def test_many_missing_tensors_are_counted(tmp_path):
    path = saved(tmp_path / "model.safetensors", {WTE: random()[WTE]})
    refused(path, "lacks transformer.wpe.weight, ", f"and {len(GPT2.parameters) - 4} more")


@pytest.mark.parametrize("name", ["score.weight", "transformer.h.2.ln_1.weight", "h.0.attn.bias.extra"])
def test_an_unexpected_tensor(tmp_path, name):
    path = saved(tmp_path / "model.safetensors", random() | {name: np.zeros(3, np.float32)})
    refused(path, f"has {name}, which gpt2 tiny does not have", f"expected names such as {WTE}")


def test_a_tensor_under_both_of_its_names(tmp_path):
    path = saved(tmp_path / "model.safetensors", random() | {"wte.weight": random()[WTE]})
    refused(path, f"has {WTE} twice", "remove one")


def test_a_head_that_is_not_tied(tmp_path):
    path = saved(tmp_path / "model.safetensors", random() | {"lm_head.weight": random()[WTE] + 1})
    refused(path, f"has lm_head.weight unlike {WTE}", "gpt2 tiny ties it")


def test_a_head_alone_is_no_embedding(tmp_path):
    tensors = random()
    tensors["lm_head.weight"] = tensors.pop(WTE)
    refused(saved(tmp_path / "model.safetensors", tensors), f"lacks {WTE}")


def test_a_file_that_changes_after_the_check(path):
    checked = weights.check(path, GPT2)
    saved(path, data.make_parameters(replace(GPT2, seed=8)))
    with pytest.raises(ValueError, match="has changed since it was checked"):
        weights.read(replace(GPT2, weights=checked))


KINDS = ("parameters", "batches", "expected", "graph")


def keys(workload):
    return {kind: entry_name(kind, workload, "infer") for kind in KINDS}


def test_every_cache_key_has_the_content_and_not_the_place():
    one, moved, other = (
        keys(replace(GPT2, weights=Weights(*given))) for given in (("/a", "1"), ("/b", "1"), ("/a", "2"))
    )
    assert one == moved
    assert all(one[kind] != keys(GPT2)[kind] and one[kind] != other[kind] for kind in KINDS)


def selected(given, workloads="gpt2", preset="smoke"):
    options = {"--preset": preset, "--workloads": workloads, "--weights": given}
    return select(options.get, backends.names(), cores=4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "--weights takes WORKLOAD=PATH, comma-separated; got ''"),
        ("{path}", "--weights takes WORKLOAD=PATH"),
        ("gpt2=", "--weights takes WORKLOAD=PATH"),
        ("gpt2={path},", "--weights takes WORKLOAD=PATH, comma-separated; got ''"),
        ("gpt3={path}", f"unknown workload 'gpt3'; known: {', '.join(CATALOG)}"),
        ("bert_base={path}", "--weights for bert_base, which is not in this run; it has gpt2"),
        ("gpt2={path},gpt2={path}", "two files for gpt2"),
        ("gpt2=/no/such/file", "--weights gpt2: /no/such/file does not exist"),
    ],
)
def test_the_option_is_refused_where_it_cannot_be_meant(path, given, message):
    with pytest.raises(PlanError) as refusal:
        selected(given.format(path=path))
    assert message in str(refusal.value)


def test_several_files_reach_their_cells(tmp_path, path):
    other = saved(tmp_path / "bert.safetensors", random(BERT))
    selection = selected(f"gpt2={path}, bert_base={other}", workloads="mlp,gpt2,bert_base")
    found = {cell.workload: cell.load_workload().weights for cell in cells(selection, "infer", ("null",))}
    assert found == {"mlp": None, "gpt2": weights.check(path, GPT2), "bert_base": weights.check(other, BERT)}


RUN = ("--preset", "smoke", "--workloads", "gpt2", "--phases", "infer", "--backends", "torch_cpu,onnxruntime_cpu")


def test_a_run_with_a_file_is_verified_and_is_another_workload(tmp_path, path):
    digests = []
    for options in ((), ("--weights", f"gpt2={path.name}")):
        done = bench(*RUN, *options, "--results-dir", "runs", cwd=tmp_path, SAMESTEP_CACHE=str(tmp_path / "cache"))
        run = run_in(tmp_path / "runs")
        assert done.returncode == pytest.ExitCode.OK, done.stdout
        assert set(statuses(run).values()) == {"ok"}
        (digest,) = {row["workload_digest"] for row in rows_of_work(run)}
        digests.append(digest)
    assert digests[0] != digests[1]
    (made,) = (
        entry
        for entry in (tmp_path / "cache").glob("parameters-*")
        if (entry / "parameters.safetensors").read_bytes() == path.read_bytes()
    )
    assert made.is_dir()


@pytest.mark.parametrize(("phase", "of"), [("infer", "output.0.logits"), ("train", "loss.0")])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_reference_that_is_not_finite_is_our_error_and_no_backends(tmp_path, phase, of, value):
    tensors = random()
    tensors[WTE][3] = value
    saved(tmp_path / "model.safetensors", tensors)
    workload = replace(GPT2, weights=weights.check(tmp_path / "model.safetensors", GPT2))
    cell = Cell("gpt2", "tiny", phase, "torch_cpu", GPT2.batch, GPT2.sequence, "fp32", 1)
    cell = replace(cell, weights_path=workload.weights.path, weights_sha256=workload.weights.sha256)
    suite = Suite(Cache(tmp_path / "cache", lambda text: None), tmp_path, EFFORT)
    columns = suite.run(cell).columns
    assert (columns["status"], columns["stage"]) == ("error", "artifacts")
    assert f"the reference is not finite in {of}: check the weights file, or take more tokens" in columns["reason"]


def test_a_refusal_ends_pytest_before_anything_runs(tmp_path, path):
    path.write_bytes(path.read_bytes()[:-1])
    options = ("--weights", f"gpt2={path}", "--results-dir", "runs")
    done = bench(*RUN, *options, cwd=tmp_path, SAMESTEP_CACHE=str(tmp_path / "cache"))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "is truncated in transformer." in done.stderr
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "cache").exists()
