"""What an ONNX file computes in float64, and how far correct code may lie off: held against NumPy and ONNX Runtime."""

from collections import Counter
from functools import partial
from itertools import product

import numpy as np
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from backends._onnx_file import interface, noise, oracle, plain
from backends._onnx_file.counting import Counted
from tests import onnx_models as small
from workloads.precision import ROUNDOFF
from workloads.tolerance import FACTOR


def off(observed, expected):
    return float(np.linalg.norm(observed.astype(float) - expected) / np.linalg.norm(expected))


def batches(*names_and_shapes):
    return [{name: small.draw(*shape, seed=9 + i) for name, shape in names_and_shapes} for i in range(2)]


def shaped(made, **shapes):
    return interface.with_shapes(made, interface.fixed_inputs(interface.inputs_of(made), shapes, None))


def test_the_oracle_is_float64_to_the_end():
    made = small.mlp(batch=3)
    (batch, _) = batches(("x", (3, 16)))
    held = {t.name: np.frombuffer(t.raw_data, np.float32).reshape(t.dims).astype(float) for t in made.graph.initializer}
    hidden = np.maximum(batch["x"].astype(float) @ held["w1"] + held["b1"], 0)
    expected = 1 / (1 + np.exp(-(hidden @ held["w2"])))
    (outputs,) = oracle.evaluated(oracle.evaluator_of(made), [batch])
    assert outputs["y"].dtype == np.float64
    assert off(outputs["y"], expected) < 1e-15


def test_an_old_opset_is_converted_first_for_the_evaluator_is_wrong_on_it():
    made = shaped(small.convolutional(), image=(2, 3, 8, 9))
    given = batches(("image", (2, 3, 8, 9)))
    ran = plain.run(made, given)
    outputs = oracle.evaluated(oracle.evaluator_of(made), given)
    unconverted = ReferenceEvaluator(made).run(["p"], given[0])[0]
    assert off(ran[0]["p"], outputs[0]["p"]) < 1e-6
    assert off(unconverted, outputs[0]["p"]) > 0.01


def test_the_branch_that_a_scalar_chooses_is_evaluated():
    made = small.branching()
    x = small.draw(2, 3)
    given = [{"x": x, "rate": np.array(rate)} for rate in (16, 8)]
    twice, added = oracle.evaluated(oracle.evaluator_of(made), given)
    assert np.array_equal(twice["y"], 2 * x.astype(float))
    assert np.array_equal(added["y"], x.astype(float) + small.draw(2, 3, seed=5).astype(float))


CASES = [
    {"n": n, "group": group, "step": step, "dilation": dilation, "pads": pads, "auto_pad": auto_pad}
    for n, group, step, dilation, pads, auto_pad in product(
        (1, 2, 3), (1, 2, 4), (1, 2), (1, 2), (0, 1), ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
    )
    if auto_pad == "NOTSET" or (pads == 0 and dilation == 1)
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.values())))
def test_our_convolution_is_that_of_the_evaluator(case):
    n = case["n"]
    arrays = {
        "x": small.draw(2, 4, *[9, 8, 7][:n], dtype=np.float64),
        "w": small.draw(8, 4 // case["group"], *[3, 2, 3][:n], seed=1, dtype=np.float64),
        "b": small.draw(8, seed=2, dtype=np.float64),
    }
    attributes = {"group": case["group"], "strides": [case["step"]] * n, "dilations": [case["dilation"]] * n}
    if case["auto_pad"] == "NOTSET":
        attributes["pads"] = [case["pads"]] * n + [case["pads"] + 1] * n
    node = helper.make_node("Conv", [*arrays], ["y"], auto_pad=case["auto_pad"], **attributes)
    made = small.model([node], [(name, 11, a.shape) for name, a in arrays.items()], [("y", 11, None)])
    theirs, ours = (ReferenceEvaluator(made, new_ops=ops).run(None, arrays)[0] for ops in (None, [oracle.Conv]))
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_a_maximum_is_taken_over_all_places():
    node = helper.make_node("GlobalMaxPool", ["x"], ["y"])
    made = small.model([node], [("x", 1, [2, 3, 7])], [("y", 1, [2, 3, 1])])
    x = small.draw(2, 3, 7)
    (outputs,) = oracle.evaluated(oracle.evaluator_of(made), [{"x": x}])
    assert np.array_equal(outputs["y"], x.max(-1, keepdims=True))


def predicted(made, given, of, n=8):
    """Returns the root mean square of the errors that noise makes in the output `of`."""
    (expected, _) = oracle.evaluated(oracle.evaluator_of(made), given)
    evaluator, errs = noise.noisy_evaluator(made)
    found = []
    for seed in range(n):
        errs.seed(seed)
        found.append(off(oracle.evaluated(evaluator, given)[0][of], expected[of]))
    return float(np.sqrt(np.mean(np.square(found))))


@pytest.mark.parametrize(
    ("made", "given", "of"),
    [
        (small.mlp(batch=3), batches(("x", (3, 16))), "y"),
        (shaped(small.convolutional(), image=(2, 3, 8, 9)), batches(("image", (2, 3, 8, 9))), "p"),
        (small.half(), batches(("x", (2, 16))), "y"),
    ],
    ids=["mlp", "convolutional", "half"],
)
def test_what_onnx_runtime_errs_is_what_noise_predicts(made, given, of):
    (expected, _) = oracle.evaluated(oracle.evaluator_of(made), given)
    by = predicted(made, given, of)
    assert off(plain.run(made, given)[0][of], expected[of]) < FACTOR / 2 * by


def test_noise_is_of_the_types_that_the_file_has():
    by_half = predicted(small.half(), batches(("x", (2, 16))), "y")
    by_single = predicted(small.mlp(batch=3), batches(("x", (3, 16))), "y")
    assert 2.0**-13 < by_half < 2.0**-10
    assert ROUNDOFF / 8 < by_single < 8 * ROUNDOFF
    assert noise.shortest(small.half()) == 2.0**-11
    assert noise.shortest(small.mlp(batch=3)) == ROUNDOFF


def test_noise_reaches_into_branches_and_is_drawn_anew_by_seed():
    made, x = small.branching(), small.draw(2, 3)
    evaluator, errs = noise.noisy_evaluator(made)
    drawn = []
    for seed in (0, 0, 1):
        errs.seed(seed)
        drawn.append(oracle.evaluated(evaluator, [{"x": x, "rate": np.array(16)}])[0]["y"])
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert 0 < off(drawn[0], 2 * x.astype(float)) < 2 * ROUNDOFF


def test_moving_and_choosing_is_exact():
    node = helper.make_node("Transpose", ["x"], ["t"]), helper.make_node("Relu", ["t"], ["y"])
    made = small.model(node, [("x", 1, [4, 5])], [("y", 1, [5, 4])])
    evaluator, errs = noise.noisy_evaluator(made)
    x = small.draw(4, 5)
    assert np.array_equal(oracle.evaluated(evaluator, [{"x": x}])[0]["y"], np.maximum(x.T, 0))
    assert errs.kinked == 20


def test_flops_are_those_of_products():
    flops = Counter()
    made = shaped(small.convolutional(), image=(2, 3, 8, 9))
    oracle.evaluated(oracle.evaluator_of(made, partial(Counted, flops=flops)), batches(("image", (2, 3, 8, 9)))[:1])
    assert flops == {"Conv": 2 * (2 * 5 * 8 * 9) * (3 * 3 * 3)}
