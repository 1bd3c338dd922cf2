"""An ONNX file as a workload: its folder is made, its step runs on the runtimes that take such files, and is proven."""

import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import backends
from backends._onnx_file import oracle, plain
from bench.artifacts import artifacts_for, takes_files, why_no_file
from bench.child.checks.proof import UNVERIFIED, WrongResult, proof_of
from bench.child.own import onnx_file
from bench.child.own.factory import Refusal
from bench.parent.own.asked import asked_for
from bench.parent.own.files import digest_of_file
from bench.parent.plans.parse import PlanError
from tests import onnx_models as small
from tests.fakes.steps import make_in, request_in
from workloads.count import count, output_names
from workloads.own.folder import load
from workloads.precision import DEFAULT
from workloads.tolerance import MissingTolerance

RUNTIMES = ("onnxruntime_cpu", "openvino_cpu")


def made(model, folder, **more):
    """Returns the workload of the model, made as its child makes it, and what that remembers."""
    path = small.saved(model, folder)
    own = folder / "own"
    own.mkdir()
    asked = {"name": "small", "reference": str(path), "batch": None, "inputs": None, "shapes": None} | more
    remembered = onnx_file.make(asked, own)
    return load(str(own)), remembered


def described(folder):
    return json.loads((folder / "own" / "model.json").read_text())


def stepped(backend, workload, folder, planted=None):
    """Returns the proof of a prepared step and the step, everything that it takes made in `folder`.

    `planted(model)` returns what the runtime opens in the place of the file.
    """
    adapter = backends.get(backend)
    artifacts = artifacts_for(adapter, program=workload.programs["infer"])
    here = folder / "made"
    if here.exists():  # by another runtime, which takes the same
        entries = {artifact.name: here / artifact.name for artifact in artifacts}
    else:
        here.mkdir()
        entries = make_in(here, workload, "infer", artifacts)
    if planted is not None:
        path = entries["onnx"] / "step.onnx"
        changed = planted(onnx.load(str(path)))
        path.unlink()  # a link to the folder's own file
        onnx.save(changed, str(path))
    request = request_in(entries, adapter, workload, "infer")
    adapter.load(request)
    step = adapter.prepare(request)
    step.compile()
    return proof_of(adapter, request, entries), step


def inputs_file(folder, **arrays):
    np.savez(folder / "inputs.npz", **arrays)
    return {"inputs": str(folder / "inputs.npz")}


BYTES = small.model(
    [
        helper.make_node("Cast", ["image"], ["f"], to=1),
        helper.make_node("Where", ["mask", "f", "zero"], ["kept"]),
        helper.make_node("ReduceMean", ["kept", "axes"], ["y"], keepdims=0),
        helper.make_node("ArgMax", ["kept"], ["at"], axis=1, keepdims=0),
    ],
    [("image", TensorProto.UINT8, [2, 8]), ("mask", TensorProto.BOOL, [2, 8])],
    [("y", 1, [2]), ("at", TensorProto.INT64, [2])],
    {"zero": np.zeros((), np.float32), "axes": np.array([1])},
)
FILES = {
    "mlp": (small.mlp(), {"batch": 3}),
    "convolutional": (small.convolutional(), {"shapes": "image=2,3,8,9"}),
    "ids": (small.tokens(), {}),
    "bytes_and_bools": (BYTES, {}),
    "half": (small.half(), {}),
}


@pytest.mark.parametrize("backend", RUNTIMES)
@pytest.mark.parametrize("name", FILES)
def test_a_file_runs_and_is_proven_before_and_after(name, backend, tmp_path):
    model, more = FILES[name]
    workload, _ = made(model, tmp_path, **more)
    assert (workload.refused, described(tmp_path)["reference"]) == ({}, "float64")
    proof, step = stepped(backend, workload, tmp_path)
    columns, took_s = proof.before(step)
    assert columns["verification"] == "passed"
    assert 0 <= columns["error_worst"] <= columns["error_tolerance"] < 1e-2
    assert proof.after(step, {}) == "passed"
    assert len(took_s) == 2
    for opener in step.flows():
        flow = opener()
        flow.run(2 * flow.in_flight, 0.0)
        proof.of_flow(flow)
        flow.close()


def test_a_branch_that_a_given_scalar_chooses_is_proven(tmp_path):
    given = inputs_file(tmp_path, rate=np.array(16), x=small.draw(2, 3))
    workload, _ = made(small.branching(), tmp_path, **given)
    proof, step = stepped("onnxruntime_cpu", workload, tmp_path)
    assert proof.before(step)[0]["verification"] == "passed"
    assert np.array_equal(step.outputs()["y"], 2 * small.draw(2, 3)[::-1])


@pytest.mark.parametrize("backend", RUNTIMES)
def test_a_large_file_has_its_tensors_beside_it_and_is_proven(backend, tmp_path, monkeypatch):
    monkeypatch.setattr(plain, "LARGE_BYTES", 1000)
    monkeypatch.setattr(onnx, "save", partial(onnx.save, size_threshold=0))
    workload, _ = made(small.mlp(), tmp_path, batch=3)
    assert (workload.said, (tmp_path / "own" / "model.onnx.data").exists()) == ("", True)
    proof, step = stepped(backend, workload, tmp_path)
    assert proof.before(step)[0]["verification"] == "passed"


def another_weight(model, factor):
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    tensor = next(t for t in changed.graph.initializer if t.dims[:] == [16, 32])
    array = numpy_helper.to_array(tensor).copy()
    array[3] *= factor
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return changed


@pytest.mark.parametrize("backend", RUNTIMES)
def test_a_runtime_that_computes_another_file_is_wrong(backend, tmp_path):
    """The weights of one input of 16 are off by a thousandth in what the runtime opens."""
    workload, _ = made(small.mlp(), tmp_path, batch=3)
    proof, step = stepped(backend, workload, tmp_path, lambda model: another_weight(model, 1.001))
    with pytest.raises(WrongResult, match=r"of output .*y is .*, tolerance"):
        proof.before(step)


def test_a_flow_of_an_output_that_is_called_output_is_compared_too():
    from bench.child.checks.verify import _output_of

    assert [_output_of(key) for key in ("output.0", "output.1.y", "output.1.a.b:0")] == ["output", "y", "a.b:0"]


def wrong_convolution(self, x, w, b=None, **attributes):
    return (1.001 * oracle_conv(self, x, w, b, **attributes)[0],)


oracle_conv = oracle.Conv._run


def test_an_evaluator_that_is_wrong_is_not_believed_and_the_row_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(oracle.Conv, "_run", wrong_convolution)
    workload, remembered = made(small.convolutional(), tmp_path, shapes="image=2,3,8,9")
    says = "verified against onnxruntime fp32, unoptimised: the float64 evaluator is "
    assert workload.said.startswith(says)
    assert remembered == {"said": workload.said}
    proof, step = stepped("openvino_cpu", workload, tmp_path)
    columns, _ = proof.before(step)
    assert 0 < columns["error_worst"] < columns["error_tolerance"] < 1e-4


def test_an_operator_that_the_evaluator_lacks_leaves_onnx_runtime_as_reference(tmp_path, monkeypatch):
    def lacks(*_):
        raise NotImplementedError("No implementation for operator 'Gemm'")

    monkeypatch.setattr(oracle, "evaluator_of", lacks)
    workload, _ = made(small.mlp(), tmp_path)
    assert workload.said.endswith("unoptimised: NotImplementedError: No implementation for operator 'Gemm'")


def test_a_file_without_an_oracle_is_refused_and_timed_unverified_where_that_is_asked_for(tmp_path):
    (tmp_path / "a").mkdir()
    refused, _ = made(small.dynamically_quantized(), tmp_path / "a")
    assert re.match("no oracle: DynamicQuantizeLinear.*--unverified times it all the same", refused.refused["infer"])
    (tmp_path / "b").mkdir()
    workload, _ = made(small.dynamically_quantized(), tmp_path / "b", unverified=True)
    assert workload.refused == {}
    proof, step = stepped("onnxruntime_cpu", workload, tmp_path / "b")
    columns, _ = proof.before(step)
    assert columns["verification"] == proof.after(step, {}) == UNVERIFIED
    assert "error_worst" not in columns


def test_outputs_that_nothing_excites_are_not_compared_and_alone_verify_nothing(tmp_path):
    nodes = [helper.make_node("Mul", ["x", "tiny"], ["silent"]), helper.make_node("Tanh", ["x"], ["loud"])]
    held = {"tiny": np.array(1e-9, np.float32)}
    outputs = [("silent", 1, [2, 3]), ("loud", 1, [2, 3])]
    (tmp_path / "both").mkdir()
    workload, _ = made(small.model(nodes, [("x", 1, [2, 3])], outputs, held), tmp_path / "both")
    assert workload.programs["infer"].compared == ("loud",)
    assert workload.said == "nothing excites its output silent: it is not compared"
    (tmp_path / "one").mkdir()
    alone, _ = made(small.model(nodes[:1], [("x", 1, [2, 3])], outputs[:1], held), tmp_path / "one")
    assert "nothing to verify; give --model-inputs" in alone.refused["infer"]


def test_where_roundoff_alone_decides_nothing_is_proven(tmp_path):
    """A softmax of logits in the millions, all but equal: which of them is the largest is a matter of the last bit."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node("Add", ["z", "far"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["y"], axis=-1),
    ]
    held = {"w": np.repeat(small.draw(16, 1), 8, axis=1), "far": np.array(1e8, np.float32)}
    workload, _ = made(small.model(nodes, [("x", 1, [2, 16])], [("y", 1, [2, 8])], held), tmp_path)
    with pytest.raises(MissingTolerance, match="ill-conditioned: roundoff alone may make all outputs"):
        stepped("onnxruntime_cpu", workload, tmp_path)


def test_an_output_that_stays_the_same_is_said(tmp_path):
    nodes = [helper.make_node("Shape", ["x"], ["n"]), helper.make_node("Tanh", ["x"], ["y"])]
    workload, _ = made(
        small.model(nodes, [("x", 1, [2, 3])], [("n", 7, [2]), ("y", 1, [2, 3])]),
        tmp_path,
    )
    assert workload.said == "its output n is the same for both batches"


def test_a_shape_that_depends_on_values_is_refused(tmp_path):
    model = small.model([helper.make_node("NonZero", ["x"], ["y"])], [("x", 9, [40])], [("y", 7, [1, "n"])])
    with pytest.raises(Refusal, match="the shape of its output y depends on values"):
        made(model, tmp_path)


def test_what_onnx_runtime_cannot_run_is_refused_with_its_own_words(tmp_path):
    node = helper.make_node("Gemm", ["x", "w"], ["y"])
    model = small.model([node], [("x", 1, [2, 16])], [("y", 1, [2, 4])], {"w": small.draw(15, 4)})
    with pytest.raises(Refusal, match=r"small\.onnx: ONNX Runtime cannot run it: .*Gemm"):
        made(model, tmp_path)


def test_a_refusal_of_the_file_is_one_line(tmp_path):
    with pytest.raises(Refusal, match=re.escape("open dimensions in image float32 [1, 3, height, width]")) as refused:
        made(small.convolutional(), tmp_path)
    assert "\n" not in str(refused.value)


def test_the_workload_knows_its_work_without_a_step_in_our_vocabulary(tmp_path):
    workload, _ = made(small.mlp(), tmp_path, batch=3)
    program = workload.programs["infer"]
    held = 16 * 32 + 32 + 32 * 4
    assert (workload.batch, workload.parameter_count, workload.weights_bytes) == (3, held, 4 * held)
    assert output_names(program) == ("y",)
    counts = count(program)
    assert counts.flops == 2 * 3 * (16 * 32 + 32 * 4)
    assert counts.minimum_bytes == 4 * (held + 3 * 16 + 3 * 4)
    with pytest.raises(TypeError, match="an ONNX file runs on ONNX runtimes"):
        program.step(None, {}, {}, {})


def test_who_takes_no_onnx_graph_does_not_run_a_file(tmp_path):
    workload, _ = made(small.mlp(), tmp_path)
    program = workload.programs["infer"]
    takers = {name for name in backends.names() if takes_files(backends.get(name))}
    assert takers == {*RUNTIMES}
    code, reason = why_no_file(backends.get("torch_cpu"), program, DEFAULT.name)
    assert (code, reason) == (
        "phase_not_supported",
        "an ONNX file runs on ONNX runtimes: torch_cpu takes no ONNX graph",
    )
    assert why_no_file(backends.get("onnxruntime_cpu"), program, DEFAULT.name) is None
    assert why_no_file(backends.get("onnxruntime_cpu"), program, "int8")[0] == "precision_not_supported"


def option(**given):
    return lambda name: given.get(name.removeprefix("--").replace("-", "_"))


def test_a_file_is_asked_for_by_its_path_and_called_as_its_stem():
    first, second = asked_for(
        option(model="a/det.onnx,other=b/rec.onnx", model_shapes="det/x=1,3,96,96 other/x=1,3,48,160", unverified=True)
    )
    assert (first.name, Path(first.reference).parts[-2:], first.module) == ("det", ("a", "det.onnx"), None)
    assert first.more == {"shapes": "x=1,3,96,96", "unverified": True}
    assert (second.name, second.more["shapes"]) == ("other", "x=1,3,48,160")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model": "a.onnx,b.onnx", "model_shapes": "x=1"}, "whose input? MODEL/x=1, MODEL of: a, b"),
        ({"model": "package:factory", "model_shapes": "x=1"}, "--model-shapes is for an ONNX file"),
        ({"model_shapes": "x=1"}, "--model-shapes is for --model"),
        ({"model": "model.pt"}, "--model takes package.module:factory or path/to/file.onnx"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, says):
    with pytest.raises(PlanError, match=re.escape(says)):
        asked_for(option(**given))


def test_a_folder_is_made_anew_when_the_file_or_its_external_data_change(tmp_path):
    more = {"save_as_external_data": True, "location": "small.onnx.data", "size_threshold": 0}
    path = small.saved(small.mlp(), tmp_path, **more)
    (tmp_path / "unrelated.txt").write_text("a")
    before = digest_of_file(path)
    (tmp_path / "unrelated.txt").write_text("another")
    assert digest_of_file(path) == before
    (tmp_path / "small.onnx.data").write_bytes(bytes(10_000))
    assert digest_of_file(path) != before
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.onnx"):
        digest_of_file(tmp_path / "none.onnx")
