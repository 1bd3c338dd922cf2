"""What is sold as bf16 and is something else is refused, each by the check that is there for it."""

from functools import cache

import pytest
import torch

from backends.base import Request
from bench.artifacts import EXPECTED
from bench.cell import PLAIN
from bench.child.expected import load_expected
from tests.fakes.steps import allowed_in, make, make_in, verdict
from tests.planted_precision import IN_BF16, _InBf16
from workloads import data
from workloads.catalog import load
from workloads.precision import BF16, FP32

CODES = {
    "MomentsInBf16": "state_differs",
    "NoMastersInFp32": "state_differs",
    "LearningRateTwoPerMilleTooLargeInBf16": "state_differs",
    "WrongEpsilonInBf16": "state_differs",
    "LossInBf16": "loss_differs",
    "Fp8OperandsSoldAsBf16": "output_differs",
    "Fp32SoldAsBf16": "effective_precision",
    "OnlyWhatIsStoredIsRounded": "effective_precision",
    "NoCausalMaskInBf16": "output_differs",
    "DroppedBiasGradientInBf16": "state_differs",
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Returns request, expectation, bounds and what float32 computes, by workload, size and phase."""

    @cache
    def of(name, size, phase):
        workload, folder = load(name, size), tmp_path_factory.mktemp("made")
        folders = make_in(folder, workload, phase, precision=BF16)
        plain = folder / PLAIN
        plain.mkdir()
        make(EXPECTED, workload, phase, plain, folders, FP32)
        parameters, batches = data.make_parameters(workload), tuple(data.make_batches(workload))
        request = Request(workload, phase, BF16, torch.get_num_threads(), 0, parameters=parameters, batches=batches)
        return request, load_expected(folders["expected"]), allowed_in(folders, BF16), load_expected(plain)

    return of


@pytest.mark.parametrize("name", IN_BF16)
def test_it_is_refused_by_the_check_for_it(name, prepared):
    bug = IN_BF16[name]
    assert verdict(bug(), prepared(bug.workload, bug.size, bug.phase)) == CODES[name]


@pytest.mark.parametrize("workload", ["gpt2", "bert_base", "mlp", "resnet50"])
@pytest.mark.parametrize("phase", ["infer", "train"])
def test_what_has_no_bug_passes(workload, phase, prepared):
    assert verdict(_InBf16(), prepared(workload, "tiny", phase)) is None
