"""What a file's names and numbers mean: as public releases have them, with wrappers' prefixes, in other precisions."""

from dataclasses import replace

import numpy as np
import pytest

from tests.fakes.weights import changed, follow, random, read_back, refused, saved
from workloads.catalog import load
from workloads.weights import files as weights

GPT2, BERT, RESNET = (load(name, "tiny") for name in ("gpt2", "bert_base", "resnet50"))
WTE = "transformer.wte.weight"


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


EXACT = np.float32([0, -0.0, 1.5, -2.75, np.inf, -np.inf, np.nan, 2.0**-24, 65504])
"""Numbers that float16 and float64 have too."""


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
    path = saved(tmp_path / "model.safetensors", tensors)
    made = follow(refused(path, f"has module.{WTE}, which gpt2 tiny does not have", "begin with 'module.'"))
    np.testing.assert_array_equal(read_back(made)[WTE], random()[WTE])


@pytest.mark.parametrize("inner", ["as published", "as ours"])
def test_the_advice_for_another_prefix_makes_a_file_that_is_taken(tmp_path, inner):
    tensors = prefixed("model.", gpt2_as_published() if inner == "as published" else random())
    made = follow(refused(saved(tmp_path / "m.safetensors", tensors), "their names begin with 'model.'"))
    np.testing.assert_array_equal(read_back(made)[WTE], random()[WTE])


def test_the_advice_for_a_head_of_another_task_makes_a_file_that_is_taken(tmp_path):
    path = saved(tmp_path / "model.safetensors", random() | {"score.weight": np.zeros((2, 32), np.float32)})
    made = follow(refused(path, "if the rest is a head for another task, save without it"))
    np.testing.assert_array_equal(read_back(made)[WTE], random()[WTE])


def test_many_foreign_tensors_are_not_listed_in_an_advice(tmp_path):
    more = {f"other.{i}.weight": np.zeros(1, np.float32) for i in range(9)}
    refused(saved(tmp_path / "model.safetensors", random() | more), "other.0.weight", "and 6 more", weights.CONVERT)


def test_transposed_weights_are_not_turned_but_named(tmp_path):
    name = "transformer.h.0.attn.c_attn.weight"
    path = saved(tmp_path / "model.safetensors", random() | {name: np.ascontiguousarray(random()[name].T)})
    refused(path, f"{name} has shape [96, 32]", "expects [32, 96]", "transpose the weights of all linear layers")


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
