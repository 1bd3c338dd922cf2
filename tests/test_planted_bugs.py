"""Every planted bug is refused, and every comparison is needed: without it some planted bug would pass."""

from functools import cache

import pytest
import torch

from backends.base import Request
from bench.child.checks import verify, waits
from bench.child.checks.proof import WrongResult, verify_step
from bench.child.expected import load_expected
from tests import planted_families, planted_models  # noqa: F401 - they register their bugs
from tests.fakes.models import MECHANISMS
from tests.fakes.steps import allowed_in, make_in
from tests.planted import BUGS, PlantedAdapter
from workloads import data, deviation
from workloads.catalog import load
from workloads.models import mlp
from workloads.precision import FP32

mlp.SIZES["wide"] = (300, 300, 5)  # its first weight has more elements than a summary keeps
mlp.BATCHES["wide"] = 4

bugs = pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS.keys())


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Returns request and expectation by workload, size and phase, each made once through the real makers."""

    @cache
    def make(name: str, size: str, phase: str):
        workload = load(name, size)
        folders = make_in(tmp_path_factory.mktemp("made"), workload, phase)
        parameters, batches = data.make_parameters(workload), tuple(data.make_batches(workload))
        request = Request(workload, phase, FP32, torch.get_num_threads(), 0, parameters=parameters, batches=batches)
        return request, load_expected(folders["expected"]), allowed_in(folders)

    return make


def verified(adapter_class, prepared, step=None):
    """Returns the reason code with which the adapter's step, or `step`, is refused, None where it passes."""
    adapter = adapter_class()
    request, expected, allowed = prepared(adapter.workload, adapter.size, adapter.phase)
    try:
        verify_step(adapter, step or adapter.prepare(request), request, expected, allowed)
    except WrongResult as wrong:
        return wrong.code
    except verify.Refused as refused:
        return refused.code
    return None


class Replayed:
    """What a step gave when it ran once; verification can look at it again and again."""

    def __init__(self, adapter, request):
        step = adapter.prepare(request)
        self.observed = verify.observe(step, request.program, request.parameters)
        self.said, self.held, self.refusal = step.effective(), dict(step.frozen()), None
        try:
            self.next_i = waits.check_waits(step, len(self.observed[0]), min(self.observed[1][1:]))
        except verify.Refused as refused:
            self.refusal = refused

    def effective(self):
        return self.said

    def frozen(self):
        return self.held.items()

    def check_waits(self):
        if self.refusal:
            raise self.refusal
        return self.next_i


@pytest.fixture(scope="session")
def replayed(prepared):
    """Returns what each planted bug's step gave, by name."""
    adapters = {name: bug() for name, bug in BUGS.items()}
    return {name: Replayed(a, prepared(a.workload, a.size, a.phase)[0]) for name, a in adapters.items()}


@bugs
def test_every_planted_bug_is_refused(bug, prepared):
    assert verified(bug, prepared) is not None


@pytest.mark.parametrize("workload", MECHANISMS)
@pytest.mark.parametrize("phase", ["infer", "train"])
def test_what_has_no_bug_passes(workload, phase, prepared):
    correct = type("Correct", (PlantedAdapter,), {"workload": workload, "phase": phase})
    del BUGS["Correct"]
    assert verified(correct, prepared) is None


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("NoCausalMask", "output_differs"),
        ("Tf32DeclaredAsFp32", "output_differs"),
        ("LossReportedTooLarge", "loss_differs"),
        ("WeightDecayLeftOut", "state_differs"),
        ("NotANumber", "not_finite"),
        ("Unsynced", "does_not_wait"),
        ("OtherPrecision", "effective_precision"),
        ("OtherDevice", "effective_device"),
    ],
)
def test_the_reason_says_what_differs(name, code, prepared):
    assert verified(BUGS[name], prepared) == code


def test_the_worst_deviation_is_named_with_its_tolerance(prepared):
    adapter = BUGS["OneLayersGradientOnePercentTooLargeUnderSGD"]()
    request, expected, allowed = prepared("mlp", "tiny", "train")
    with pytest.raises(WrongResult, match=r"of first_moment layers\.1\.weight is 0\.01, tolerance .* \(and \d+ more\)"):
        verify_step(adapter, adapter.prepare(request), request, expected, allowed)


COMPARISONS = (
    "output",
    "loss",
    "first_moment",
    "buffer_change",
    "error",  # the scale is needed where kinks widen what an error may be: at ResNet-50's own size, not at a tiny one
    "compare_update",
    *(error.__name__ for error in deviation.ERRORS),
    "check_waits",
    "check_effective",
)


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_every_comparison_is_needed(comparison, prepared, replayed, monkeypatch):
    """Without it, at least one planted bug passes."""
    monkeypatch.setattr(verify, "observe", lambda step, *given: step.observed)
    monkeypatch.setattr(waits, "check_waits", lambda step, *given: step.check_waits())
    if comparison.startswith("check_"):
        room = waits if comparison == "check_waits" else verify
        monkeypatch.setattr(room, comparison, lambda *given: (0, 0.0))
    elif comparison == "compare_update":
        monkeypatch.setattr(verify, comparison, lambda *given: verify.Verification(()))
    elif comparison.endswith("_error"):
        monkeypatch.setattr(deviation, "ERRORS", tuple(e for e in deviation.ERRORS if e.__name__ != comparison))
    else:
        compare = verify.compare

        def without(*given):
            deviations = compare(*given).deviations
            left = (d for d in deviations if comparison not in (d.quantity, d.measure))
            # One that passes stands for each measure, so that the worst can be named.
            pads = (verify.Deviation("none", "none", measure, 0.0, 1.0) for measure in ("error", "scale"))
            return verify.Verification((*left, *pads))

        monkeypatch.setattr(verify, "compare", without)
    passing = [name for name, step in replayed.items() if verified(BUGS[name], prepared, step) is None]
    assert passing, f"no planted bug needs {comparison}"
