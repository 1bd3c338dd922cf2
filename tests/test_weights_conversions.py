"""A file of another format is refused with what it is, and its advice, followed, makes a file that is taken."""

import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from tests.fakes.weights import TINY, follow, random, read_back, refused, saved
from workloads.weights import files as weights

torch = pytest.importorskip("torch")

WTE = "transformer.wte.weight"


def state():
    return OrderedDict((name, torch.from_numpy(np.array(array))) for name, array in random().items())


class Model(torch.nn.Module):
    """Its parameters have the names of GPT-2's."""

    def __init__(self):
        super().__init__()
        for name, tensor in state().items():
            *modules, last = name.split(".")
            module = self
            for part in modules:
                if part not in module._modules:
                    module.add_module(part, torch.nn.Module())
                module = module._modules[part]
            module.register_parameter(last, torch.nn.Parameter(tensor))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def tied():
    tensors = state()
    return tensors | {"lm_head.weight": tensors[WTE]}


class Arguments:
    """As training scripts keep theirs beside the state dict."""


def nested(key):
    return {
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1.0}]},
        key: {f"_orig_mod.{name}": t for name, t in state().items()},
        "iter_num": 3,
        "best_val_loss": torch.tensor(1.0),
    }


SAVED = {
    "state dict": state,
    "shared tensors": tied,
    "strided tensors": lambda: {name: t.transpose(0, -1).contiguous().transpose(0, -1) for name, t in state().items()},
    "half": lambda: {name: t.half() for name, t in state().items()},
    "bfloat16": lambda: {name: t.bfloat16() for name, t in state().items()},
    "nanoGPT": lambda: nested("model"),
    "Lightning": lambda: nested("state_dict") | {"hyper_parameters": {"model": "gpt2", "module": "x"}},
    "tutorial": lambda: nested("model_state_dict"),
    "DeepSpeed": lambda: nested("module"),
    "module": Model,
    "arguments": lambda: nested("model") | {"args": Arguments()},
}


@pytest.mark.parametrize("legacy", [False, True], ids=["archive", "before 1.6"])
@pytest.mark.parametrize("kind", SAVED)
def test_the_advice_for_a_pickle_makes_a_file_that_is_taken(tmp_path, kind, legacy):
    content = SAVED[kind]()
    torch.save(content, tmp_path / "model.bin", _use_new_zipfile_serialization=not legacy)
    advice = refused(tmp_path / "model.bin", "is not a safetensors file: it is a pickle of torch.save")
    runs_code = kind in ("module", "arguments")
    assert ("weights_only=False" in advice, "do so only if you trust where it is from" in advice) == (runs_code,) * 2
    expected = random()
    if kind in ("half", "bfloat16"):
        expected = {name: content[name].float().numpy() for name in expected}
    values = read_back(follow(advice))
    for key, array in expected.items():
        np.testing.assert_array_equal(values[key], array)


def test_nothing_of_a_pickle_is_run_to_say_what_it_is(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"a": Trap()}, tmp_path / "model.bin")
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Trap(), protocol=2))
    refused(tmp_path / "model.bin", "beside tensors, whose code runs when it is loaded")
    refused(tmp_path / "model.pkl", "it is a pickle that torch.save did not write")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_the_advice_for_torchscript_makes_a_file_that_is_taken(tmp_path):
    torch.jit.save(torch.jit.trace(Model(), torch.ones(1)), tmp_path / "model.pt")
    made = follow(refused(tmp_path / "model.pt", "it is TorchScript of torch.jit.save"))
    np.testing.assert_array_equal(read_back(made)[WTE], random()[WTE])


@pytest.mark.parametrize("named", ["", "pytorch_model.bin.index.json", "pytorch_model-00002-of-00002.bin"])
def test_the_advice_for_shards_that_are_pickles_makes_one_file_of_all(tmp_path, named):
    names = list(random())
    shards = [f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2)]
    for i, shard in enumerate(shards):
        torch.save({name: state()[name] for name in names[i::2]}, tmp_path / shard)
    shard_of = ", ".join(f'"{name}": "{shards[i % 2]}"' for i, name in enumerate(names))
    (tmp_path / "pytorch_model.bin.index.json").write_text('{"weight_map": {' + shard_of + "}}")
    with pytest.raises(ValueError, match=r"pickle of torch\.save") as refusal:
        weights.check(tmp_path / named, TINY)
    np.testing.assert_array_equal(read_back(follow(str(refusal.value)))[WTE], random()[WTE])


def test_the_advice_does_not_write_over_a_file(tmp_path):
    torch.save(state(), tmp_path / "model.bin")
    saved(tmp_path / "model.safetensors", {"other": np.zeros(1)})
    made = follow(refused(tmp_path / "model.bin"))
    assert made.name == "model.bin.safetensors"


def test_the_advice_for_numpys_archive_makes_a_file_that_is_taken(tmp_path):
    np.savez(tmp_path / "model.npz", **random())
    made = follow(refused(tmp_path / "model.npz", "it is an archive of numpy.savez"))
    np.testing.assert_array_equal(read_back(made)[WTE], random()[WTE])


def test_a_folder_with_a_pickle_alone(tmp_path):
    torch.save(state(), tmp_path / "pytorch_model.bin")
    made = follow(refused(tmp_path, "has no safetensors file, and its pytorch_model.bin is a pickle of torch.save"))
    np.testing.assert_array_equal(read_back(made)[WTE], random()[WTE])
    np.testing.assert_array_equal(read_back(tmp_path)[WTE], random()[WTE])


@pytest.mark.parametrize("size", [20, 3000, -100])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_cut_short_is_still_one(tmp_path, size, legacy):
    torch.save(state(), tmp_path / "model.bin", _use_new_zipfile_serialization=not legacy)
    (tmp_path / "model.bin").write_bytes((tmp_path / "model.bin").read_bytes()[:size])
    refused(tmp_path / "model.bin", "is not a safetensors file: it is a")


def test_another_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr("model.safetensors", b"content")
    refused(tmp_path / "model.zip", "it is a ZIP archive without torch.save's tensors; unpack it")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", ("a Git LFS pointer", "git lfs pull")),
        (b"<!DOCTYPE html>\n<html><body>Not found", ("a web page", "/resolve/")),
        (b"\n<html>", ("a web page", "/resolve/")),
        (b'{"error": "Entry not found"}', ("JSON text", "ends in .json")),
        (b"\x1f\x8b\x08\0", ("packed with gzip", "unpack it")),
        (b"BZh9", ("packed with bzip2", "unpack it")),
        (b"\x89HDF\r\n\x1a\n", ("an HDF5 file", "fetch the model's release in safetensors")),
        (b"GGUF\x03\0\0\0", ("a GGUF file", "that it was made from")),
        (b"\0" * 4096, ("zero bytes, as an unfinished download is", "fetch it again")),
    ],
    ids=range(9),
)
def test_other_files_by_their_first_bytes(tmp_path, content, words):
    (tmp_path / "model.safetensors").write_bytes(content)
    refused(tmp_path / "model.safetensors", "is not a safetensors file", *words)
