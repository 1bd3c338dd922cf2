"""Generation: what the reference chooses, how runtimes are held against it, ties, and what plants a mistake in it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import backends
from backends._torch_generate import TorchGenerateStep
from backends._torch_ops import EagerTorchOps
from bench.child.beside.generation import generation_columns
from bench.child.checks import greedy
from bench.child.checks.proof import Proof, WrongResult
from bench.child.expected import load_expected
from bench.parent.cache import Cache
from bench.parent.plans.plan import PlanError, default_cell, planned, select
from bench.parent.record import workload_columns
from bench.parent.suite import Suite
from results.show.render import render
from results.tables.table import to_frame
from tests.fakes.bench import EFFORT
from tests.fakes.rows import row_of
from tests.fakes.steps import MADE, allowed_in, make, make_in, request_in, verdict
from tests.planted import BUGS, CPU, PlantedAdapter
from workloads import data
from workloads.arrays import BATCHES_FILE, load_batches
from workloads.catalog import CATALOG, DECODING, at, load
from workloads.count import count
from workloads.generate import CHOSEN, FIRST, LARGEST, LAST, MARGINS, TEXT
from workloads.precision import FP32
from workloads.reference import NumpyOps

# torch.onnx's own (2.13), while it exports; and what JAX says where another runtime forks beside it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),
]
RUNTIMES = ("torch_cpu", "jax_cpu", "onnxruntime_cpu", "openvino_cpu")
PROMPT, TOKENS = 16, 8


def tiny(name):
    return at(name, "tiny", "generate")


def logits_of(workload, ids):
    """Returns the logits of whole texts, by the NumPy reference in float64."""
    p = {
        name: a.astype(np.float64) if a.dtype == np.float32 else a for name, a in data.make_parameters(workload).items()
    }
    infer = load(workload.name, "tiny").programs["infer"]
    return infer.step(NumpyOps(), infer.constants_of(p), {}, {"input_ids": ids})[0]["logits"]


class Generating(PlantedAdapter):
    phases = None
    generates = True
    Step: type[TorchGenerateStep] = TorchGenerateStep
    Ops: type[EagerTorchOps] = EagerTorchOps


class CacheIsNotWritten(Generating):
    class Ops(EagerTorchOps):
        def cache_update(self, cache, new, places):
            return cache


class PositionOffByOne(Generating):
    class Step(TorchGenerateStep):
        def decode(self, place, forced):
            return super().decode(place + 1, forced)


class WrongTokenIsFed(Generating):
    class Step(TorchGenerateStep):
        def decode(self, place, forced):
            self.own = (self.own + 1) % 50
            return super().decode(place, forced)


class FirstTokenIsFedForEver(Generating):
    class Step(TorchGenerateStep):
        def decode(self, place, forced):
            return super().decode(place, self.chosen_first)

        def prefill(self, prompt):
            self.chosen_first = super().prefill(prompt)
            return self.chosen_first


class CacheOfTheOtherPrompt(Generating):
    class Step(TorchGenerateStep):
        def prefill(self, prompt):
            tokens = super().prefill(prompt)
            for name, cache in self.carried.items():
                self.carried[name] = cache.flip(0)
            return tokens


class CacheIsAThousandthOff(Generating):
    """Too little to change a token."""

    class Step(TorchGenerateStep):
        def prefill(self, prompt):
            tokens = super().prefill(prompt)
            for cache in self.carried.values():
                cache.mul_(1.001)
            return tokens


class OtherTokensAreTold(Generating):
    """All is computed as it should be, and something else is handed out."""

    class Step(TorchGenerateStep):
        def decode(self, place, forced):
            return super().decode(place, forced) + (place == PROMPT + 2)


class RunnerUpIsChosen(Generating):
    """Once, as a runtime does whose logits are rounded otherwise."""

    class Step(TorchGenerateStep):
        def decode(self, place, forced):
            tokens = super().decode(place, forced)
            if place == PROMPT + 2:
                self.own = self.last[LAST].topk(2).indices[:, 1]
                tokens = self.own.numpy()
            return tokens


PLANTED = (
    CacheIsNotWritten,
    PositionOffByOne,
    WrongTokenIsFed,
    FirstTokenIsFedForEver,
    CacheOfTheOtherPrompt,
    CacheIsAThousandthOff,
    OtherTokensAreTold,
    RunnerUpIsChosen,
)
for _bug in (Generating, *PLANTED):
    del BUGS[_bug.__name__]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folders = {}

    def of(name):
        if name not in folders:
            folders[name] = make_in(tmp_path_factory.mktemp(name), tiny(name), "generate", MADE)
        return folders[name]

    return of


@pytest.fixture
def given(made):
    def of(name):
        folders = made(name)
        request = request_in(folders, Generating(), tiny(name), "generate", torch.get_num_threads())
        return request, load_expected(folders["expected"]), allowed_in(folders, FP32), {}

    return of


@pytest.mark.parametrize("name", DECODING)
def test_the_reference_chooses_what_float64_finds_most_likely_behind_the_whole_text(name, made):
    batches = load_batches(made(name)["batches"] / BATCHES_FILE)
    assert len(batches) == 2
    for batch, drawn in zip(batches, data.make_batches(tiny(name)), strict=True):
        np.testing.assert_array_equal(batch[TEXT][:, :PROMPT], drawn[TEXT][:, :PROMPT])
        np.testing.assert_array_equal(batch[TEXT][:, PROMPT:], batch[CHOSEN][:, :-1])
        logits = logits_of(tiny(name), batch[TEXT])[:, PROMPT - 1 :]
        np.testing.assert_array_equal(logits.argmax(-1), batch[CHOSEN])
        ordered = np.sort(logits, -1)
        np.testing.assert_allclose(batch[MARGINS], ordered[..., -1] - ordered[..., -2], rtol=1e-9)
        np.testing.assert_allclose(batch[LARGEST], np.abs(logits).max(-1), rtol=1e-12)


@pytest.mark.parametrize("name", DECODING)
def test_tokens_vary_so_that_they_prove_something(name, made):
    texts = [row for batch in load_batches(made(name)["batches"] / BATCHES_FILE) for row in batch[CHOSEN]]
    assert min(len(set(row.tolist())) for row in texts) > 1
    assert max(len(set(row.tolist())) for row in texts) >= TOKENS // 2


@pytest.mark.parametrize("name", DECODING)
def test_what_is_generated_is_prefill_and_decode_of_the_same_model(name):
    workload = tiny(name)
    program = workload.programs["generate"]
    prefill, decode = program.parts["prefill"], program.parts["decode"]
    assert (program.prompt_tokens, program.tokens, program.work.tokens) == (PROMPT, TOKENS, 2 * (PROMPT + TOKENS))
    assert prefill.parameters == decode.parameters == workload.parameters
    plain = {spec.name: spec.standard_deviation for spec in load(name, "tiny").parameters}
    is_wider = {spec.standard_deviation >= 3 * plain[spec.name] for spec in workload.parameters if len(spec.shape) > 1}
    assert is_wider == {True}
    each = count(decode.programs["decode"])
    assert count(program).flops == count(prefill.programs["prefill"]).flops + 7 * each.flops
    assert workload_columns(workload, "generate")["minimum_bytes_per_step"] > 7 * each.minimum_bytes
    assert decode.programs["decode"].keys_seen == np.mean(range(PROMPT + 1, PROMPT + TOKENS))


def test_what_cannot_be_generated_is_said():
    with pytest.raises(ValueError, match=r"mlp does not generate; workloads that do: .*llama"):
        load("mlp", "tiny", generated=8)
    with pytest.raises(ValueError, match="at least 2 tokens of prompt and 2 behind it; got 16 and 1"):
        load("llama", "tiny", generated=1)
    with pytest.raises(ValueError, match="depth 66 is longer than llama-tiny's 64 positions"):
        load("llama", "tiny", generated=50)


def test_cells_say_how_many_tokens_and_of_what_prompt():
    asked = {"--workloads": "llama", "--phases": "generate", "--preset": "smoke", "--generated-tokens": "4,8"}
    selection = select(asked.get, ("torch_cpu",), 2)
    ids = [cell.id for cell in planned(selection, ("torch_cpu",)) if cell.workload == "llama"]
    assert ids[:2] == ["llama-b2-s16-g4-fp32-torch_cpu", "llama-b2-s16-g8-fp32-torch_cpu"]
    with pytest.raises(PlanError, match=r"--generated-tokens is for --phases generate of gpt2, .*; mlp has none"):
        select({"--workloads": "mlp", "--generated-tokens": "4"}.get, ("torch_cpu",), 2)


@pytest.mark.parametrize("backend", sorted({"numpy_cpu", "torch_cuda", "jax_tpu", "inferentia"}))
def test_a_backend_without_a_driver_says_so(backend):
    code, reason = backends.get(backend).why_unsupported("generate", "fp32")
    assert code == "phase_not_supported"
    assert "generate" in reason


@pytest.mark.parametrize("name", DECODING)
def test_what_has_no_bug_passes_before_and_after_it_is_timed(name, given):
    request, expected, allowed, plain = given(name)
    proof = Proof(Generating(), request, expected, allowed, plain)
    step = Generating().prepare(request)
    columns, _ = proof.before(step)
    assert columns["tokens_compared"] == columns["tokens_equal"] == 2 * 2 * TOKENS
    assert columns["tokens_tied"] == 0
    assert proof.after(step, {}) == "passed"
    decode = step.decode
    step.decode = lambda place, forced: decode(place, forced) + 1
    with pytest.raises(WrongResult, match="after it was timed: token 2 of 8"):
        proof.after(step, {})


@pytest.mark.parametrize("bug", PLANTED)
@pytest.mark.parametrize("name", DECODING)
def test_a_mistake_between_the_prompt_and_the_last_token_is_refused(name, bug, given):
    assert verdict(bug(), given(name)) == "output_differs"


def test_a_token_that_is_told_wrongly_is_named(given):
    request, *others = given("llama")
    with pytest.raises(WrongResult, match=r"token 4 of 8 behind prompt 0 of batch 0 is \d+, expected \d+, .*no tie"):
        Proof(OtherTokensAreTold(), request, *others).before(OtherTokensAreTold().prepare(request))


def test_a_tie_is_counted_and_the_references_token_is_fed_behind_it(given):
    request, *others = given("llama")
    batches = tuple({**batch, MARGINS: batch[MARGINS].copy()} for batch in request.batches)
    for batch in batches:
        batch[MARGINS][:, 3] = 0.0
    tied = replace(request, batches=batches)
    columns, _ = Proof(RunnerUpIsChosen(), tied, *others).before(RunnerUpIsChosen().prepare(tied))
    assert columns["tokens_tied"] == 4
    assert columns["tokens_equal"] == columns["tokens_compared"] - 4


def test_the_slack_of_a_tie_is_twice_what_a_logit_may_be_wrong(given):
    request, _, allowed, _ = given("llama")
    batch = dict(request.batches[1])
    largest = max(allowed["output.1.logits.first"].error, allowed["output.1.logits.last"].error)
    np.testing.assert_allclose(greedy.slack_of(batch, 1, allowed), 2 * largest * batch[LARGEST])
    batch[MARGINS] = np.where(np.arange(TOKENS) == 5, 1.9, 2.1) * largest * batch[LARGEST]
    ties = greedy.forced([request.batches[0], batch], allowed)
    assert (ties[0] == greedy.FREE).all()
    assert [(row != greedy.FREE).nonzero()[0].tolist() for row in ties[1]] == [[5], [5]]


@pytest.fixture(scope="module")
def graphs(made, tmp_path_factory):
    """Returns the folders of what a workload's cells need on a backend, graphs among them."""
    exported = {}

    def of(name, adapter):
        for artifact in adapter.artifacts_of(tiny(name).programs["generate"]):
            if (name, artifact) not in exported:
                folder = exported[name, artifact] = tmp_path_factory.mktemp("graphs")
                make(artifact, tiny(name), "generate", folder, made(name))
        return {**made(name), **{artifact.name: path for (of, artifact), path in exported.items() if of == name}}

    return of


def prepared(backend, request):
    """Returns the compiled step of a runtime, in this process."""
    if backend == "torch_cpu":
        return TorchGenerateStep(request, CPU)
    if backend == "jax_cpu":
        import jax

        from backends._jax_generate import JaxGenerateStep

        return JaxGenerateStep(request, jax.devices("cpu")[0])
    if backend == "onnxruntime_cpu":
        from backends._onnxruntime_generate import OnnxRuntimeGenerateStep

        return OnnxRuntimeGenerateStep(request, "CPUExecutionProvider")
    from backends._openvino_generate import OpenVinoGenerateStep

    return OpenVinoGenerateStep(request, "CPU")


@pytest.mark.parametrize("backend", RUNTIMES)
@pytest.mark.parametrize("name", DECODING)
def test_each_runtime_goes_on_from_its_own_cache_and_takes_tokens_that_are_forced(name, backend, graphs):
    adapter = backends.get(backend)
    request = request_in(graphs(name, adapter), adapter, tiny(name), "generate")
    step = prepared(backend, request)
    step.compile()
    forced = [np.random.RandomState(i).randint(0, 200, (2, TOKENS)) for i in range(2)]
    for ties in ((), forced):
        step.force(ties)
        for i in (0, 1, 2):
            step.step(i)
            step.sync()
            step.touch()
            batch = request.batches[i % 2]
            fed = forced[i % 2] if ties else batch[CHOSEN]
            logits = logits_of(tiny(name), np.concatenate([batch[TEXT][:, :PROMPT], fed[:, :-1]], 1))
            np.testing.assert_allclose(step.outputs()[FIRST], logits[:, PROMPT - 1], atol=1e-4)
            np.testing.assert_allclose(step.outputs()[LAST], logits[:, -1], atol=1e-4)
            np.testing.assert_array_equal(step.chosen[i % 2], logits[:, PROMPT - 1 :].argmax(-1))
    times = step.take_times()
    assert [len(one) for one in times] == [1 + TOKENS] * 6
    assert all(one == sorted(one) for one in times)
    assert step.take_times() == []
    step.close()


def test_times_by_token_are_those_of_the_definitions(given):
    request, *_ = given("llama")
    times = [[10.0, 10.5, 10.6, 10.8], [20.0, 20.7, 20.9, 21.1]]
    columns = generation_columns(times, request)
    assert columns == pytest.approx({"ttft_p50_s": 0.7, "tpot_p50_s": 0.2, "itl_p50_s": 0.2})
    assert {*generation_columns(times * 25, request)} == {*columns, "itl_p90_s"}
    assert generation_columns([], request) == {}


def test_a_table_has_the_first_token_and_those_behind_it_apart():
    cell = {"workload": "gpt2", "phase": "generate", "sequence": 16, "generated_tokens": 8}
    times = {"latency_p50_s": 0.5, "ttft_p50_s": 0.15, "tpot_p50_s": 0.05, "itl_p90_s": 0.0625}
    tokens = {"tokens_compared": 32, "tokens_equal": 31, "tokens_tied": 1, "tokens_distinct": 6}
    text = render(to_frame([row_of(**cell, **times, **tokens), row_of(**cell, backend="null")]))
    (line,) = [line for line in text.splitlines() if "31 of 32" in line]
    assert (
        line.split()[-12:]
        == [*["torch_cpu", "150", "ms", "50.0", "ms", "62.5", "ms", "500", "ms", "31", "of", "32", "1"]][-12:]
    )
    assert "Texts consist of at least 6 different tokens." in " ".join(text.split())
    assert "token by token" not in render(to_frame([row_of()]))


@pytest.mark.parametrize("backend", RUNTIMES)
def test_a_row_of_a_generation_is_verified_and_has_times_by_token(backend, tmp_path_factory, tmp_path):
    cache = Cache(tmp_path_factory.getbasetemp() / "cache-of-generations", print)
    row = Suite(cache, tmp_path, EFFORT).outcome(default_cell("llama", "tiny", "generate", backend, 1))
    assert (row["status"], row["verification"], row["reason"]) == ("ok", "passed", None)
    assert (row["generated_tokens"], row["sequence"], row["throughput_mode"]) == (TOKENS, PROMPT, "serial")
    assert row["tokens_equal"] == row["tokens_compared"] == 2 * 2 * TOKENS
    assert min(row[name] for name in ("ttft_p50_s", "tpot_p50_s", "itl_p50_s")) > 0


def test_every_decoder_of_the_catalogue_generates():
    assert {name for name in CATALOG if "generate" in at(name, "tiny", "generate").programs} == {*DECODING}
