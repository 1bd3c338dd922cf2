"""A user's torch module becomes a workload like ours: verified on every runtime, and mistakes in it are refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from backends._torch import TorchStep
from backends._torch_ops import EagerTorchOps, TorchOps
from backends.base import Adapter, Probe
from bench.child.checks.proof import WrongResult
from tests.fakes.own import each_once, own, proven
from workloads.arrays import load_batches, map_arrays
from workloads.count import count
from workloads.graph import Reference
from workloads.optim import SGD, AdamW

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:DeprecationWarning"),
    # torch.nn.LSTM keeps its weights in a list too.
    pytest.mark.filterwarnings("ignore:The tensor attributes.*_flat_weights:UserWarning"),
]
ZOO = ("counted", "tied", "own", "pixels", "recurrent")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Returns workloads by factory, each made once."""
    return each_once(tmp_path_factory)


@pytest.mark.parametrize("phase", ["infer", "train"])
@pytest.mark.parametrize("name", ZOO)
def test_modules_of_every_kind_are_proven_in_torch(made, name, phase, tmp_path):
    columns = proven("torch_cpu", made(f"tests.models.zoo:{name}"), phase, tmp_path)
    assert columns["verification"] == "passed"


@pytest.mark.parametrize("phase", ["infer", "train"])
@pytest.mark.parametrize("backend", ["jax_cpu", "onnxruntime_cpu", "openvino_cpu"])
def test_a_module_with_batch_norm_is_proven_on_every_runtime(made, backend, phase, tmp_path):
    pytest.importorskip({"jax_cpu": "jax"}.get(backend, backend.removesuffix("_cpu")))
    assert proven(backend, made("tests.models.norm:normed"), phase, tmp_path)["verification"] == "passed"


@pytest.mark.parametrize("backend", ["torch_cpu", "jax_cpu", "onnxruntime_cpu", "openvino_cpu"])
def test_distances_and_bilinear_layers_train_on_every_runtime(made, backend, tmp_path):
    workload = made("tests.models.zoo:nearest")
    assert count(workload.programs["infer"]).flops == 2 * 4 * (6 * 4 + 4 * 4 * 6)
    assert proven(backend, workload, "train", tmp_path)["verification"] == "passed"


@pytest.mark.parametrize("phase", ["infer", "train"])
@pytest.mark.parametrize("backend", ["torch_cpu", "jax_cpu"])
def test_complex_buffers_weights_and_outputs_are_held_as_pairs(made, backend, phase, tmp_path):
    workload = made("tests.models.zoo:rotary")
    assert {spec.name: spec.shape for spec in workload.buffers}["turns"] == (6, 4, 2)
    assert "filter" in {spec.name for spec in workload.programs["train"].update.trained}
    assert proven(backend, workload, phase, tmp_path)["verification"] == "passed"


@pytest.mark.parametrize("backend", ["torch_cpu", "jax_cpu", "onnxruntime_cpu", "openvino_cpu"])
def test_running_statistics_may_err_as_the_sums_that_they_are(made, backend, tmp_path):
    """OpenVINO adds the 1,152 places of a channel one by one: its mean lies 5e-7 off, a norm's one roundoff is 6e-8."""
    assert proven(backend, made("tests.models.zoo:convolved"), "train", tmp_path)["verification"] == "passed"


@pytest.mark.parametrize("backend", ["torch_cpu", "onnxruntime_cpu", "openvino_cpu"])
def test_sums_of_equal_terms_are_allowed_their_roundoffs(made, backend, tmp_path):
    """One after the other they round alike: a bias before a mean over 256 places was called wrong in graphs."""
    columns = proven(backend, made("tests.models.zoo:upsampled"), "train", tmp_path)
    assert columns["verification"] == "passed"
    assert columns["error_tolerance"] < 1e-3


def test_what_is_tied_frozen_unused_or_a_buffer_is_what_the_module_says(made):
    workload = made("tests.models.zoo:tied")
    update = workload.programs["train"].update
    trained = {spec.name for spec in update.trained}
    names = {spec.name for spec in workload.parameters}
    assert {"table.weight", "positions.weight", "unused.weight"} <= names
    assert "head.weight" not in names  # it is the table
    assert not trained & {"positions.weight", "unused.weight", "unused.bias"}
    assert workload.parameter_count == 50 * 16 + 12 * 16 + 2224 + 12
    assert update.rule == AdamW(1e-3, 0.9, 0.999, 1e-8, 0.01)


def test_buffers_that_change_are_state_and_others_are_constants(made):
    program = made("tests.models.zoo:counted").programs["train"]
    assert {spec.name for spec in program.update.buffers} == {"steps", "average"}
    assert "scale" in {spec.name for spec in program.constants}
    assert program.update.rule == SGD(0.01, 0.9)


def test_outputs_are_called_by_their_place(made):
    graph_outputs = set()
    for name in ("tied", "own"):
        workload = made(f"tests.models.zoo:{name}")
        tensors = _tensors(workload)
        program = workload.programs["infer"]
        graph_outputs |= {*program.outputs_of(TorchOps(), tensors, {}, _batch(workload))}
    assert graph_outputs == {"logits", "hidden.0", "hidden.1", "mean", "loss"}


def test_flops_are_counted_on_the_exported_graph(made):
    workload = made("tests.models.norm:normed")
    forward = 2 * 16 * (12 * 24 + 24 * 5)
    assert count(workload.programs["infer"]).flops == forward
    # Nothing needs the gradient of the first layer's input.
    assert count(workload.programs["train"]).flops == 3 * forward - 2 * 16 * 12 * 24


def test_the_second_batch_is_another_one_of_the_same_kind(made):
    first, second = load_batches(_folder(made("tests.models.zoo:tied")) / "batches.safetensors")
    for name in ("input_ids", "attention_mask"):
        assert (np.sort(first[name], None) == np.sort(second[name], None)).all()
    assert not (first["input_ids"] == second["input_ids"]).all()


def test_values_of_a_file_take_the_place_of_the_factorys(tmp_path):
    given = {"input": np.full((2, 4), 0.5, np.float32), "1.input": np.full((2, 4), -2.0, np.float32)}
    np.savez(tmp_path / "inputs.npz", **given)
    workload = own("tests.models.zoo:no_loss", tmp_path / "model", inputs=tmp_path / "inputs.npz")
    batches = load_batches(_folder(workload) / "batches.safetensors")
    assert [float(batch["input"][0, 0]) for batch in batches] == [0.5, -2.0]


def test_a_batch_is_asked_of_the_factory_and_names_the_workload_anew(made, tmp_path):
    workload = own("tests.models.norm:normed", tmp_path / "model", batch=3)
    assert (workload.batch, workload.inputs[0].shape) == (3, (3, 12))
    assert workload.canonical() != made("tests.models.norm:normed").canonical()


class Planted(Adapter):
    """Runs a step of torch with a mistake in it."""

    device_kind = "cpu"
    Step = TorchStep
    Ops = EagerTorchOps

    def probe(self):
        return Probe("usable", "planted")

    def load(self, setting):
        torch.set_num_threads(setting.threads)

    def prepare(self, request):
        step = self.Step(request, torch.device("cpu"))
        step.ops = self.Ops()
        return step


def with_nodes(graph, change):
    return replace(graph, nodes=tuple(map(change, graph.nodes)), kept={})


class BufferNotUpdated(Planted):
    class Step(TorchStep):
        def loss(self, p, batch):
            value, after = super().loss(p, batch)
            return value, after | {"average": p["average"]} if "average" in after else after


class WrongTie(Planted):
    """The head has the table's values, and its gradient is lost."""

    class Ops(EagerTorchOps):
        def evaluate(self, graph, tensors):
            last = [node for node in graph.nodes if node.operator == "aten.linear.default"][-1]
            table = last.arguments[1].name
            apart = {"apart": replace(graph.inputs[table], name="apart")}

            def change(node):
                return replace(node, arguments=(node.arguments[0], Reference("apart"))) if node is last else node

            untied = replace(with_nodes(graph, change), inputs=graph.inputs | apart)
            return super().evaluate(untied, {**tensors, "apart": tensors["table.weight"].detach()})


class OperatorDecomposedWrongly(Planted):
    class Ops(EagerTorchOps):
        def evaluate(self, graph, tensors):
            def change(node):
                return (
                    replace(node, operator="aten.leaky_relu.default") if node.operator == "aten.relu.default" else node
                )

            return super().evaluate(with_nodes(graph, change), tensors)


class FrozenMoves(Planted):
    class Step(TorchStep):
        def step(self, i):
            super().step(i)
            with torch.no_grad():
                self.parameters["positions.weight"].mul_(1.001)


@pytest.mark.parametrize(
    ("bug", "name", "phase", "code"),
    [
        (BufferNotUpdated, "zoo:counted", "train", "state_differs"),
        (WrongTie, "zoo:tied", "train", "state_differs"),
        (OperatorDecomposedWrongly, "norm:normed", "infer", "output_differs"),
        (OperatorDecomposedWrongly, "norm:normed", "train", None),
        (FrozenMoves, "zoo:tied", "train", None),
    ],
)
def test_a_planted_mistake_in_a_users_module_is_refused(made, bug, name, phase, code, tmp_path):
    with pytest.raises(WrongResult) as wrong:
        proven(bug(), made(f"tests.models.{name}"), phase, tmp_path)
    assert code is None or wrong.value.code == code


@pytest.mark.parametrize(("name", "phase"), [("zoo:counted", "train"), ("norm:normed", "infer")])
def test_without_a_mistake_the_same_adapter_passes(made, name, phase, tmp_path):
    assert proven(Planted(), made(f"tests.models.{name}"), phase, tmp_path)["verification"] == "passed"


def _folder(workload):
    return Path(workload.given.folder)


def _tensors(workload):
    held = map_arrays(_folder(workload) / "parameters.safetensors")
    return {name: torch.from_numpy(np.array(array)) for name, array in held.items()}


def _batch(workload):
    first = load_batches(_folder(workload) / "batches.safetensors")[0]
    return {name: torch.from_numpy(np.array(array)) for name, array in first.items()}
