"""The workload of a user's torch module: its programs evaluate the graphs that `torch.export` wrote of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from workloads import optim
from workloads.graph import Graph, from_json
from workloads.ops import Array, Ops, Parameters
from workloads.optim import Optimizer
from workloads.own.folder import PHASES, SIZE, nothing
from workloads.program import Program, Work, inference, training
from workloads.specs import Given, InputSpec, ParameterSpec
from workloads.workload import Workload

INFER, TRAIN = PHASES
GRAPH = "graph_operators"
"""The detail of a program that evaluates a graph: a digest of its operators."""
LOSS = "loss"
"""What the graph of a training step calls the scalar that is differentiated."""


def workload_of(described: Mapping[str, Any], folder: Path) -> Workload:
    """Returns the workload that `model.json` describes. A phase that is refused has a program that does nothing."""
    refused = {**described["refused"], **described["lacks"]}
    makers = {INFER: _inference, TRAIN: _training}
    programs = {
        phase: nothing(described["batch"])
        if phase in refused
        else _marked(makers[phase](described, _graph(folder, phase)), described["operators"][phase])
        for phase in PHASES
    }
    return Workload(
        name=described["name"],
        size=SIZE,
        batch=described["batch"],
        sequence=None,
        parameters=_specs(described["parameters"]),
        hyperparameters={},
        programs=programs,
        buffers=_specs(described["buffers"]),
        source="workloads.own.folder",
        given=Given(str(folder), described["sha256"]),
        refused=refused,
    )


def graph_file(folder: Path, phase: str) -> Path:
    """Returns where the graph of a phase lies."""
    return folder / f"{phase}.graph.json"


def _marked(program: Program, operators: str) -> Program:
    return replace(program, details={**program.details, GRAPH: operators})


def graph_of(workload: Workload, phase: str) -> Graph:
    """Returns the graph that the program `phase` of a user's module evaluates."""
    assert workload.given is not None
    return _graph(Path(workload.given.folder), phase)


def _graph(folder: Path, phase: str) -> Graph:
    return from_json(graph_file(folder, phase).read_text())


def _specs(listed: Mapping[str, list[int]]) -> tuple[ParameterSpec, ...]:
    """Returns tensors that are given: nothing is drawn."""
    return tuple(ParameterSpec(name, tuple(shape), 0.0, 0.0) for name, shape in listed.items())


def _inputs(described: Mapping[str, Any], graph: Graph) -> tuple[InputSpec, ...]:
    """Returns the inputs that the graph reads, in the order in which the user gave them."""
    read = {given.name for given in graph.inputs.values()}
    return tuple(
        InputSpec(name, tuple(shape), dtype) for name, (shape, dtype) in described["inputs"].items() if name in read
    )


def _read(specs: tuple[ParameterSpec, ...], graph: Graph) -> tuple[ParameterSpec, ...]:
    read = {given.name for given in graph.inputs.values()}
    return tuple(spec for spec in specs if spec.name in read)


def _inference(described: Mapping[str, Any], graph: Graph) -> Program:
    graph = graph.only([name for name in graph.outputs if name in described["outputs"]])

    def infer(ops: Ops, p: Parameters, batch: Parameters) -> dict[str, Array]:
        return ops.evaluate(graph, {**p, **batch})

    program = inference(
        infer,
        inputs=_inputs(described, graph),
        constants=_read(_specs(described["parameters"]) + _specs(described["buffers"]), graph),
        work=Work(described["batch"]),
    )
    return replace(program, graph=graph)


def _training(described: Mapping[str, Any], graph: Graph) -> Program:
    prefix = "buffer."
    changed = {name.removeprefix(prefix) for name in graph.outputs if name.startswith(prefix)}
    buffers = _specs(described["buffers"])
    trained = frozenset(described["trained"])

    def loss(ops: Ops, p: Parameters, batch: Parameters) -> tuple[Array, dict[str, Array]]:
        values = ops.evaluate(graph, {**p, **batch})
        return values[LOSS], {name: values[f"{prefix}{name}"] for name in changed}

    program = training(
        loss,
        optimizer_of(described["optimizer"]),
        inputs=_inputs(described, graph),
        parameters=_read(_specs(described["parameters"]), graph),
        work=Work(described["batch"]),
        buffers=tuple(spec for spec in buffers if spec.name in changed),
        trained=trained.__contains__,
        constants=tuple(spec for spec in _read(buffers, graph) if spec.name not in changed),
    )
    return replace(program, graph=graph)


def optimizer_of(described: Mapping[str, Any]) -> Optimizer:
    """Returns the update rule that `Optimizer.description()` describes."""
    chosen = dict(described)
    kind = chosen.pop("rule")
    return optim.SGD(**chosen) if kind == optim.SGD.__name__ else optim.AdamW(**chosen)
