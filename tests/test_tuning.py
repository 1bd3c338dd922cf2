"""Training in its phases: every runtime computes the same step, and what computes another one is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import backends
from backends._graphs import ONNX
from backends._torch import TorchStep
from backends._torch_ops import EagerTorchOps, TorchOps
from bench.child.checks.proof import Proof
from bench.child.expected import computed, load_expected
from tests.fakes.own import loaded
from tests.fakes.steps import MADE, allowed_in, make_in, request_in, verdict
from tests.planted import BUGS, PlantedAdapter
from workloads.catalog import at, load
from workloads.data import make_batches, make_parameters
from workloads.ops import subset
from workloads.reference import NumpyOps, float64
from workloads.tuning import DISTILL, DPO, GRPO, LORA, TRAIN, TUNED
from workloads.tuning import lora as adapters

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
RUNTIMES = ("torch_cpu", "jax_cpu", "onnxruntime_cpu", "openvino_cpu")
OPTIONS = {"accumulated": {"accumulate": 4}, "checkpointed": {"checkpoint": "blocks"}}
KINDS = [(name, phase) for name in ("gpt2", "llama") for phase in (*TUNED, *OPTIONS)]


def tuned(name, kind):
    """Returns the workload of a phase, or of training with an option, and the phase."""
    if kind in OPTIONS:
        return load(name, "tiny", **OPTIONS[kind]), TRAIN
    return at(name, "tiny", kind), kind


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def made(request, tmp_path_factory):
    workload, phase = tuned(*request.param)
    return workload, phase, make_in(tmp_path_factory.mktemp("made"), workload, phase, (*MADE, ONNX))


@pytest.mark.parametrize("backend", RUNTIMES)
def test_every_runtime_computes_the_same_step(made, backend):
    workload, phase, folders = made
    adapter = backends.get(backend)
    asked = request_in(folders, adapter, workload, phase, torch.get_num_threads())
    loaded(adapter, asked)
    step = adapter.prepare(asked)
    step.compile()
    proof = Proof(adapter, asked, load_expected(folders["expected"]), allowed_in(folders))
    columns, _ = proof.before(step)
    assert columns["verification"] == "passed"
    elements = proof.elements(step)
    step.step(0)
    step.sync()
    assert proof.after(step, elements) == "passed"
    step.close()


class Tuning(PlantedAdapter):
    """Correct, and the base of those that are not; a bug is in the step, the vocabulary, or what is told to it."""

    Step: type[TorchStep] = TorchStep
    Ops: type[TorchOps] = EagerTorchOps
    kind = LORA


def moved(constant, by):
    """Returns a step that changes a tensor which is frozen."""

    class Step(TorchStep):
        def step(self, i):
            super().step(i)
            name = next(spec.name for spec in self.program.constants if spec.name.endswith(constant))
            with torch.no_grad():
                self.parameters[name].mul_(by)

    return Step


class FrozenWeightDecays(Tuning):
    """By the optimiser's own decay: a millionth a step, which no loss shows."""

    Step = moved("attn.c_attn.weight", 1 - 1e-6)


class AdapterLeftOut(Tuning):
    def wrong(self, request):
        zeros = {name: np.zeros_like(p) if "lora_B" in name else p for name, p in request.parameters.items()}
        return replace(request, parameters=zeros)


class AdapterScaledByAlphaAlone(Tuning):
    def wrong(self, request):
        before = adapters.ALPHA
        adapters.ALPHA = before * adapters.RANK
        try:
            return replace(request, workload=at("gpt2", "tiny", LORA))
        finally:
            adapters.ALPHA = before


class ReferenceFollowsThePolicy(Tuning):
    kind = DPO

    class Step(TorchStep):
        def step(self, i):
            super().step(i)
            with torch.no_grad():
                for spec in self.program.update.trained:
                    self.parameters[f"reference.{spec.name}"].copy_(self.parameters[spec.name])


class RejectedIsPreferred(Tuning):
    kind = DPO

    class Ops(EagerTorchOps):
        def binary_cross_entropy(self, logits, labels):
            return super().binary_cross_entropy(-logits, labels)


class MeanOfTokensForTheirSum(Tuning):
    kind = DPO

    class Ops(EagerTorchOps):
        def mean(self, x, axes):
            is_of_tokens = tuple(axes) == (2,) and x.dim() == 3
            return super().mean(x, axes) / (x.shape[-1] if is_of_tokens else 1)


class GradientThroughTheReference(Tuning):
    """The reference is the policy itself: nothing is gained, and nothing learnt."""

    kind = DPO

    class Step(TorchStep):
        def loss(self, p, batch):
            own = {f"reference.{spec.name}": p[spec.name] for spec in self.program.update.trained}
            return super().loss({**p, **own}, batch)


class RatioIsNotClipped(Tuning):
    kind = GRPO

    class Ops(EagerTorchOps):
        def relu(self, x):
            return super().relu(x) * 0 if x.dim() == 2 and x.shape == (2, 16) else super().relu(x)


class AdvantagesOfTheOtherAnswer(Tuning):
    kind = GRPO

    def wrong(self, request):
        turned = [{**batch, "advantages": batch["advantages"][::-1]} for batch in request.batches]
        return replace(request, batches=turned)


class DrawnByThePolicyItself(Tuning):
    kind = GRPO

    def wrong(self, request):
        still = [{**batch, "drawn_by": batch["drawn_by"] * 0} for batch in request.batches]
        return replace(request, batches=still)


class TeacherIsTrained(Tuning):
    kind = DISTILL
    Step = moved("attn.c_attn.weight", 1 - 1e-6)


class DivergenceTheOtherWayRound(Tuning):
    kind = DISTILL

    class Ops(EagerTorchOps):
        def log_softmax(self, x):
            self.swapped = getattr(self, "swapped", [])
            self.swapped.append(super().log_softmax(x))
            return self.swapped[-1] if len(self.swapped) % 2 else self.swapped[-2].detach()


class TemperatureForgotten(Tuning):
    kind = DISTILL

    class Ops(EagerTorchOps):
        def log_softmax(self, x):
            return super().log_softmax(x * 2.0)


class LastPartAlone(Tuning):
    kind = "accumulated"

    class Step(TorchStep):
        def _backward(self, loss):
            self.optimizer.zero_grad(set_to_none=True)
            super()._backward(loss)


class SumOfPartsForTheirMean(Tuning):
    kind = "accumulated"

    class Step(TorchStep):
        def _backward(self, loss):
            super()._backward(loss * 4)


class FirstPartEachTime(Tuning):
    kind = "accumulated"

    class Step(TorchStep):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.split = [(parts[0],) * len(parts) for parts in self.split]


class BlockIsNotComputedAgainFromWhatItRead(Tuning):
    kind = "checkpointed"

    class Ops(EagerTorchOps):
        recomputes = True

        def recomputing(self):
            return self

        def repeat(self, block, x, parameters, prefix, n):
            for i in range(n):
                entered = x
                x = torch.utils.checkpoint.checkpoint(
                    lambda x, i=i, entered=entered: block(
                        x if not torch.is_grad_enabled() or x is entered else x * 1.01,
                        subset(parameters, f"{prefix}.{i}."),
                    ),
                    x,
                    use_reentrant=True,
                )
            return x


PLANTED = [
    FrozenWeightDecays,
    AdapterLeftOut,
    AdapterScaledByAlphaAlone,
    ReferenceFollowsThePolicy,
    RejectedIsPreferred,
    MeanOfTokensForTheirSum,
    GradientThroughTheReference,
    RatioIsNotClipped,
    AdvantagesOfTheOtherAnswer,
    DrawnByThePolicyItself,
    TeacherIsTrained,
    DivergenceTheOtherWayRound,
    TemperatureForgotten,
    LastPartAlone,
    SumOfPartsForTheirMean,
    FirstPartEachTime,
    BlockIsNotComputedAgainFromWhatItRead,
]
for _bug in (Tuning, *PLANTED):
    del BUGS[_bug.__name__]
BY_DIGEST = (FrozenWeightDecays, TeacherIsTrained)
"""What moves less than any loss shows."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    kept = {}

    def of(kind):
        if kind not in kept:
            workload, phase = tuned("gpt2", kind)
            folders = make_in(tmp_path_factory.mktemp("made"), workload, phase)
            request = request_in(folders, Tuning(), workload, phase, torch.get_num_threads())
            kept[kind] = request, load_expected(folders["expected"]), allowed_in(folders), {}
        return kept[kind]

    return of


@pytest.mark.parametrize("kind", [*TUNED, *OPTIONS])
def test_what_has_no_bug_passes(kind, prepared):
    assert verdict(Tuning(), prepared(kind)) is None


@pytest.mark.parametrize("bug", PLANTED)
def test_what_computes_another_step_is_refused(bug, prepared):
    codes = ["state_differs"] if bug in BY_DIGEST else ["loss_differs", "state_differs"]
    assert verdict(bug(), prepared(bug.kind)) in codes


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_the_reference_is_what_numpy_computes(name, kind):
    """Forward alone: what the loss is before the first update."""
    from backends._torch_noise import ReferenceOps

    workload, phase = tuned(name, kind)
    program, p, batches = workload.programs[phase], make_parameters(workload), make_batches(workload)
    state = program.initial_state(float64(p), np.zeros)
    (loss,) = program.outputs_of(NumpyOps(), program.constants_of(float64(p)), state, float64(batches[0])).values()
    with torch.no_grad():
        reference = computed(program, ReferenceOps(), p, batches)
    assert reference["loss.0"].values.item() == pytest.approx(float(loss), rel=1e-12)
