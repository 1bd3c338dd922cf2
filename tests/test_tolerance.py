"""Tolerances follow from the arithmetic: what is predicted, where it is kept, and what is said where it is missing."""

import json
import shutil
import sys

import numpy as np
import pytest

from bench import predict
from bench.child import noise
from bench.child.checks import predicted
from tests.fakes.bench import CELL, faulty_suite, filled_cache
from tests.fakes.steps import make_in, setting
from workloads import data
from workloads.catalog import CATALOG, LIMITS, SUITES, at, load, phases_of
from workloads.deviation import measured
from workloads.precision import BF16, FP32, INT8, PRECISIONS, W8
from workloads.recipes.int8 import why_undefined
from workloads.summary import summarize
from workloads.tolerance import FACTOR, SCALE_ROUNDOFFS, MissingTolerance, Tolerance, tolerances
from workloads.tuning import TUNED
from workloads.update import applied

TINY = [(name, phase) for name in CATALOG for phase in load(name, "tiny").programs]


@pytest.mark.parametrize(
    ("name", "phase", "precision"),
    [
        pytest.param(name, phase, precision, id=f"{precision.name}-{name}-{phase}")
        for name, phase in TINY
        for precision in PRECISIONS.values()
        if not why_undefined(load(name, "tiny").programs[phase], precision)
    ],
)
def test_what_is_predicted_for_the_tiny_sizes_is_of_this_code(name, phase, precision):
    stored, why = predicted.find(load(name, "tiny"), phase, precision)
    assert stored, f"{why}: python -m bench.predict {name}-tiny"


@pytest.mark.parametrize(("name", "phase"), TINY)
def test_what_is_predicted_can_be_made_again(name, phase):
    workload = load(name, "tiny")
    stored, _ = predicted.find(workload, phase, FP32)
    made, samples = predict.make(workload, phase, FP32)
    assert samples in (noise.SAMPLES, noise.SAMPLES_WITH_KINKS)
    assert made.keys() == stored.keys()
    for key, one in made.items():
        assert one.error == pytest.approx(stored[key].error, rel=0.02, abs=1e-12), key


def test_every_published_size_has_what_it_is_held_against():
    """What the first suite runs has it in every precision that is asked for often; what is served in fp32.

    The others, and phases of training after the first, are sampled where they run.
    """
    missing = [
        f"{name} {phase} {precision.name}"
        for name, model in CATALOG.items()
        if name in LIMITS or {*SUITES["core"], *SUITES["llm"]} & {name}
        for phase in phases_of(name)
        if phase not in (*TUNED, "transfer")
        for workload in [at(name, model.PUBLISHED, phase)]
        for precision in ((FP32, BF16, INT8, W8) if is_in_core(name, phase) and phase != "decode" else (FP32,))
        if not why_undefined(workload.programs[phase], precision)
        and predicted.find(workload, phase, precision)[0] is None
    ]
    assert missing == []


def is_in_core(name, phase):
    core = SUITES["core"]
    return name in core and (core[name] is None or phase in core[name])


@pytest.mark.parametrize("is_changed", [False, True])
def test_what_the_tiny_size_says_has_not_changed_may_be_kept(is_changed, tmp_path, monkeypatch):
    shutil.copytree(predicted.FOLDER, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(predicted, "FOLDER", tmp_path)
    before, _ = predicted.find(load("mlp", "base"), "infer", FP32)
    monkeypatch.setattr(predicted, "key_of", lambda *given: "another")
    real, made = predict.make, []

    def counted(workload, phase, precision):
        made.append((workload.size, phase))
        found, n = real(load("mlp", "tiny"), phase, precision)
        return ({key: Tolerance(2 * one.error, one.scale) for key, one in found.items()} if is_changed else found), n

    monkeypatch.setattr(predict, "make", counted)
    assert predict.main(["mlp-tiny", "mlp-base", "--precision", "fp32", "--keep"]) == 0
    sizes = ["tiny", "base"] if is_changed else ["tiny"]
    assert made == [(size, phase) for size in sizes for phase in ("infer", "train")]
    after, _ = predicted.find(load("mlp", "base"), "infer", FP32)
    assert (after == before) != is_changed


def test_a_prediction_of_other_code_is_made_anew_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(predicted, "key_of", lambda *given: "another")
    folders = make_in(tmp_path, load("mlp", "tiny"), "infer")
    folder = tmp_path / "again"
    folder.mkdir()
    made = noise.make(setting(load("mlp", "tiny")), folder, folders)
    assert made["samples"] >= noise.SAMPLES
    assert "mlp tiny infer-b4-fp32 in the repository is of other code" in made["said"]
    assert noise.load(folder).keys() == {"output.0.logits", "output.1.logits"}


@pytest.mark.parametrize("text", ["{", "[]", '{"infer-b4-fp32": 3}', '{"infer-b4-fp32": {"key": "x"}}'])
def test_a_file_that_cannot_be_used_is_said_and_nothing_is_taken_from_it(tmp_path, monkeypatch, text):
    monkeypatch.setattr(predicted, "FOLDER", tmp_path)
    (tmp_path / "mlp-tiny.json").write_text(text)
    stored, why = predicted.find(load("mlp", "tiny"), "infer", FP32)
    assert stored is None
    assert "cannot be read" in why or "of other code" in why


def test_another_shape_is_sampled(tmp_path):
    folders = make_in(tmp_path, load("mlp", "tiny", batch=3), "infer")
    assert noise.load(folders["noise"])["output.0.logits"].error > 0


def test_without_prediction_and_without_torch_the_command_is_said(tmp_path, monkeypatch):
    folders = make_in(tmp_path, load("mlp", "tiny", batch=3), "infer")
    monkeypatch.setitem(sys.modules, "backends._torch_noise", None)
    with pytest.raises(MissingTolerance, match=r"no tolerance: nothing is predicted .*`python -m bench.predict mlp`"):
        noise.make(setting(load("mlp", "tiny", batch=3)), tmp_path, folders)


def test_a_missing_tolerance_is_no_backends_fault(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMESTEP_FAKE", "says")
    cache = filled_cache(tmp_path / "cache")
    (entry,) = (tmp_path / "cache").glob("noise-*")
    (entry / noise.FILE).write_text("{}")
    manifest = json.loads((entry / "manifest.json").read_text())
    (entry / "manifest.json").write_text(json.dumps(manifest | {"files": {}}))
    columns = faulty_suite(cache, tmp_path).outcome(CELL)
    assert (columns["status"], columns["reason_code"]) == ("error", "no_tolerance")


def test_a_bound_is_a_constant_times_what_is_predicted_and_never_under_a_roundoff():
    given = {"output.a": Tolerance(1e-6, 1e-7), "output.b": Tolerance(4e-6, 1e-7), "output.c": Tolerance(2e-6, 0.0)}
    bounds = tolerances(given, FP32)
    assert bounds["output.b"].error == FACTOR * 4e-6
    assert bounds["output.a"].error == FACTOR * 2e-6  # the median of its quantity
    assert bounds["output.c"].scale == FACTOR * SCALE_ROUNDOFFS * FP32.unit
    assert tolerances(given, BF16)["output.b"].scale == FACTOR * BF16.unit
    assert tolerances({"output.a": Tolerance(0.0, 1e-9)}, FP32)["output.a"].error == FACTOR * FP32.unit
    of_one_number = tolerances({"loss.0": Tolerance(1e-8, 0.0)}, FP32)["loss.0"]
    assert of_one_number.error == FACTOR * SCALE_ROUNDOFFS * FP32.unit


def sgd_state(workload, spoil=None):
    """Returns what a step of `mlp` leaves, by its own rule in float32, and the model's tensors before it."""
    rule, before = workload.programs["train"].update.rule, data.make_parameters(workload)
    random = np.random.default_rng(0)
    summaries = {}
    for name, p in before.items():
        gradient = random.normal(size=p.shape).astype(np.float32)
        after = p - np.float32(rule.learning_rate) * gradient
        if spoil is not None:
            after = spoil(p, after)
        summaries[f"first_moment.{name}"] = summarize(gradient)
        summaries[f"parameter_change.{name}"] = summarize(after, minus=p)
    return summaries, before


def worst_update(workload, spoil=None):
    state, before = sgd_state(workload, spoil)
    return max(one.value / one.bound for one in applied(workload.programs["train"], state, before))


def test_an_update_is_held_against_its_own_rule():
    tiny = load("mlp", "tiny")
    assert worst_update(tiny) < 0.7
    assert worst_update(tiny, lambda p, after: p + np.float32(1.002) * (after - p)) > 3
    assert worst_update(tiny, lambda p, after: after * np.float32(np.nan)) == float("inf")


def test_elements_that_are_not_kept_are_seen_by_their_sums():
    wide = load("mlp")
    assert worst_update(wide) < 0.7

    def half(p, after):
        from workloads.summary import chosen

        kept = chosen(p.size)
        if kept is None:
            return after
        left = p.copy().reshape(-1)
        left[kept] = after.reshape(-1)[kept]
        return left.reshape(p.shape)

    assert worst_update(wide, half) > 1


def test_a_tensor_without_a_bound_is_our_own_fault():
    from bench.child.checks import verify

    summary = summarize(np.ones(4))
    with pytest.raises(MissingTolerance, match=r"no tolerance for output\.0\.y"):
        verify.compare({"output.0.y": summary}, {"output.0.y": summary}, {})
    assert [one.value for one in measured({"output.0.y": summary}, {"output.0.y": summary}, ["output.0.y"])] == [0, 0]
