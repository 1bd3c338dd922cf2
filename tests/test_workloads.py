"""The models themselves: published counts and names, counted FLOPs, and bindings held against the NumPy reference."""

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from backends._torch_ops import TorchOps, to_torch, value_and_grad
from tests.fakes.steps import infer, loss, rule_of
from workloads import data
from workloads.catalog import CATALOG, MODELS, load
from workloads.count import count
from workloads.program import initial_state
from workloads.reference import NumpyOps, float64
from workloads.specs import N_BATCHES

CPU = torch.device("cpu")
TINY = [load(name, "tiny") for name in MODELS]
tiny = pytest.mark.parametrize("workload", TINY, ids=lambda w: w.name)


def in_torch(arrays, dtype=torch.float64):
    return {name: to_torch(a, CPU, dtype) for name, a in arrays.items()}


@pytest.mark.parametrize(
    ("name", "size", "published"),
    [
        ("gpt2", "124m", 124_439_808),
        ("resnet50", "224", 25_557_032),
        ("bert_base", "110m", 110_106_428),
        ("vit_b16", "224", 86_567_656),  # timm's and torchvision's
        ("dit", "s-2", 32_865_056),
        ("dit", "xl-2", 675_129_632 - 294_912),  # the authors' count has the fixed table of positions
        ("dlrm", "kaggle", 540_677_217),
        ("ds_cnn", "24k", 24_908 - 1152),  # Keras counts running statistics too, here and below
        ("mobilenet_v1_025", "96", 221_794 - 5472),
        ("resnet8", "78k", 78_666 - 480),
        ("autoencoder", "268k", 269_992 - 2064),
        ("unet", "31m", 31_037_633 + 65),  # as published for one class, and another one's weights and bias
    ],
)
def test_parameter_counts_are_the_published_ones(name, size, published):
    assert load(name, size).parameter_count == published


@pytest.mark.parametrize(
    ("name", "statistics"), [("ds_cnn", 1152), ("mobilenet_v1_025", 5472), ("resnet8", 480), ("autoencoder", 2064)]
)
def test_running_statistics_are_as_many_as_published(name, statistics):
    assert sum(spec.size for spec in load(name).buffers) == statistics


def test_the_tables_of_kaggle_are_those_of_33_million_rows():
    rows = CATALOG["dlrm"].KAGGLE
    assert (len(rows), sum(rows)) == (26, 33_762_577)
    capped = [spec.shape[0] for spec in load("dlrm", "kaggle-100k").parameters if spec.name.startswith("emb_l")]
    assert capped == [min(n, 100_000) for n in rows]


def test_gpt2_has_the_published_names_and_shapes():
    shapes = {spec.name: spec.shape for spec in load("gpt2").parameters}
    assert len(shapes) == 4 + 12 * 12
    assert shapes["transformer.wte.weight"] == (50257, 768)
    assert shapes["transformer.wpe.weight"] == (1024, 768)
    assert shapes["transformer.h.11.attn.c_attn.weight"] == (768, 2304)
    assert shapes["transformer.h.0.attn.c_proj.weight"] == (768, 768)
    assert shapes["transformer.h.5.mlp.c_fc.weight"] == (768, 3072)
    assert shapes["transformer.h.5.mlp.c_proj.bias"] == (768,)
    assert shapes["transformer.ln_f.bias"] == (768,)


def carried(workload):
    """Returns the buffers that training carries on: not those that are made by a formula."""
    return [spec for spec in workload.buffers if spec in workload.stored]


def differentiated(workload, parameters, batch):
    """Returns ((loss, buffers), gradients by name) of the torch binding in float64."""
    held, inputs = in_torch(parameters), in_torch(batch)
    trained = {spec.name: held.pop(spec.name) for spec in workload.parameters}
    return value_and_grad(lambda p: loss(workload, TorchOps(), {**p, **held}, inputs), trained)


@tiny
def test_torch_equals_the_numpy_reference_in_float64(workload):
    parameters, batch = data.make_parameters(workload), data.make_batches(workload)[0]
    expected = infer(workload, NumpyOps(), float64(parameters), batch)
    found = infer(workload, TorchOps(), in_torch(parameters), in_torch(batch))
    assert found.keys() == expected.keys()
    for name, reference in expected.items():
        np.testing.assert_allclose(found[name].numpy(), reference, rtol=1e-11, atol=1e-12)
    expected_loss, expected_buffers = loss(workload, NumpyOps(), float64(parameters), batch)
    value, buffers = loss(workload, TorchOps(), in_torch(parameters), in_torch(batch))
    np.testing.assert_allclose(value.item(), expected_loss, rtol=1e-12)
    assert buffers.keys() == expected_buffers.keys() == {spec.name for spec in carried(workload)}
    for name, reference in expected_buffers.items():
        np.testing.assert_allclose(buffers[name].numpy(), reference, rtol=1e-11)


@tiny
def test_jax_equals_the_numpy_reference_in_float64(workload):
    import jax

    from backends import _jax_ops

    parameters, batch = float64(data.make_parameters(workload)), data.make_batches(workload)[0]
    with jax.enable_x64(True):
        arrays = {name: jax.numpy.asarray(p) for name, p in parameters.items()}
        inputs = {name: jax.numpy.asarray(a) for name, a in float64(batch).items()}
        found = jax.jit(lambda p: infer(workload, _jax_ops.JaxOps(), p, inputs))(arrays)
        (value, buffers), gradients = jax.jit(
            lambda p: _jax_ops.value_and_grad(lambda p: loss(workload, _jax_ops.JaxOps(), p, inputs), p)
        )(arrays)
    for name, reference in infer(workload, NumpyOps(), parameters, batch).items():
        assert difference(found[name], reference) < JAX_DIFFERENCE[workload.name]
    (expected, expected_buffers), torch_gradients = differentiated(workload, parameters, batch)
    for name, reference in expected_buffers.items():
        assert difference(buffers[name], reference.detach().numpy()) < JAX_DIFFERENCE[workload.name]
    assert difference(value, expected.numpy()) < JAX_DIFFERENCE[workload.name]
    for name, gradient in torch_gradients.items():
        assert difference(gradients[name], gradient.numpy()) < JAX_DIFFERENCE[workload.name], name


JAX_DIFFERENCE = dict.fromkeys(MODELS, 1e-10) | {
    **dict.fromkeys(("dlrm", "mlp"), 1e-12),
    **dict.fromkeys(("resnet50", "unet"), 1e-11),
    **dict.fromkeys(("bert_base", "dit", "gpt2", "llama", "moe", "vit_b16"), 1e-6),
}
"""`jax.nn.dot_product_attention` keeps its softmax in float32, whatever it is given (jax 0.10.2)."""


def difference(found, reference):
    """Returns the norm of the difference relative to the reference's, or to 1e-5: some true gradients are zero."""
    return np.linalg.norm(np.asarray(found) - reference) / max(np.linalg.norm(reference), 1e-5)


@tiny
def test_gradients_equal_central_differences_of_the_numpy_reference(workload):
    """One random direction per parameter tensor, through losses that know nothing of any framework."""
    parameters, batch = float64(data.make_parameters(workload)), data.make_batches(workload)[0]
    _, gradients = differentiated(workload, parameters, batch)
    generator = np.random.RandomState(1)
    for name in (spec.name for spec in workload.parameters):
        parameter = parameters[name]
        direction = generator.standard_normal(parameter.shape)
        h = 1e-8 if workload.name in KINKED else 1e-5
        ahead, behind = (
            loss(workload, NumpyOps(), parameters | {name: parameter + sign * h * direction}, batch)[0]
            for sign in (1, -1)
        )
        slope = float((gradients[name].numpy() * direction).sum())
        assert slope == pytest.approx((ahead - behind) / (2 * h), rel=1e-4 if h < 1e-6 else 1e-5, abs=1e-7), name


KINKED = ("autoencoder", "dlrm", "ds_cnn", "mobilenet_v1_025", "moe", "resnet50", "resnet8", "unet")
"""Within a larger step a ReLU, a maximum or a router's choice somewhere would change sides."""


def counted(workload, phase):
    """Returns FLOPs as torch counts them, attention in its mathematical form (its fused CPU kernel is not counted)."""
    trained = {spec.name for spec in workload.parameters} if phase == "train" else set()
    parameters = {name: p.requires_grad_(name in trained) for name, p in in_torch_float32(workload).items()}
    batch = in_torch(data.make_batches(workload)[0], torch.float32)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        if phase == "infer":
            infer(workload, TorchOps(), parameters, batch)
        else:
            loss(workload, TorchOps(), parameters, batch)[0].backward()
    return counter.get_total_flops()


def in_torch_float32(workload):
    return in_torch(data.make_parameters(workload), torch.float32)


@tiny
@pytest.mark.parametrize("phase", ["infer", "train"])
def test_flops_equal_those_that_torch_counts(workload, phase):
    expected = counted(workload, phase)
    if phase == "train" and workload.name in FIRST_OF_GROUPED:
        expected = 3 * counted(workload, "infer") - FIRST_OF_GROUPED[workload.name]
    assert count(workload.programs[phase]).flops == expected


FIRST_OF_GROUPED = {"ds_cnn": 2 * 4 * (7 * 3) * 12 * (4 * 3), "mobilenet_v1_025": 2 * 4 * 12**2 * 8 * (3 * 3**2)}
"""FLOPs of the first convolution, whose input has no gradient, of what has grouped ones: torch (2.13) counts the
gradients of their weights as those of whole ones.
"""


def test_minimum_bytes_of_a_training_step_are_the_state_once_in_and_out():
    gpt2 = load("gpt2")
    assert count(gpt2.programs["train"]).minimum_bytes == 2 * 3 * 4 * 124_439_808 + 2 * 8 * 2 * 128


def test_minimum_bytes_of_inference_leave_out_embedding_rows_that_are_not_looked_up():
    gpt2 = load("gpt2")
    read = 124_439_808 - (1024 - 128) * 768
    logits = 2 * 128 * 50257
    assert count(gpt2.programs["infer"]).minimum_bytes == 4 * (read + logits) + 8 * 2 * 128


@tiny
def test_data_are_the_same_every_time_and_differ_by_batch_and_seed(workload):
    first, second = data.make_batches(workload), data.make_batches(workload)
    assert len(first) == N_BATCHES
    for name, array in first[0].items():
        np.testing.assert_array_equal(array, second[0][name])
        assert not np.array_equal(array, first[1][name])
    parameters = data.make_parameters(workload)
    assert all(np.all(parameters[spec.name] != 0) for spec in workload.stored)


def test_digests_are_frozen():
    """Rows of different versions are compared by these: a change here splits every series."""
    digests = {w.name: data.digest(w, data.make_parameters(w), data.make_batches(w)) for w in TINY}
    assert digests == {
        "mlp": "685a568695d4fa6b",
        "resnet50": "fd5925019c2f43c3",
        "gpt2": "6a4951148a83c596",
        "bert_base": "5a6df1fe094ef8c5",
        "llama": "489ca01729baf021",
        "moe": "0f7046c936747ef9",
        "autoencoder": "c7c87958dbdc6364",
        "dit": "026550d1f6a0c702",
        "dlrm": "ac42df52ef284f01",
        "ds_cnn": "10fc8bc139c220e5",
        "mobilenet_v1_025": "fdbf5bae08e96368",
        "resnet8": "2ee9f69b46344c79",
        "unet": "d6410e4942e55853",
        "vit_b16": "f3642af03acb01d0",
    }


@pytest.mark.parametrize("change", ["parameter", "input", "batch"])
def test_the_digest_changes_with_the_bytes(change):
    workload = load("mlp", "tiny")
    parameters, batches = data.make_parameters(workload), data.make_batches(workload)
    before = data.digest(workload, parameters, batches)
    if change == "parameter":
        parameters["layers.0.bias"][0] += 1
    elif change == "input":
        batches[1]["labels"][0] ^= 1
    else:
        workload = load("mlp", "tiny", batch=5)
    assert data.digest(workload, parameters, batches) != before


@tiny
def test_the_update_rule_equals_torch_optim(workload):
    """Three float64 steps of this project's own rule against torch's optimiser."""
    from backends._torch import native_optimizer

    initial = in_torch(data.make_parameters(workload))
    batch = in_torch(data.make_batches(workload)[0])
    program = workload.programs["train"]
    state = initial_state(program, initial, torch.zeros_like)
    trained = [spec.name for spec in workload.parameters]
    native = {name: p.clone().requires_grad_(name in trained) for name, p in initial.items()}
    optimizer = native_optimizer(rule_of(workload), [native[name] for name in trained])
    for _ in range(3):
        _, state = program.step(TorchOps(), program.constants_of(initial), state, batch)
        optimizer.zero_grad()
        value, buffers = loss(workload, TorchOps(), native, batch)
        value.backward()
        native |= {name: buffer.detach() for name, buffer in buffers.items()}
        optimizer.step()
    for name, parameter in native.items():
        kind = "parameter" if name in trained else "buffer"
        after = state.get(f"{kind}.{name}", initial[name])  # what a formula makes is carried by no state
        torch.testing.assert_close(after, parameter.detach(), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nope",), f"unknown workload 'nope'; known: {', '.join(CATALOG)}"),
        (("gpt2", "huge"), "unknown size 'huge' of gpt2; known: tiny, tiny-3, 124m, 355m"),
        (("mlp", "tiny", 0), "batch must be at least 1, got 0"),
        (("gpt2", "124m", 1, 1025), "sequence 1025 is longer than gpt2-124m's 1024 positions"),
    ],
)
def test_what_the_catalogue_does_not_have_is_refused(arguments, message):
    with pytest.raises(ValueError) as error:
        load(*arguments)
    assert str(error.value) == message
