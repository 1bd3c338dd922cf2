"""One definition of reduced precision: what is rounded, where, and that every framework means the same by it."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from backends._arithmetic import in_words
from backends._jax_ops import JaxOps
from backends._torch_arithmetic import Products
from backends._torch_noise import Noise, NoisyOps, ReferenceOps
from backends._torch_ops import TorchOps
from backends._xla_arithmetic import products_of
from backends.base import Setting
from bench.child.told import arithmetic
from tests.fakes.steps import update_of
from workloads import data
from workloads.catalog import MODELS, load
from workloads.ops import Ops
from workloads.precision import BF16, FP16, FP32, PRECISIONS, precision_of
from workloads.program import Program, Work, inference
from workloads.recipes.mixed import Mixed, lowered
from workloads.reference import NumpyOps
from workloads.specs import InputSpec, StateSpec

REDUCED = [precision for precision in PRECISIONS.values() if precision.is_reduced]
reduced = pytest.mark.parametrize("precision", REDUCED, ids=lambda precision: precision.name)


@reduced
def test_a_stored_tensor_is_rounded_to_nearest_even_as_torch_does(precision):
    random = np.random.default_rng(0)
    x = random.normal(size=20_000) * 10.0 ** random.uniform(-9, 4, 20_000)
    if precision.smallest == 0:
        x *= 10.0 ** random.uniform(-20, 20, 20_000)
    x = np.float64(np.float32(x))
    theirs = torch.from_numpy(x).to(getattr(torch, precision.compute)).double().numpy()
    ours = NumpyOps().rounded(x, precision.compute)
    finite = np.isfinite(theirs)
    np.testing.assert_array_equal(ours[finite], theirs[finite])
    reference = ReferenceOps().rounded(torch.from_numpy(x), precision.compute).numpy()
    np.testing.assert_array_equal(reference[finite], theirs[finite])


def test_the_wrapper_says_of_every_operation_how_it_rounds():
    composed = {"repeat", "rounded", "evaluate"}  # of others, or of a graph that says its own types
    # Those of codes are no matter of a shorter type.
    of_codes = {f"{kind}_{product}" for kind in ("int8", "w8", "fp8") for product in ("linear", "conv2d")}
    operations = {name for name, one in inspect.getmembers(Ops, inspect.isfunction) if not name.startswith("_")}
    assert operations - composed - of_codes <= set(vars(Mixed))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("phase", ["infer", "train"])
def test_fp32_is_the_program_as_it_is_written(name, phase):
    program = load(name, "tiny").programs[phase]
    assert lowered(program, FP32) is program
    assert lowered(program, precision_of("tf32")) is program


@reduced
@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_of_the_reference_is_that_at_the_rounded_parameters(name, precision):
    """Rounding happens once, at the top; what is differentiated behind it is not rounded in the reference."""
    workload = load(name, "tiny")
    buffers = {spec.name for spec in workload.buffers}
    tensors = {n: torch.from_numpy(a.copy()).double() for n, a in data.make_parameters(workload).items()}
    batch = {n: torch.from_numpy(a.copy()) for n, a in data.make_batches(workload)[0].items()}
    batch = {n: x.double() if x.is_floating_point() else x for n, x in batch.items()}
    low = getattr(torch, precision.compute)
    at = {n: x if n in buffers else x.to(low).double() for n, x in tensors.items()}
    rounded = {n: x.to(low).double() if x.is_floating_point() else x for n, x in batch.items()}

    def gradients(update, p, inputs):
        held = {n: p[n] for n in buffers}
        trained = {n: x for n, x in p.items() if n not in buffers}
        return ReferenceOps().value_and_grad(lambda q: update.loss(ReferenceOps(), {**q, **held}, inputs), trained)

    (loss, _), ours = gradients(lowered(workload.programs["train"], precision, buffers).update, tensors, batch)
    (other, _), theirs = gradients(update_of(workload), at, rounded)
    assert loss.item() == pytest.approx(other.item(), rel=1e-12)
    for n, gradient in theirs.items():
        torch.testing.assert_close(ours[n], gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("phase", ["infer", "train"])
def test_what_a_step_keeps_and_returns_is_float32(name, phase):
    workload = load(name, "tiny")
    program = lowered(workload.programs[phase], BF16, Setting(workload, phase, BF16, 1).kept)
    tensors = {n: torch.from_numpy(a.copy()) for n, a in data.make_parameters(workload).items()}
    batch = {n: torch.from_numpy(a.copy()) for n, a in data.make_batches(workload)[0].items()}
    state = program.initial_state(tensors, torch.zeros)
    outputs, new = program.step(TorchOps(), program.constants_of(tensors), state, batch)
    assert {x.dtype for x in (*outputs.values(), *new.values())} == {torch.float32}


def test_running_statistics_are_not_rounded():
    workload = load("resnet50", "tiny")
    seen = {}

    class Watching(TorchOps):
        def batch_norm(self, x, p, training):
            seen.update({name: tensor.dtype for name, tensor in p.items()})
            return super().batch_norm(x, p, training)

    kept = {spec.name for spec in workload.buffers}
    tensors = {n: torch.from_numpy(a.copy()) for n, a in data.make_parameters(workload).items()}
    batch = {n: torch.from_numpy(a.copy()) for n, a in data.make_batches(workload)[0].items()}
    before = {n: tensors[n].clone() for n in kept}
    lowered(workload.programs["infer"], BF16, kept).step(Watching(), tensors, {}, batch)
    assert set(seen.values()) == {torch.float32}
    assert all(torch.equal(before[n], tensors[n]) for n in kept)


def test_what_is_stored_in_the_type_already_is_not_cast_again():
    workload = load("mlp", "tiny")
    program = lowered(workload.programs["infer"], BF16)
    casts = []

    class Watching(TorchOps):
        def cast(self, x, dtype):
            if x.dtype != getattr(torch, dtype):
                casts.append(dtype)
            return super().cast(x, dtype)

    tensors = {n: torch.from_numpy(a.copy()).bfloat16() for n, a in data.make_parameters(workload).items()}
    batch = {n: torch.from_numpy(a.copy()).bfloat16() for n, a in data.make_batches(workload)[0].items()}
    batch = {n: x for n, x in batch.items() if n in {spec.name for spec in program.inputs}}
    program.step(Watching(), tensors, {}, batch)
    assert casts == ["float32"]  # the output alone


def test_a_loss_scale_changes_nothing_but_what_underflows():
    workload = load("mlp", "tiny")
    program = lowered(workload.programs["train"], FP16)
    assert program.update.loss_scale == FP16.loss_scale
    plain = workload.programs["train"]
    tensors = {n: jnp.asarray(a) for n, a in data.make_parameters(workload).items()}
    batch = {n: jnp.asarray(a) for n, a in data.make_batches(workload)[0].items()}
    state = plain.initial_state(tensors, jnp.zeros)
    (low, moved), (full, wanted) = (p.step(JaxOps(), {}, state, batch) for p in (program, plain))
    assert float(low["loss"]) == pytest.approx(float(full["loss"]), rel=1e-2)
    for n, tensor in wanted.items():
        assert jnp.linalg.norm(moved[n] - tensor) <= 2e-2 * jnp.linalg.norm(tensor) + 1e-6, n


def test_a_state_of_its_own_has_no_definition_yet():
    def step(ops, constants, state, batch):
        return {"y": batch["x"]}, state

    x = InputSpec("x", (2,), "float32")
    plain = inference(lambda ops, p, batch: {"y": batch["x"]}, inputs=(x,), constants=(), work=Work(2))
    program = Program((x,), step, plain.checks, Work(2), state=(StateSpec("held", (2,)),))
    with pytest.raises(ValueError, match="no definition in bf16 for a program that carries a state"):
        lowered(program, BF16)


def test_an_unknown_precision_says_which_are_known():
    with pytest.raises(ValueError, match="unknown precision 'fp7'; known: fp32, tf32, bf16, fp16"):
        precision_of("fp7")


def noisy(precision, seed=0):
    noise = Noise(precision, seed)
    return noise, NoisyOps(noise)


def test_noise_is_of_the_size_of_a_roundoff_and_of_one_seed():
    x = torch.linspace(1, 2, 10_000, dtype=torch.float64)
    y = x.clone()
    noise, _ = noisy(FP32)
    with noise:
        z = x * y
    off = (z / (x * y) - 1).abs()
    assert 0.9 * FP32.unit < off.max() <= FP32.unit
    again, _ = noisy(FP32)
    with again:
        assert torch.equal(x * y, z)
    other, _ = noisy(FP32, seed=1)
    with other:
        assert not torch.equal(x * y, z)


def test_what_moves_or_chooses_is_exact():
    x = torch.randn(8, 8, dtype=torch.float64)
    noise, _ = noisy(FP32)
    with noise:
        moved = [
            x.t(),
            x[2:4],
            x.reshape(-1),
            torch.relu(x),
            torch.cat([x, x]),
            x.unsqueeze(0).expand(3, 8, 8),
            x.clone(),
        ]
    plain = [x.t(), x[2:4], x.reshape(-1), torch.relu(x), torch.cat([x, x]), x.unsqueeze(0).expand(3, 8, 8), x.clone()]
    assert all(map(torch.equal, moved, plain))
    assert noise.kinked == x.numel()


@pytest.mark.parametrize(("k", "roundoffs"), [(1, 1.8), (64, 6.0), (512, 17.0), (50_000, 17.0)])
def test_a_product_errs_as_its_sums_do_and_no_more_than_a_block(k, roundoffs):
    random = torch.Generator().manual_seed(0)
    a = torch.rand(20, k, generator=random, dtype=torch.float64) + 0.5
    b = torch.rand(k, 20, generator=random, dtype=torch.float64) + 0.5
    noise, _ = noisy(FP32)
    with noise:
        c = a @ b
    assert (c / (a @ b) - 1).abs().max() / FP32.unit < roundoffs


def test_a_type_shorter_than_float32_has_its_own_roundoff():
    noise, ops = noisy(BF16)
    x = torch.linspace(1, 2, 1000, dtype=torch.float64)
    with noise:
        low = ops.cast(x, BF16.compute)
        wide = ops.cast(low, "float32")
    assert low.dtype == torch.float32
    assert 0.9 * BF16.unit < (low / x - 1).abs().max() <= 1.01 * BF16.unit
    assert torch.equal(wide, low.double())
    with noise:
        stored = ops.rounded(x, BF16.compute)
    assert torch.equal(stored.double(), x.bfloat16().double())


def test_types_of_products_in_words():
    assert in_words({}) == "none"
    assert in_words({"bfloat16": 3}) == "bf16"
    assert in_words({"bf16": 47, "f32": 6}) == "bf16/f32 47:6"
    assert in_words({"float32": 1, "FLOAT": 1, "int8": 3}) == "i8/f32 3:2"


def test_the_products_of_a_compiled_module_are_those_that_multiply():
    def f(x, w):
        return jnp.matmul(x, w) + jnp.float32(1).astype(x.dtype)

    x = jnp.ones((64, 64), jnp.bfloat16)
    text = jax.jit(f).lower(x, x).compile().as_text()
    assert products_of(text).total() == 1
    written = (
        "  %a = bf16[2,3]{1,0} parameter(0)\n  %b = bf16[3,4]{1,0} parameter(1)\n"
        "  ROOT %dot.1 = f32[2,4]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}\n"
        "  %c = (f16[2,4]{1,0}, s8[8]{0}) custom-call(f16[2,3]{1,0} %x, f16[3,4]{1,0} %y),"
        ' custom_call_target="__cublas$gemm"\n'
        '  %s = f32[2]{0} custom-call(%a), custom_call_target="TopK"\n'
    )
    assert products_of(written) == {"bf16": 1, "f16": 1}


@pytest.mark.parametrize("masked", [None, torch.bool, torch.float32])
def test_products_are_told_by_what_they_multiply_and_by_no_mask_or_bias(masked):
    """Neither by what attention keeps for its gradient."""
    heads = [torch.randn(1, 2, 4, 8, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
    more = {} if masked is None else {"attn_mask": torch.ones(4, 4).to(masked)}
    x, weight, bias = (torch.randn(*shape, dtype=torch.bfloat16) for shape in ((4, 8), (8, 8), (8,)))
    with Products() as products:
        F.scaled_dot_product_attention(*heads, **more).sum().backward()
        torch.addmm(bias, x, weight)
        F.linear(x, weight, bias)
    assert set(products.types) == {"bfloat16"}
    assert products.types.total() >= 4


@pytest.mark.parametrize(
    ("told", "is_emulated"), [("bf16", False), ("bf16/f32 9:2", False), ("f32/bf16 9:2", True), ("none", False)]
)
def test_a_step_without_products_emulates_nothing(told, is_emulated):
    assert arithmetic({"arithmetic": told}, BF16) == {"arithmetic": told, "is_emulated": is_emulated}
    assert arithmetic({"arithmetic": told}, FP32) == {}
