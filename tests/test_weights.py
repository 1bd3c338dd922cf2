"""A weights file is loaded as it is, or refused before anything runs: with the tensor, what was got and expected."""

import hashlib
import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.weights import changed, header_of, random, refused, saved
from workloads import data
from workloads.catalog import load
from workloads.weights import files as weights
from workloads.workload import Weights

GPT2, BERT, RESNET = (load(name, "tiny") for name in ("gpt2", "bert_base", "resnet50"))
WTE = "transformer.wte.weight"
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def path(tmp_path):
    return saved(tmp_path / "model.safetensors", random())


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
    code = "import sys; from pathlib import Path; from workloads.catalog import load\n"
    code += "from workloads.weights import files as weights"
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


def test_a_file_that_changes_after_the_check(path):
    checked = weights.check(path, GPT2)
    saved(path, data.make_parameters(replace(GPT2, seed=8)))
    with pytest.raises(ValueError, match="has changed since it was checked"):
        weights.read(replace(GPT2, weights=checked))
