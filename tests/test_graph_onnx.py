"""Whole training steps of modules that are not ours, as ONNX graphs: in ONNX Runtime and in OpenVINO, by float64."""

import copy
import warnings

import numpy as np
import onnxruntime
import openvino
import pytest
import torch

from backends._onnx_export import export_step
from backends._torch_ops import TorchOps
from tests.graph_modules import made
from tests.test_graph_modules import CLOSE, exported, named, wide
from workloads.optim import SGD
from workloads.program import Work, training
from workloads.specs import InputSpec, ParameterSpec

NAMES = (
    "mlp",
    "convolutions",
    "lstm",
    "lstm_projected",
    "gru",
    "transformer",
    "attention",
    "dlrm",
    "unet",
    "upsampled",
    "volumes",
    "waves",
    "tied",
)
BUFFER = "buffer."


def program_of(graph, given, trained, free):
    """Returns the training step of a graph as a program of ours."""

    def spec(name):
        return ParameterSpec(name, tuple(given[name].shape), 0.0, 1.0)

    def loss(ops, p, batch):
        values = ops.evaluate(graph, {**p, **batch})
        after = {name.removeprefix(BUFFER): x for name, x in values.items() if name.startswith(BUFFER)}
        return values["loss"], after

    buffers = [name.removeprefix(BUFFER) for name in graph.outputs if name.startswith(BUFFER)]
    constants = [x.name for x in graph.inputs.values() if x.name not in {*trained, *buffers, *free}]
    return training(
        loss,
        SGD(learning_rate=0.01, momentum=0.9),
        inputs=tuple(InputSpec(x.name, x.shape, x.dtype) for x in graph.inputs.values() if x.name in free),
        parameters=tuple(map(spec, trained)),
        buffers=tuple(map(spec, buffers)),
        constants=tuple(map(spec, constants)),
        work=Work(1),
    )


def in_onnxruntime(path, feeds):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [x.name for x in session.get_outputs()]
    wanted = {x.name for x in session.get_inputs()}
    return dict(zip(names, session.run(names, {k: x for k, x in feeds.items() if k in wanted}), strict=True))


def in_openvino(path, feeds):
    model = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    wanted = {name for x in model.inputs for name in x.names}
    outputs = model({name: x for name, x in feeds.items() if name in wanted})
    return {next(iter(x.names)): outputs[x] for x in model.outputs}


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_step_is_the_same_in_both(name, tmp_path):
    module, inputs = made(name)
    graph, tensors = exported(copy.deepcopy(module), inputs)
    given = named(graph, tensors, inputs)
    trained = [known for known, p in module.named_parameters() if p.requires_grad and known in given]
    free = {known for known in given if known not in tensors}
    program = program_of(graph, given, trained, free)
    batch = {spec.name: given[spec.name] for spec in program.inputs}
    held = {known: x.detach() for known, x in given.items() if known not in free}
    path = tmp_path / "step.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        export_step(program, held, {known: x.numpy() for known, x in batch.items()}, path)
    state = program.initial_state(held, torch.zeros)
    feeds = {known: np.array(x.detach().numpy(), order="C") for known, x in {**batch, **state}.items()}
    double = wide(held)
    start = program.initial_state(double, lambda shape: torch.zeros(shape, dtype=torch.float64))
    outputs, new = program.step(TorchOps(), program.constants_of(double), start, wide(batch))
    expected = {**outputs, **{f"next.{known}": x for known, x in new.items()}}
    largest = max(float(x.norm()) for known, x in new.items() if known.startswith("first_moment"))
    assert largest > 0
    for run in (in_onnxruntime, in_openvino):
        found = run(path, feeds)
        assert {known: error for known, error in errors(found, expected, 1e-2 * largest) if not error <= CLOSE} == {}


def errors(found, expected, floor):
    for known, x in expected.items():
        other = torch.from_numpy(np.array(found[known])).double().reshape(x.shape)
        yield known, float((other - x.double()).norm()) / max(float(x.double().norm()), floor)
