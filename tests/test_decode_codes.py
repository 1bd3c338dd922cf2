"""Decode with weights in codes of 8 bits: every runtime goes on from the quantised model's own prompt."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import backends
from backends._torch import TorchStep
from backends._torch_int8 import EagerInt8Ops
from bench.artifacts import artifacts_for
from bench.child.checks import verify
from bench.child.expected import load_expected
from bench.child.settings import request_of
from tests.fakes.steps import MADE, allowed_in, make, make_in, setting, verdict
from tests.planted import BUGS, CPU, PlantedAdapter
from workloads.arrays import CACHES_FILE, map_arrays
from workloads.catalog import CATALOG, DECODING, load
from workloads.precision import BF16, INT8, W8
from workloads.recipes.int8 import quantized, why_undefined

# torch.onnx's own (2.13), while it exports; and what JAX says where another runtime forks beside it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),
]
RUNTIMES = ("jax_cpu", "onnxruntime_cpu", "openvino_cpu")


def deep(name):
    return load(name, "tiny", depth=CATALOG[name].SERVINGS["tiny"].depth)


@pytest.mark.parametrize("name", DECODING)
def test_weights_alone_in_codes_are_defined_and_the_cache_stays_as_it_is(name):
    program = deep(name).programs["decode"]
    assert why_undefined(program, W8) == ""
    assert quantized(program, W8).state == program.state
    assert "not calibrated over prompts" in why_undefined(program, INT8)
    assert "in what type that is kept" in why_undefined(program, BF16)


def test_what_is_needed_is_made_in_the_order_of_what_it_is_made_from():
    made = [one.name for one in artifacts_for(backends.get("torch_cpu"), W8, deep("llama").programs["decode"])]
    assert made.index("codes") < made.index("caches") < made.index("expected")


class Decoding(PlantedAdapter):
    phases = None
    precisions = ("fp32", "w8")
    Ops: type[EagerInt8Ops] = EagerInt8Ops

    def prepare(self, request):
        step = TorchStep(self.wrong(request), CPU)
        step.ops = self.Ops()
        return step


class ScaleOfTheNextChannel(Decoding):
    class Ops(EagerInt8Ops):
        def w8_linear(self, x, codes, scale, bias, layout):
            return super().w8_linear(x, codes, scale.roll(1), bias, layout)


class ActivationsInCodesToo(Decoding):
    class Ops(EagerInt8Ops):
        def w8_linear(self, x, codes, scale, bias, layout):
            step = x.abs().max() / 127
            return super().w8_linear(torch.round(x / step) * step, codes, scale, bias, layout)


class CacheIsNotWritten(Decoding):
    class Ops(EagerInt8Ops):
        def cache_update(self, cache, new, places):
            return cache


class OwnTokenIsNotSeen(Decoding):
    class Ops(EagerInt8Ops):
        def cached_attention(self, query, key, value, places):
            return super().cached_attention(query, key, value, self.cache_places(places.start - 1, 1, key.shape[2]))


class PromptInFloat32(Decoding):
    """Goes on from what the model in float32 made of the prompt."""

    in_float32 = ()

    def wrong(self, request):
        return replace(request, parameters={**request.parameters, **self.in_float32})


IN_CODES = (ScaleOfTheNextChannel, ActivationsInCodesToo, CacheIsNotWritten, OwnTokenIsNotSeen, PromptInFloat32)
for _bug in (Decoding, *IN_CODES):
    del BUGS[_bug.__name__]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    made = {}

    def of(name):
        if name not in made:
            folders = make_in(tmp_path_factory.mktemp("made"), deep(name), "decode", MADE, W8)
            plain = make_in(tmp_path_factory.mktemp("plain"), deep(name), "decode", MADE[:3])
            asked = replace(setting(deep(name), "decode", torch.get_num_threads()), precision=W8)
            request = request_of(asked, Decoding(), folders)
            PromptInFloat32.in_float32 = map_arrays(plain["caches"] / CACHES_FILE)
            held = load_expected(folders["expected"]), allowed_in(folders, W8), load_expected(plain["expected"])
            made[name] = (request, *held), folders
        return made[name]

    return of


@pytest.mark.parametrize("name", DECODING)
def test_what_has_no_bug_passes(name, prepared):
    assert verdict(Decoding(), prepared(name)[0]) is None


@pytest.mark.parametrize("bug", IN_CODES)
def test_what_decodes_otherwise_is_refused(bug, prepared):
    assert verdict(bug(), prepared("llama")[0]) in ("output_differs", "state_differs")


@pytest.mark.parametrize("backend", RUNTIMES)
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_every_runtime_decodes_with_them(name, backend, prepared, tmp_path):
    (_, expected, allowed, _), folders = prepared(name)
    adapter = backends.get(backend)
    folders = dict(folders)
    for artifact in adapter.artifacts_of(deep(name).programs["decode"]):
        (tmp_path / artifact.name).mkdir()
        make(artifact, deep(name), "decode", tmp_path / artifact.name, folders, W8)
        folders[artifact.name] = tmp_path / artifact.name
    request = request_of(replace(setting(deep(name), "decode", 2), precision=W8), adapter, folders)
    step = adapter.prepare(request)
    step.compile()
    for _ in range(2):
        observed, _ = verify.observe(step, request.program, request.parameters)
        assert not verify.compare(observed, expected, allowed).failures
        step.restart(request.parameters)
    assert all(np.isfinite(array).all() for _, array in step.state())
