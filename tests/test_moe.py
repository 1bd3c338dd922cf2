"""A mixture of experts: rows come to their experts on every binding; what sends them elsewhere is refused."""

import numpy as np
import pytest
import torch

from backends._torch_experts import by_expert, by_mask, by_slot
from backends._torch_ops import EagerTorchOps
from bench.child.checks import choices
from bench.child.checks.choices import open_choices, turned
from bench.child.expected import load_expected
from tests.fakes.steps import allowed_in, make_in, request_in, verdict
from tests.planted import BUGS, PlantedAdapter
from workloads.catalog import CATALOG, load
from workloads.count import count
from workloads.ops import Ops
from workloads.precision import BF16, FP32
from workloads.recipes.mixed import Mixed
from workloads.reference import NumpyOps

PHASES = ("infer", "prefill", "decode", "train")


def at(phase, size="tiny", **more):
    return load("moe", size, depth=CATALOG["moe"].SERVINGS[size].depth if phase == "decode" else None, **more)


def mixture(n=5, rows=7, width=6, k=2, seed=0):
    """Returns x, logits, the parameters of `n` experts, and what one expert does."""
    random = np.random.RandomState(seed)
    x, logits = random.standard_normal((rows, width)), random.standard_normal((rows, n))
    p = {f"experts.{i}.w": random.standard_normal((width, width)) for i in range(n)}
    return x, logits, p, lambda rows, p: rows @ p["w"]


@pytest.mark.parametrize("form", [by_expert, by_slot, by_mask])
@pytest.mark.parametrize("is_normalized", [True, False])
def test_every_form_in_torch_is_the_reference(form, is_normalized):
    x, logits, p, expert = mixture()
    expected = NumpyOps().experts(expert, x, *NumpyOps().route(logits, 2, is_normalized), p, "experts", 5)
    weights, ids = EagerTorchOps().route(torch.from_numpy(logits), 2, is_normalized)
    of = [{"w": torch.from_numpy(p[f"experts.{i}.w"])} for i in range(5)]
    found = form(expert, torch.from_numpy(x), weights, ids, of)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("rows", "is_skewed"), [(7, False), (64, False), (64, True)], ids=["few", "room", "more_than_room"]
)
def test_every_branch_in_jax_is_the_reference(rows, is_skewed):
    import jax

    from backends._jax_ops import JaxOps

    x, logits, p, expert = mixture(rows=rows)
    logits[:, 3] += 10.0 * is_skewed  # all rows come to one expert
    logits[:, 4] -= 20.0  # and none to another
    expected = NumpyOps().experts(expert, x, *NumpyOps().route(logits, 2, True), p, "experts", 5)
    ops = JaxOps()
    with jax.enable_x64(True):
        x, logits, p = jax.tree.map(jax.numpy.asarray, (x, logits, p))
        found = jax.jit(lambda: ops.experts(expert, x, *ops.route(logits, 2, True), p, "experts", 5))()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_weights_are_of_the_softmax_over_all_experts():
    logits = np.log(np.array([[0.1, 0.4, 0.2, 0.3]]))
    weights, ids = NumpyOps().route(logits, 2, False)
    np.testing.assert_allclose(weights, [[0.4, 0.3]])
    assert ids.tolist() == [[1, 3]]
    np.testing.assert_allclose(NumpyOps().route(logits, 2, True)[0], [[4 / 7, 3 / 7]])


def test_a_binding_without_experts_says_so():
    class Old(NumpyOps):
        route, experts = Ops.route, Ops.experts

    with pytest.raises(TypeError, match="Old has no route: it needs one, and experts"):
        Mixed(Old(), "float32").route(np.ones((1, 4)), 2, True)
    with pytest.raises(TypeError, match="Old has no experts: it needs one, and route"):
        Old().experts(None, None, None, None, {}, "experts", 8)


@pytest.mark.parametrize(("batch", "read"), [(1, 2), (2, 4), (4, 8), (8, 8)])
def test_bytes_are_of_the_experts_that_a_steps_tokens_can_choose(batch, read):
    """Against the same step with all of them: what is left out is whole experts, in every layer."""
    config = CATALOG["moe"].SIZES["tiny"]
    program = at("decode", batch=batch).programs["decode"]
    of_expert = 3 * config.hidden_size * config.intermediate_size
    others = {
        "weights": sum(s.size for s in program.constants if ".experts." not in s.name and "rope" not in s.name),
        "caches": round(batch * 2 * 8 * len(program.state) * (program.keys_seen + 1)),
        "logits": batch * config.vocab_size,
    }
    others["weights"] -= (config.vocab_size - batch) * config.hidden_size  # rows that nobody looks up
    others["turns"] = 2 * batch * 4
    wanted = 4 * (sum(others.values()) + read * 2 * of_expert) + 16 * batch
    assert count(program).minimum_bytes == wanted


def test_flops_are_of_two_experts_for_each_token():
    config = CATALOG["moe"].SIZES["tiny"]
    n = 2 * 2 * 16  # layers, tokens
    per_token = 2 * 3 * config.hidden_size * config.intermediate_size
    d, keys = config.hidden_size, config.num_key_value_heads * config.head_dim
    rest = 2 * d * (2 * d + 2 * keys + config.num_local_experts) + 4 * 16 * d
    head = 2 * 32 * d * config.vocab_size
    assert count(at("infer").programs["infer"]).flops == n * (2 * per_token + rest) + head


class Routed(PlantedAdapter):
    phases = None
    Ops: type[EagerTorchOps] = EagerTorchOps


class DroppedExpert(Routed):
    class Ops(EagerTorchOps):
        def experts(self, expert, x, weights, ids, parameters, prefix, n):
            return super().experts(expert, x, weights * (ids != 3), ids, parameters, prefix, n)


class RouterWeightsNotNormalized(Routed):
    class Ops(EagerTorchOps):
        def route(self, logits, k, is_normalized):
            return super().route(logits, k, False)


class WeightsInTheOtherOrder(Routed):
    class Ops(EagerTorchOps):
        def route(self, logits, k, is_normalized):
            weights, ids = super().route(logits, k, is_normalized)
            return weights.flip(-1), ids


class FirstExpertAlone(Routed):
    class Ops(EagerTorchOps):
        def route(self, logits, k, is_normalized):
            return super().route(logits, 1, is_normalized)


class NextLikelyExpert(Routed):
    """The third in the place of the second."""

    class Ops(EagerTorchOps):
        def route(self, logits, k, is_normalized):
            shares, ids = torch.topk(torch.softmax(logits, -1), k + 1)
            weights = shares[:, [0, 2]]
            return weights / weights.sum(-1, keepdim=True), ids[:, [0, 2]]


class ExpertOfTheNeighbour(Routed):
    class Ops(EagerTorchOps):
        def experts(self, expert, x, weights, ids, parameters, prefix, n):
            return super().experts(expert, x, weights, (ids + 1) % n, parameters, prefix, n)


class RowsComeBackInTheWrongOrder(Routed):
    class Ops(EagerTorchOps):
        def experts(self, expert, x, weights, ids, parameters, prefix, n):
            return super().experts(expert, x, weights, ids, parameters, prefix, n).roll(1, 0)


class RouterIsNotTrained(Routed):
    class Ops(EagerTorchOps):
        def route(self, logits, k, is_normalized):
            return super().route(logits.detach() + 0 * logits, k, is_normalized)


PLANTED = (
    DroppedExpert,
    RouterWeightsNotNormalized,
    WeightsInTheOtherOrder,
    FirstExpertAlone,
    NextLikelyExpert,
    ExpertOfTheNeighbour,
    RowsComeBackInTheWrongOrder,
)
for _bug in (Routed, RouterIsNotTrained, *PLANTED):
    del BUGS[_bug.__name__]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    made = {}

    def of(phase):
        if phase not in made:
            workload = at(phase)
            folders = make_in(tmp_path_factory.mktemp("made"), workload, phase)
            request = request_in(folders, Routed(), workload, phase, torch.get_num_threads())
            made[phase] = request, load_expected(folders["expected"]), allowed_in(folders, FP32), {}
        return made[phase]

    return of


@pytest.mark.parametrize("phase", PHASES)
def test_what_has_no_bug_passes(phase, prepared):
    assert verdict(Routed(), prepared(phase)) is None


@pytest.mark.parametrize("bug", PLANTED)
@pytest.mark.parametrize("phase", PHASES)
def test_what_sends_rows_elsewhere_is_refused(phase, bug, prepared):
    codes = {"train": "loss_differs", "infer": "output_differs", "prefill": "output_differs"}
    assert verdict(bug(), prepared(phase)) in (codes.get(phase), "state_differs", "output_differs")


def test_a_router_that_is_not_trained_is_refused(prepared):
    assert verdict(RouterIsNotTrained(), prepared("train")) == "state_differs"


def test_a_choice_is_open_where_noise_may_turn_it():
    exact = [(torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.9999]]), 2)]
    noisy = [[(exact[0][0] + torch.tensor([0.0, sign * 1e-4, 0.0]), 2)] for sign in (1, -1, 1)]
    (rows,) = open_choices(exact, noisy)
    assert rows.tolist() == [False, True]
    which, n = turned([rows], seed=0)
    assert (which[0].tolist(), n) == ([False, True], 1)


def test_open_choices_widen_what_is_predicted_and_clear_ones_do_not(tmp_path, monkeypatch):
    """In bfloat16 some choices of the tiny size are open; without them too little is predicted for what may come."""
    from bench import predict

    wide, _ = predict.make(at("infer"), "infer", BF16)
    narrow, _ = predict.make(at("infer"), "infer", FP32)
    monkeypatch.setattr(choices, "WITHIN", 0.0)
    without, _ = predict.make(at("infer"), "infer", BF16)
    assert all(wide[key].error > without[key].error for key in wide)
    assert predict.make(at("infer"), "infer", FP32)[0] == narrow
