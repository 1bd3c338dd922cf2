"""Weights in 8 bits: one definition, the same for every framework, and what is sold as it and is not is refused."""

from dataclasses import replace
from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import backends
from backends._arithmetic import cpu_has
from backends._graphs import ONNX
from backends._jax_ops import JaxOps
from backends._torch_int8 import FlippedInt8Ops, NoisyInt8Ops, ReferenceInt8Ops, TorchInt8
from backends._torch_noise import Noise
from bench.artifacts import EXPECTED
from bench.cell import PLAIN
from bench.child.checks import verify
from bench.child.expected import load_expected
from bench.child.settings import request_of
from tests.fakes.models import MECHANISMS
from tests.fakes.steps import allowed_in, make, make_in, setting, verdict
from tests.planted_int8 import IN_8_BITS, _In8Bits
from workloads import data
from workloads.catalog import load
from workloads.precision import FP32, INT8, W8
from workloads.recipes.agreement import AGREEMENT, agreement
from workloads.recipes.int8 import Calibrating, codes_of, products_of, quantized, step_of, why_undefined
from workloads.reference import NumpyOps

pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
SIZES = {"mlp": "base"}
"""Of the tiny one a single code weighs as much as a mistake."""
BINDINGS = {"torch": TorchInt8(), "reference": ReferenceInt8Ops(), "jax": JaxOps()}


def tensors_of(workload):
    return {name: np.array(a) for name, a in data.make_parameters(workload).items()}


@pytest.mark.parametrize("name", MECHANISMS)
def test_every_product_with_a_weight_is_found_and_nothing_else(name):
    workload = load(name, "tiny")
    products, _ = products_of(workload.programs["infer"])
    shapes = {spec.name: spec.shape for spec in workload.tensors}
    assert {len(shapes[product]) for product in products} <= {2, 4}
    for product in products.values():
        assert product.channels == shapes[product.name][product.axis]
        assert bool(product.norm) == (len(shapes[product.name]) == 4)
    assert not any("running" in name or "bias" in name for name in products)


def test_what_an_embedding_reads_too_stays_beside_its_codes():
    program = quantized(load("gpt2", "tiny").programs["infer"], INT8)
    names = {spec.name for spec in program.constants}
    table = "transformer.wte.weight"
    assert {table, f"{table}_codes", f"{table}_scale", f"{table}_step"} <= names
    assert "transformer.h.0.attn.c_attn.weight" not in names
    weights_alone = {spec.name for spec in quantized(load("gpt2", "tiny").programs["infer"], W8).constants}
    assert names - weights_alone == {name for name in names if name.endswith("_step")}


def test_norms_are_folded_and_gone():
    program = quantized(load("resnet50", "tiny").programs["infer"], INT8)
    assert not [spec.name for spec in program.constants if "bn" in spec.name or "running" in spec.name]
    assert "conv1.weight_folded_bias" in {spec.name for spec in program.constants}


@pytest.mark.parametrize("precision", [INT8, W8], ids=["int8", "w8"])
def test_nothing_trains_in_codes_and_nothing_without_products_has_any(precision):
    assert "no gradient" in why_undefined(load("mlp", "tiny").programs["train"], precision)
    assert "has none" in why_undefined(load("stream", "tiny").programs["infer"], precision)
    assert why_undefined(load("mlp", "tiny").programs["infer"], precision) == ""
    assert why_undefined(load("mlp", "tiny").programs["train"], FP32) == ""
    with pytest.raises(ValueError, match="no gradient"):
        quantized(load("mlp", "tiny").programs["train"], precision)


@pytest.mark.parametrize("largest", [1e-30, 0.3, 127.0, 127.1, 254.0, 3e20])
def test_a_step_is_the_smallest_power_of_two_that_holds_it(largest):
    step = step_of(largest)
    assert np.log2(step) == int(np.log2(step))
    assert 127 * step >= largest > 127 * step / 2


def test_the_codes_of_a_weight():
    workload = load("resnet50", "tiny")
    tensors = tensors_of(workload)
    products, _ = products_of(workload.programs["infer"])
    made = codes_of(workload.programs["infer"], tensors, dict.fromkeys(products, 2.0), INT8)
    codes, scale = made["conv1.weight_codes"], made["conv1.weight_scale"]
    assert codes.dtype == np.int8
    assert (np.abs(codes).max((1, 2, 3)) == 127).all()
    factor = tensors["bn1.weight"] / np.sqrt(tensors["bn1.running_var"] + 1e-5)
    folded = tensors["conv1.weight"] * factor[:, None, None, None]
    assert np.abs(codes * scale[:, None, None, None] - folded).max() <= scale.max() * 0.501
    bias = tensors["bn1.bias"] - tensors["bn1.running_mean"] * factor
    np.testing.assert_allclose(made["conv1.weight_folded_bias"], bias, rtol=1e-5)


def cases():
    random = np.random.default_rng(0)
    x = random.normal(size=(3, 5, 16)).astype(np.float32)
    images = random.normal(size=(2, 4, 9, 9)).astype(np.float32)
    codes = random.integers(-127, 128, (8, 16)).astype(np.int8)
    kernel = random.integers(-127, 128, (8, 4, 3, 3)).astype(np.int8)
    scale, bias = random.uniform(0.01, 0.02, 8).astype(np.float32), random.normal(size=8).astype(np.float32)
    step = np.array(2.0**-5, np.float32)
    for layout, weight in (("oi", codes), ("io", np.ascontiguousarray(codes.T))):
        yield "int8_linear", (x, weight, scale, step, bias), (layout,)
        yield "w8_linear", (x, weight, scale, bias), (layout,)
    for stride, padding in ((1, 0), (1, 1), (2, 1)):
        yield "int8_conv2d", (images, kernel, scale, step, bias), (stride, padding)
        yield "w8_conv2d", (images, kernel, scale, bias), (stride, padding)


@pytest.mark.parametrize(("operation", "arrays", "more"), list(cases()))
@pytest.mark.parametrize("binding", BINDINGS)
def test_an_operation_of_codes_is_that_of_the_numpy_reference(binding, operation, arrays, more):
    wide = [a.astype(np.float64) if a.dtype == np.float32 else a for a in arrays]
    theirs = getattr(NumpyOps(), operation)(*wide, *more)
    given = {
        "torch": [torch.from_numpy(a) for a in arrays],
        "reference": [torch.from_numpy(a) for a in wide],
        "jax": [jnp.asarray(a) for a in arrays],
    }[binding]
    ours = np.asarray(getattr(BINDINGS[binding], operation)(*given, *more))
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


def test_a_sum_of_codes_is_an_integer_of_32_bits():
    rows, terms = 1, 1 << 17
    x, codes = np.full((rows, terms), 127.0, np.float32), np.full((4, terms), 127, np.int8)
    one, scale = np.array(1.0, np.float32), np.ones(4, np.float32)
    exact = 127 * 127 * terms
    for ops, of in ((TorchInt8(), torch.from_numpy), (JaxOps(), jnp.asarray)):
        y = np.asarray(ops.int8_linear(of(x), of(codes), of(scale), of(one), None, "oi"))
        assert set(y.reshape(-1)) == {np.float32(exact)}


LEAST_DB = {"moe": 8}
"""Codes turn choices of experts where two are nearly as likely: that makes another model of some tokens."""


@pytest.mark.parametrize("name", MECHANISMS)
def test_the_quantised_model_is_near_the_one_of_float32(name):
    """Over the NumPy reference: the other implementation of the definition."""
    workload = load(name, "tiny")
    plain = workload.programs["infer"]
    tensors = {name: a.astype(np.float64) for name, a in tensors_of(workload).items()}
    batch = data.make_batches(workload)[0]
    largest = {}
    constants = plain.constants_of(tensors)
    exact, *_ = plain.outputs_of(Calibrating(NumpyOps(), constants, largest), constants, {}, batch).values()
    made = codes_of(plain, tensors, largest, INT8)
    codes, *_ = quantized(plain, INT8).outputs_of(NumpyOps(), made, {}, batch).values()
    found = agreement([codes], [exact])
    assert list(found) == list(AGREEMENT)
    assert LEAST_DB.get(name, 15) < found["sqnr_db"] < 60
    assert found["top1_agreement"] > 0.5


def test_agreement():
    a = np.array([[1.0, 0.0], [0.0, 1.0]])
    same = agreement([a], [a])
    assert same == {"sqnr_db": None, "kl_nats": 0.0, "top1_agreement": 1.0, "agreement_n": 2}
    other = agreement([a[::-1]], [a])
    assert other["top1_agreement"] == 0
    assert other["sqnr_db"] == pytest.approx(10 * np.log10(2 / 4))
    p = np.exp(1) / (1 + np.exp(1))
    assert other["kl_nats"] == pytest.approx(p - (1 - p))


def test_codes_are_flipped_to_their_other_neighbour():
    ops = FlippedInt8Ops(50.0, seed=1)
    x = torch.linspace(-3, 3, 1000, dtype=torch.float64)
    codes = ops._codes(x, torch.tensor(0.5))
    nearest = torch.round(x / 0.5)
    flipped = codes != nearest
    assert int(flipped.sum()) == ops.flips
    assert 20 < ops.flips < 100
    assert ((codes - nearest)[flipped].abs() == 1).all()
    assert ((codes - x / 0.5).abs() <= 1 + 1e-12).all()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Returns the folders of what a cell takes, by workload and precision."""

    @cache
    def of(name, precision):
        workload, folder = load(name, SIZES.get(name, "tiny")), tmp_path_factory.mktemp("made")
        made = make_in(folder, workload, "infer", precision=precision)
        (plain := folder / PLAIN).mkdir()
        make(EXPECTED, workload, "infer", plain, {**made, "parameters": folder / "parameters"}, FP32)
        return made | {PLAIN: plain}

    return of


@pytest.fixture(scope="module")
def prepared(folders):
    """Returns request, expectation, bounds and what float32 computes, by workload and precision."""

    @cache
    def of(name, precision):
        made = folders(name, precision)
        asked = setting(load(name, SIZES.get(name, "tiny")), "infer", torch.get_num_threads())
        request = request_of(replace(asked, precision=precision), _In8Bits(), made)
        return request, load_expected(made["expected"]), allowed_in(made, precision), load_expected(made[PLAIN])

    return of


@pytest.mark.parametrize("precision", [INT8, W8], ids=["int8", "w8"])
@pytest.mark.parametrize("name", MECHANISMS)
def test_what_has_no_bug_passes(name, precision, prepared):
    assert verdict(_In8Bits(), prepared(name, precision)) is None


@pytest.mark.parametrize("bug", IN_8_BITS)
@pytest.mark.parametrize("name", MECHANISMS)
def test_what_is_sold_as_8_bits_and_is_not_is_refused(name, bug, prepared):
    planted = IN_8_BITS[bug]
    if planted.workloads is not None and name not in planted.workloads:
        pytest.skip("it has no such operation")
    precision = {"int8": INT8, "w8": W8}[planted.precision]
    assert verdict(planted(), prepared(name, precision)) == "output_differs"


RUNTIMES = ("onnxruntime", "openvino")


def step_of_graph(runtime, request, by_default):
    """Returns the step of an exported graph; `by_default` as who does not know better would run it."""
    if runtime == "openvino":
        from backends._openvino import OpenVinoStep

        step = OpenVinoStep(request, "CPU")
        if by_default:
            step.compile_model = lambda hints: step.core.compile_model(step.model, "CPU")
        step.compile()
        return step
    from backends import _onnxruntime as of

    step = of.OnnxRuntimeStep(request, "CPUExecutionProvider")
    with pytest.MonkeyPatch.context() as patch:
        if by_default:
            path = str(request.artifacts["onnx"] / "step.onnx")
            patch.setattr(of, "open_session", lambda *more, **named: of.ort.InferenceSession(path))
            patch.setattr(of, "products_of", lambda *more: {})
        step.compile()
    return step


@pytest.mark.parametrize("precision", [INT8, W8], ids=["int8", "w8"])
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", ["gpt2", "resnet50"])
@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch's exporter warns of itself
def test_an_exported_graph_is_the_definition_as_it_is_run_here(name, runtime, precision, folders, prepared, tmp_path):
    request, expected, allowed, _ = prepared(name, precision)
    made = folders(name, precision)
    make(ONNX, request.workload, "infer", tmp_path, made, precision)
    request = replace(request, artifacts={"onnx": tmp_path})
    adapter = backends.get(f"{runtime}_cpu")
    observed, _ = verify.observe(step_of_graph(runtime, request, False), request.program, request.parameters)
    saturates = bool(adapter.why_unsupported("infer", precision.name))
    assert bool(verify.compare(observed, expected, allowed).failures) == saturates
    if (name, runtime) == ("gpt2", "onnxruntime") and not cpu_has("int8"):
        observed, _ = verify.observe(step_of_graph(runtime, request, True), request.program, request.parameters)
        assert verify.compare(observed, expected, allowed).failures  # another computation, and it is seen


def test_a_quantiser_that_adds_an_offset_may_read_the_neighbour_of_a_number_near_a_half():
    """OpenVINO's adds 128 in float32: of 524,288 normal numbers it reads 5 as the neighbour, within 6e-6 of a half."""
    step = torch.tensor(2.0**-4, dtype=torch.float64)
    near, far = (torch.full((1000,), 3.5 - by, dtype=torch.float64) * step for by in (2e-6, 1e-4))
    ops = NoisyInt8Ops(Noise(INT8, 0))
    assert set(ops._codes(near, step).tolist()) == {3.0, 4.0}
    assert set(ops._codes(far, step).tolist()) == {3.0}
