"""Prefill and decode: against whole sequences, on every binding; what reads a wrong place is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import backends
from backends._torch_ops import EagerTorchOps
from bench.child.checks import verify
from bench.child.expected import load_expected
from tests.fakes.steps import allowed_in, make_in, request_in, verdict
from tests.planted import BUGS, PlantedAdapter
from workloads import data
from workloads.catalog import CATALOG, DECODING, load
from workloads.count import count
from workloads.models._decoder import Serving
from workloads.precision import FP32
from workloads.reference import NumpyOps

PUBLISHED = {
    ("llama", "135m"): 134_515_008,
    ("llama", "qwen2.5-0.5b"): 494_032_768,
    ("llama", "1b"): 1_235_814_400,
    ("llama", "8b"): 8_030_261_248,
    ("moe", "139m"): 138_715_648,
    ("moe", "mixtral-8x7b"): 46_702_792_704,
    ("gpt2", "124m"): 124_439_808,
}


def deep(name, size="tiny", **more):
    return load(name, size, depth=CATALOG[name].SERVINGS[size].depth, **more)


def forward(name, ops, p, ids):
    """Returns the logits of all positions of whole sequences."""
    return load(name, "tiny").programs["infer"].outputs_of(ops, p, {}, {"input_ids": ids})["logits"]


def in_float64(arrays):
    return {name: a.astype(np.float64) if a.dtype == np.float32 else a for name, a in arrays.items()}


@pytest.mark.parametrize(("name", "size"), PUBLISHED)
def test_there_are_as_many_parameters_as_published(name, size):
    assert load(name, size).parameter_count == PUBLISHED[name, size]
    assert deep(name, size).parameter_count == PUBLISHED[name, size]


@pytest.mark.parametrize("name", DECODING)
def test_decoding_gives_the_logits_of_the_whole_sequence_lap_after_lap(name):
    workload, ops = deep(name), NumpyOps()
    program = workload.programs["decode"]
    p = in_float64(data.make_parameters(workload))
    batches = data.make_batches(workload)
    assert len(batches) == program.n_batches == 8
    prompt = data.make_input(program.prompt.ids, workload.seed, 0)
    constants = program.constants_of(p)
    filled = program.prompt.fill(ops, constants, prompt)
    state = {}
    for spec in program.state:
        state[spec.name] = np.zeros(spec.shape)
        state[spec.name][:, :, : prompt.shape[1]] = filled[spec.name]
    tokens = np.concatenate([prompt, *(batch["input_ids"] for batch in batches)], axis=1)
    whole = forward(name, ops, constants, tokens)
    for i in range(2 * len(batches)):
        batch = batches[i % len(batches)]
        outputs, state = program.step(ops, constants, state, batch)
        place = prompt.shape[1] + i % len(batches)
        assert set(batch["start"]) == {place}
        np.testing.assert_allclose(outputs["logits"][:, 0], whole[:, place], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", DECODING)
def test_prefill_gives_the_last_logits_and_the_cache_that_decoding_goes_on_from(name):
    workload, ops = load(name, "tiny"), NumpyOps()
    p = in_float64(data.make_parameters(workload))
    ids = data.make_batches(workload)[0]["input_ids"]
    constants = workload.programs["prefill"].constants_of(p)
    outputs, _ = workload.programs["prefill"].step(ops, constants, {}, {"input_ids": ids})
    whole = forward(name, ops, constants, ids)
    np.testing.assert_allclose(outputs["logits"][:, 0], whole[:, -1], rtol=1e-9)
    filled = deep(name).programs["decode"].prompt.fill(ops, constants, ids)
    assert list(filled) == list(outputs)[1:]
    for key, cache in filled.items():
        np.testing.assert_array_equal(cache, outputs[key])


@pytest.mark.parametrize("name", ["gpt2", "llama"])  # tests/test_moe.py has what reads some of its weights alone
def test_a_decode_step_moves_the_weights_and_what_its_queries_see(name):
    workload = deep(name)
    program = workload.programs["decode"]
    config = CATALOG[name].SIZES["tiny"]
    serving = CATALOG[name].SERVINGS["tiny"]
    seen = serving.depth - (serving.window - 1) / 2
    assert program.keys_seen == seen
    heads, width = program.state[0].shape[1], program.state[0].shape[3]
    of_caches = workload.batch * heads * width * len(program.state) * (seen + 1)
    counts = count(program)
    weights = sum(spec.size for spec in program.constants if "rope" not in spec.name and "wpe" not in spec.name)
    # What is looked up: the rows of the positions, and of the tokens where the table is not read whole by the head.
    looked_up = (
        counts.minimum_bytes - 4 * (weights + of_caches + workload.batch * config.vocab_size) - 16 * workload.batch
    )
    assert 0 <= looked_up <= 4 * 2 * workload.batch * 64
    assert Serving(128, 16, 512).at(600).capacity == 1024
    with pytest.raises(ValueError, match="depth must be over 8"):
        load(name, "tiny", depth=8)


def test_the_cache_of_a_size_serves_all_depths():
    shapes = {depth: load("llama", "135m", depth=depth).programs["decode"].state[0].shape for depth in (128, 512)}
    assert shapes == {128: (1, 3, 512, 64), 512: (1, 3, 512, 64)}


class Decoding(PlantedAdapter):
    phases = None
    Ops: type[EagerTorchOps] = EagerTorchOps


class StaleEntriesAreSeen(Decoding):
    class Ops(EagerTorchOps):
        def cached_attention(self, query, key, value, places):
            seen = self.cache_places(torch.full_like(places.start, 23), 1, key.shape[2])
            return super().cached_attention(query, key, value, seen)


class PositionOffByOne(Decoding):
    class Ops(EagerTorchOps):
        def embedding(self, table, ids):
            is_of_positions = table.shape[0] in (32, 64)
            return super().embedding(table, ids + 1 if is_of_positions else ids)


class CacheOfTheWrongSequence(Decoding):
    class Ops(EagerTorchOps):
        def cache_update(self, cache, new, places):
            return super().cache_update(cache, new.roll(1, 0), places)


class CacheIsNotWritten(Decoding):
    class Ops(EagerTorchOps):
        def cache_update(self, cache, new, places):
            return cache


class OwnTokenIsNotSeen(Decoding):
    class Ops(EagerTorchOps):
        def cached_attention(self, query, key, value, places):
            return super().cached_attention(query, key, value, self.cache_places(places.start - 1, 1, key.shape[2]))


class RopeOfNeighbours(Decoding):
    """The other convention: pairs (2i, 2i + 1)."""

    workloads = ("llama", "moe")

    class Ops(EagerTorchOps):
        def rope(self, x, cos, sin):
            c, (_, s) = cos.chunk(2, -1)[0], sin.chunk(2, -1)
            a, b = x[..., ::2], x[..., 1::2]
            return torch.stack([a * c - b * s, b * c + a * s], -1).flatten(-2)


class HeadsInTheWrongOrder(Decoding):
    """Query head h reads head h modulo theirs, not h divided by how many each serves."""

    workloads = ("llama", "moe")

    class Ops(EagerTorchOps):
        def cached_attention(self, query, key, value, places):
            b, heads, t, width = query.shape
            n = key.shape[1]
            turned = query.reshape(b, heads // n, n, t, width).transpose(1, 2).reshape(query.shape)
            y = super().cached_attention(turned, key, value, places)
            return y.reshape(b, n, heads // n, t, width).transpose(1, 2).reshape(query.shape)


class MaskOpenByOne(Decoding):
    class Ops(EagerTorchOps):
        def attention(self, query, key, value, causal):
            n = query.shape[2]
            seen = torch.ones(n, n, dtype=torch.bool).tril(1)
            grouped = {} if query.shape[1] == key.shape[1] else {"enable_gqa": True}
            return F.scaled_dot_product_attention(query, key, value, attn_mask=seen, **grouped)


IN_DECODE = (
    StaleEntriesAreSeen,
    PositionOffByOne,
    CacheOfTheWrongSequence,
    CacheIsNotWritten,
    OwnTokenIsNotSeen,
    RopeOfNeighbours,
    HeadsInTheWrongOrder,
)
IN_WHOLE = (MaskOpenByOne, RopeOfNeighbours)
for _bug in {Decoding, *IN_DECODE, *IN_WHOLE}:
    del BUGS[_bug.__name__]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    made = {}

    def of(name, phase):
        if (name, phase) not in made:
            workload = deep(name) if phase == "decode" else load(name, "tiny")
            folders = make_in(tmp_path_factory.mktemp("made"), workload, phase)
            request = request_in(folders, Decoding(), workload, phase, torch.get_num_threads())
            made[name, phase] = request, load_expected(folders["expected"]), allowed_in(folders, FP32), {}
        return made[name, phase]

    return of


@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("name", DECODING)
def test_what_has_no_bug_passes(name, phase, prepared):
    assert verdict(Decoding(), prepared(name, phase)) is None


@pytest.mark.parametrize("bug", IN_DECODE)
@pytest.mark.parametrize("name", DECODING)
def test_what_reads_or_writes_a_wrong_place_is_refused(name, bug, prepared):
    if bug.workloads is not None and name not in bug.workloads:
        pytest.skip("it has no such operation")
    assert verdict(bug(), prepared(name, "decode")) in ("output_differs", "state_differs")


@pytest.mark.parametrize("phase", ["infer", "prefill"])
@pytest.mark.parametrize("bug", IN_WHOLE)
@pytest.mark.parametrize("name", DECODING)
def test_a_prompt_seen_wrongly_is_refused(name, bug, phase, prepared):
    if bug.workloads is not None and name not in bug.workloads:
        pytest.skip("it has no such operation")
    assert verdict(bug(), prepared(name, phase)) == "output_differs"


@pytest.mark.parametrize("name", DECODING)
def test_jax_decodes_with_a_cache_that_is_given_away(name, prepared):
    import jax

    from backends._jax import JaxStep

    request, expected, allowed, _ = prepared(name, "decode")
    step = JaxStep(request, jax.devices("cpu")[0])
    step.compile()
    observed, _ = verify.observe(step, request.program, request.parameters)
    assert not verify.compare(observed, expected, allowed).failures
    step.restart(request.parameters)
    observed, _ = verify.observe(step, request.program, request.parameters)
    assert not verify.compare(observed, expected, allowed).failures
    aliased = step.executable.memory_analysis().alias_size_in_bytes
    assert aliased >= sum(4 * spec.size for spec in request.program.state)


@pytest.mark.parametrize("name", DECODING)
def test_torch_reads_the_cache_by_its_fused_attention(name, prepared):
    """Laid out as images are, with its heads last, a cache would take torch's slow path."""
    from torch.profiler import ProfilerActivity, profile

    adapter, (request, *_) = backends.get("torch_cpu"), prepared(name, "decode")
    step = adapter.prepare(replace(request, options=adapter.chosen_options({})))
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        step.step(0)
    called = {event.key for event in profiled.key_averages()}
    assert "aten::_scaled_dot_product_flash_attention_for_cpu" in called
