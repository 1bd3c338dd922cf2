"""Makes the folder of a user's torch module: `model.json`, a graph for each phase, its tensors, two batches."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.child.own import batches, export, factory, faithful
from bench.child.own.example import Example
from bench.child.own.factory import Refusal
from bench.child.own.optimizer import parameters_in, rule_of
from bench.child.own.pairs import in_pairs
from workloads.arrays import BATCHES_FILE, PARAMETERS_FILE
from workloads.graph import Graph
from workloads.own.folder import MODEL_FILE, PHASES
from workloads.own.model import Model
from workloads.own.module import graph_file

INFER, TRAIN = PHASES
NO_LOSS = "its factory gives no loss, and the module is none: give samestep.Model targets and loss(output, *targets)"


def make(asked: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Writes all that other children take of the model, so that none of them imports the user's code.

    `asked` holds `name`, `reference`, `batch` and `inputs`. Raises Refusal where no phase of it can be run.
    """
    torch.backends.mha.set_fastpath_enabled(False)
    model = factory.call(asked["reference"], asked["batch"])
    module: nn.Module = model.module.float().cpu()
    first = Example.of(model)
    pair = batches.pair(first.tensors(), asked["inputs"])
    example = first.with_tensors(pair[0])
    output = export.run(module, example)
    parts = Parts(module)
    parts.add(INFER, lambda: _inference(module, example))
    described: dict[str, Any] = {"optimizer": None, "trained": [], "lacks": {}}
    if model.loss is None and export.loss_in(output) is None:
        described["lacks"] = {TRAIN: NO_LOSS}
    else:
        parts.add(TRAIN, lambda: _training(model, module, example, described))
    described |= {
        "kind": "module",
        "name": asked["name"],
        "reference": asked["reference"],
        "batch": example.batch_of(asked["batch"], _default_batch(asked["reference"])),
        "phases": [phase for phase in PHASES if phase in (*parts.graphs, *parts.refused)],
        "refused": parts.refused,
        "inputs": {name: [list(x.shape), _type(x)] for name, x in pair[0].items()},
        "outputs": list(parts.graphs[INFER].outputs) if INFER in parts.graphs else [],
        "operators": {phase: _digest(graph) for phase, graph in parts.graphs.items()},
    }
    _write(folder, described, parts, pair)
    return {"torch": torch.__version__}


class Parts:
    """The graphs of a module by phase, the tensors that they read, and why a phase has none."""

    def __init__(self, module: nn.Module) -> None:
        self.graphs: dict[str, Graph] = {}
        self.refused: dict[str, str] = {}
        self.parameters = {name: in_pairs(p.detach()) for name, p in module.named_parameters()}
        self.buffers = {name: in_pairs(b.detach()) for name, b in module.named_buffers()}

    def add(self, phase: str, made: Any) -> None:
        """Adds the graph that `made()` returns with its tensors, or why there is none."""
        try:
            graph, tensors = made()
        except Refusal as refusal:
            self.refused[phase] = str(refusal)
            return
        own = {name: f"of_{phase}.{name}" for name in tensors if name not in self.parameters | self.buffers}
        self.buffers |= {known: tensors[name] for name, known in own.items()}
        self.graphs[phase] = export.named(graph, lambda name: own.get(name, name))


def _inference(module: nn.Module, example: Example) -> tuple[Graph, dict[str, Tensor]]:
    graph, tensors = export.inference(module, example)
    faithful.inference(module, example, graph, tensors)
    return graph, tensors


def _training(
    model: Model, module: nn.Module, example: Example, described: dict[str, Any]
) -> tuple[Graph, dict[str, Tensor]]:
    rule = rule_of(model.optimizer)
    names = export.trained(module, model.loss, example)
    chosen = parameters_in(model.optimizer)
    if chosen is not None:
        names = [name for name, p in module.named_parameters() if name in names and id(p) in chosen]
    if not names:
        raise Refusal("the optimizer has no parameter that the loss has a gradient for")
    described |= {"optimizer": rule.description(), "trained": names}
    graph, tensors = export.training(module, model.loss, example)
    faithful.training(module, model.loss, example, graph, tensors)
    return graph, tensors


def _default_batch(reference: str) -> object:
    name, _, function = reference.partition(":")
    parameter = inspect.signature(getattr(import_module(name), function)).parameters.get("batch")
    return None if parameter is None else parameter.default


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _digest(graph: Graph) -> str:
    return hashlib.sha256(json.dumps(sorted(graph.operators().items())).encode()).hexdigest()[:16]


def _write(folder: Path, described: dict[str, Any], parts: Parts, pair: list[batches.Batch]) -> None:
    for phase, graph in parts.graphs.items():
        graph_file(folder, phase).write_text(graph.to_json())
    described["parameters"] = {name: list(x.shape) for name, x in parts.parameters.items()}
    described["buffers"] = {name: list(x.shape) for name, x in parts.buffers.items()}
    _save(parts.parameters | parts.buffers, folder / PARAMETERS_FILE)
    _save({f"{i}.{name}": x for i, batch in enumerate(pair) for name, x in batch.items()}, folder / BATCHES_FILE)
    running = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            running.update(hashlib.file_digest(file, "sha256").digest())
    described["sha256"] = running.hexdigest()
    (folder / MODEL_FILE).write_text(json.dumps(described, indent=1))


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Writes copies: safetensors refuses tensors that share memory."""
    save_file({name: _plain(x) for name, x in tensors.items()}, path)


def _plain(tensor: Tensor) -> Tensor:
    return (
        tensor.detach()
        .cpu()
        .to(torch.float32 if tensor.is_floating_point() else tensor.dtype)
        .clone(memory_format=torch.contiguous_format)
    )
