"""The language models and the ResNet compute what Hugging Face's models compute, with the same random weights.

Needs the extra `world` (`tox -e world`); nothing is downloaded.
"""

from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="the comparison runs in torch: install the extra `cpu`")
pytest.importorskip("transformers", reason="the models to compare with: install the extra `world`")

import torch

from backends._torch_ops import TorchOps, to_torch, value_and_grad
from tests import transformers_models as theirs
from tests.fakes.steps import infer, loss, widest
from workloads import data
from workloads.catalog import CATALOG, load
from workloads.models import llama
from workloads.recipes.rope import Scaling

NAMES = ("gpt2", "bert_base", "resnet50", "llama", "moe")
PARAMETER_COUNTS = {
    "gpt2": 124_439_808,
    "bert_base": 110_106_428,
    "resnet50": 25_557_032,
    "llama": 134_515_008,
    "moe": 138_715_648,
}
DOUBLE = dict.fromkeys(NAMES, 1e-9) | {"llama": 3e-6, "moe": 3e-6}
"""Tolerance in float64, relative in norm: a hundred times under what one float32 on the way would cost. Their norms,
angles of rotary positions and routers compute in float32 whatever they are given (5.24)."""
VARIANTS = {
    "qwen": {"qkv_bias": True},
    "llama3": {"rope_scaling": Scaling(8.0, 1.0, 4.0, 32)},
}
"""What other models of Llama's shape have, at its tiny size."""
FLOOR = 1e-3
"""A gradient's error is taken relative to at least this part of the largest one: a key's bias has the gradient 0."""


def error(ours, theirs, floor=0.0):
    """Returns the norm of the difference relative to the norm of theirs, or to `floor` where that is larger."""
    assert ours.shape == theirs.shape
    ours, theirs = ours.detach().double(), theirs.detach().double()
    return float((ours - theirs).norm() / max(float(theirs.norm()), floor))


def gradient_errors(ours, theirs):
    assert ours.keys() == theirs.keys()
    floor = FLOOR * max(float(gradient.norm()) for gradient in theirs.values())
    return {name: error(ours[name], gradient, floor) for name, gradient in theirs.items()}


class Pair:
    """Our workload and their model on the same weights and the same batch."""

    def __init__(self, name, size, dtype, batch=None, sequence=None, attention="sdpa", **changes):
        self.workload = load(name, size, batch, sequence)
        made = data.make_parameters(self.workload)
        self.tensors = {key: to_torch(array, theirs.CPU, dtype) for key, array in made.items()}
        self.batch = {k: to_torch(a, theirs.CPU, dtype) for k, a in data.make_batches(self.workload)[0].items()}
        stored = {spec.name: made[spec.name] for spec in self.workload.stored}
        self.model = theirs.with_our_weights(
            name, theirs.build(name, size, attention=attention, **changes), stored, dtype
        )

    def output_errors(self):
        batch = {spec.name: self.batch[spec.name] for spec in self.workload.programs["infer"].inputs}
        self.model.eval()
        with torch.no_grad():
            ours = infer(self.workload, TorchOps(), self.tensors, batch)
            other = theirs.infer(self.workload.name, self.model, batch)
        assert ours.keys() == other.keys()
        return {name: error(ours[name], other[name]) for name in ours}

    def training_errors(self):
        """Returns the errors of the loss, of each gradient, of each running statistic after one step."""
        names = {spec.name for spec in self.workload.parameters}
        held = {name: t for name, t in self.tensors.items() if name not in names}
        (value, buffers), gradients = value_and_grad(
            lambda p: loss(self.workload, TorchOps(), {**p, **held}, self.batch),
            {name: t for name, t in self.tensors.items() if name in names},
        )
        self.model.train()
        other = theirs.loss(self.workload.name, self.model, self.batch)
        other.backward()
        name = self.workload.name
        their_gradients = theirs.gradients_of(name, self.model)
        statistics = theirs.statistics_of(name, self.model)
        assert buffers.keys() == statistics.keys()
        return (
            error(value, other),
            gradient_errors(gradients, their_gradients),
            {key: error(buffers[key], b) for key, b in statistics.items()},
        )


def worst(errors):
    """Returns the largest error and whose it is; nothing at all counts as no error."""
    return max(((value, name) for name, value in errors.items()), default=(0.0, ""))


def shapes(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("published", [False, True], ids=["tiny", "published"])
def test_names_shapes_and_count_are_theirs(name, published):
    workload = load(name, CATALOG[name].PUBLISHED if published else "tiny")
    model = theirs.build(name, workload.size, device=torch.device("meta"))
    parameters = theirs.parameters_of(name, model)
    assert {spec.name: spec.shape for spec in workload.parameters} == shapes(parameters)
    carried = [spec for spec in workload.buffers if spec in workload.stored]
    assert {spec.name: spec.shape for spec in carried} == shapes(theirs.statistics_of(name, model))
    if published:
        assert workload.parameter_count == sum(p.numel() for p in parameters.values()) == PARAMETER_COUNTS[name]


@pytest.mark.parametrize(
    ("name", "size"),
    [("llama", size) for size in ("qwen2.5-0.5b", "1b", "8b")] + [("moe", "mixtral-8x7b")],
)
def test_names_and_shapes_of_declared_sizes_are_theirs(name, size):
    model = theirs.build(name, size, device=torch.device("meta"))
    assert {spec.name: spec.shape for spec in load(name, size).parameters} == shapes(theirs.parameters_of(name, model))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", NAMES)
def test_a_step_in_float32_is_theirs(name, attention):
    pair, allowed = Pair(name, "tiny", torch.float32, attention=attention), widest(load(name, "tiny"))
    assert worst(pair.output_errors()) < (allowed["output"],)
    loss, gradients, statistics = pair.training_errors()
    assert loss < allowed["loss"]
    assert worst(gradients) < (allowed["first_moment"],)
    assert worst(statistics) < (allowed["output"],)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", NAMES)
def test_a_step_in_float64_is_theirs(name, attention):
    pair = Pair(name, "tiny", torch.float64, attention=attention)
    assert worst(pair.output_errors()) < (DOUBLE[name],)
    loss, gradients, statistics = pair.training_errors()
    assert loss < DOUBLE[name]
    assert worst(gradients) < (DOUBLE[name],)
    assert worst(statistics) < (DOUBLE[name],)


@pytest.mark.parametrize("variant", VARIANTS)
def test_other_models_of_llamas_shape_are_theirs(variant, monkeypatch):
    monkeypatch.setitem(llama.SIZES, "tiny", replace(llama.SIZES["tiny"], **VARIANTS[variant]))
    pair = Pair("llama", "tiny", torch.float64)
    assert worst(pair.output_errors()) < (DOUBLE["llama"],)
    loss, gradients, _ = pair.training_errors()
    assert loss < DOUBLE["llama"]
    assert worst(gradients) < (DOUBLE["llama"],)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_at_the_published_size_is_theirs(name):
    sequence = 16 if CATALOG[name].SEQUENCES else None
    pair = Pair(name, CATALOG[name].PUBLISHED, torch.float64, batch=2, sequence=sequence)
    assert worst(pair.output_errors()) < (DOUBLE[name],)
    loss, gradients, statistics = pair.training_errors()
    assert loss < DOUBLE[name]
    assert worst(gradients) < (DOUBLE[name],)
    assert worst(statistics) < (DOUBLE[name],)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("gpt2", {"activation_function": "gelu"}),
        ("gpt2", {"layer_norm_epsilon": 1e-4}),
        ("gpt2", {"scale_attn_weights": False}),
        ("bert_base", {"hidden_act": "gelu_new"}),
        ("bert_base", {"layer_norm_eps": 1e-5}),
        ("resnet50", {"downsample_in_bottleneck": True}),
        ("resnet50", {"hidden_act": "gelu"}),
        ("llama", {"rms_norm_eps": 1e-3}),
        ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e2}}),
        ("moe", {"num_experts_per_tok": 1}),
        ("moe", {"hidden_act": "gelu"}),
    ],
    ids=str,
)
def test_another_model_is_told_apart(name, changes):
    pair = Pair(name, "tiny", torch.float64, **changes)
    assert worst(pair.output_errors())[0] > 100 * DOUBLE[name]
    assert worst(pair.training_errors()[1])[0] > 100 * DOUBLE[name]
