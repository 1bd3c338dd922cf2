"""What a user's factory or module can be wrong in: one line says what, and what to do."""

import json
import re

import numpy as np
import pytest

from bench.child.own.factory import Refusal
from tests.fakes.own import own

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
FACTORY = "tests.models.faulty"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raises", r"raised RuntimeError: no such layer: 12 \(faulty.py, line \d+\)$"),
        ("leaves", r"raised SystemExit: no weights here \(faulty.py, line \d+\)$"),
        ("nonsense", r"returned a dict; expected samestep.Model\(module, inputs"),
        ("nothing", r"returned nothing; expected samestep.Model"),
        ("on_a_gpu", r"raised .*; the model is made on the CPU, on every machine: leave out .cuda\(\)"),
        ("no_module", r"gave a builtin_function_or_method as module; expected a torch.nn.Module"),
        ("bare_tensor", r"gave a Tensor as inputs; expected a tuple or a mapping"),
        ("raising_forward", r"the module raised on its inputs: RuntimeError: .*shapes"),
        ("one_number", r"no second batch can be made: .* give both by --model-inputs"),
        ("missing", r"has no function 'missing'; it has: .*raises"),
    ],
)
def test_a_factory_that_gives_no_model_is_refused_in_one_line(name, said, tmp_path):
    with pytest.raises(Refusal, match=said) as refused:
        own(f"{FACTORY}:{name}", tmp_path / "model")
    assert "\n" not in str(refused.value)
    assert list((tmp_path / "model").iterdir()) == []


@pytest.mark.parametrize("name", ["tests.models.nowhere", "nowhere"])
def test_a_module_that_is_not_there_is_named(name, tmp_path):
    with pytest.raises(Refusal, match=rf"{name} cannot be imported: ModuleNotFoundError: No module named '{name}'"):
        own(f"{name}:factory", tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "phases", "said"),
    [
        ("dropping", {"train"}, r"draws random numbers .*\(aten\.\w+.* 1 times\).* set dropout to 0"),
        ("noisy", {"infer", "train"}, r"draws random numbers .*aten.randn_like"),
        (
            "deciding",
            {"infer", "train"},
            r"torch.export refuses it: .* at `if x.sum\(\) > 0:` \(line \d+ of faulty.py\)",
        ),
        (
            "selecting",
            {"infer", "train"},
            r"aten.index.Tensor makes the shape \(u\d+,\), which values decide, .* by torch.where or a mask at "
            r"`return .*x > 0.*` \(line \d+ of faulty.py\)",
        ),
        (
            "aligning",
            {"infer", "train"},
            r"DynamicOutputShapeException: aten._ctc_loss.\w+ \(faulty.py, line \d+\); values decide the shape",
        ),
        ("remembering", {"infer"}, r"it changes calls in inference, so that no two steps are alike"),
        (
            "differentiating",
            {"train"},
            r"another computation of it: the gradient of inner\.\w+ is off by .*autograd.Function",
        ),
        ("counting", {"infer", "train"}, r"another computation of it: its (output|loss) .*changes from call to call"),
        ("vector_loss", {"train"}, r"the loss is \(4, 6\); expected a scalar: take its mean"),
        ("frozen", {"train"}, r"the loss has no gradient"),
        ("nesterov", {"train"}, r"the SGD has nesterov=True, .* give nesterov=False"),
        ("no_momentum", {"train"}, r"the SGD has no momentum"),
        ("adagrad", {"train"}, r"the optimizer is a Adagrad; there are rules for: torch.optim.SGD"),
    ],
)
def test_what_would_be_another_computation_is_refused_with_the_cure(name, phases, said, tmp_path):
    workload = own(f"{FACTORY}:{name}", tmp_path / "model")
    assert workload.refused.keys() == phases
    for phase in phases:
        (line,) = workload.refused[phase].splitlines()
        assert re.search(said, line), line


def test_a_batch_that_the_factory_does_not_take_is_refused(tmp_path):
    with pytest.raises(Refusal, match="takes no `batch`, and --batch 3 was asked for"):
        own(f"{FACTORY}:no_batch", tmp_path / "a", batch=3)
    with pytest.raises(Refusal, match=r"--batch 3 was asked for, and no input has an axis of 3: \(4, 6\), \(4, 6\)"):
        own(f"{FACTORY}:ignores_batch", tmp_path / "b", batch=3)
    assert own(f"{FACTORY}:ignores_batch", tmp_path / "c").batch == 4


def test_a_phase_without_a_loss_is_no_phase_of_the_model(tmp_path):
    workload = own("tests.models.zoo:no_loss", tmp_path / "model")
    assert json.loads((tmp_path / "model" / "model.json").read_text())["phases"] == ["infer"]
    assert "its factory gives no loss" in workload.refused["train"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"y": np.zeros((2, 4), np.float32)}, "has 'y', which is no input; they are: input"),
        ({"input": np.zeros((2, 5), np.float32)}, r"input is \(2, 5\) float32, and the factory gives \(2, 4\) float32"),
        ({"1.input": np.zeros((2, 4), np.int64)}, r"input is \(2, 4\) int64, and the factory gives \(2, 4\) float32"),
    ],
)
def test_input_values_of_another_kind_are_refused(given, said, tmp_path):
    np.savez(tmp_path / "inputs.npz", **given)
    with pytest.raises(Refusal, match=said):
        own("tests.models.zoo:no_loss", tmp_path / "model", inputs=tmp_path / "inputs.npz")
