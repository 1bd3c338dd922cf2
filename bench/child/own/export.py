"""A user's module in one phase, by `torch.export`: its graph, with every tensor by its name in the module."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from backends._torch_graph import random_operators, tensors_of, to_graph
from backends._torch_graph_names import BUFFER
from bench.child.own.example import Example
from bench.child.own.factory import Refusal, said, where
from bench.child.own.pairs import in_pairs, with_pairs
from workloads.graph import Graph
from workloads.own.module import LOSS

Output = Any


class WithLoss(nn.Module):
    """A module and its loss: returns the scalar alone."""

    def __init__(self, module: nn.Module, loss: Callable[..., Any] | None) -> None:
        super().__init__()
        self.module, self.loss = module, loss

    def forward(self, inputs: Any, targets: Any) -> Tensor:
        before = [(one._buffers, name, held) for one in self.module.modules() for name, held in one._buffers.items()]
        output = self.module(*inputs[0], **inputs[1])
        for buffers, name, held in before:
            if (new := buffers[name]) is not held and held is not None:
                # torch.export (2.13) sees what is written into a buffer, and not that another took its place.
                held.copy_(new.detach())
                buffers[name] = held
        return loss_in(output) if self.loss is None else self.loss(output, *targets[0], **targets[1])


def loss_in(output: Output) -> Any:
    """Returns the scalar that a module gives as its own loss, None where it gives none."""
    if isinstance(output, Tensor):
        return output if output.dim() == 0 else None
    found = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    return found if isinstance(found, Tensor) and found.dim() == 0 else None


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Puts parameters and buffers back to what they were, also those that the module has replaced."""
    kept = [
        (held, name, tensor, tensor.detach().clone())
        for one in module.modules()
        for held in (one._parameters, one._buffers)
        for name, tensor in held.items()
        if tensor is not None
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for held, name, tensor, values in kept:
                held[name] = tensor
                tensor.copy_(values)
                tensor.grad = None


def run(module: nn.Module, example: Example) -> Output:
    """Returns what the module gives in inference. Raises Refusal where it raises, or gives no tensor."""
    module.eval()
    args, kwargs = example.inputs
    try:
        with torch.no_grad(), unchanged(module):
            output = module(*args, **kwargs)
    except Exception as error:
        raise Refusal(f"the module raised on its inputs: {said(error)}") from error
    _register(output)
    unknown = {type(leaf).__name__ for leaf in pytree.tree_leaves(output) if not isinstance(leaf, PLAIN)}
    if unknown:
        raise Refusal(f"the module returns a {', '.join(sorted(unknown))}; return tensors, tuples, dicts, dataclasses")
    if not any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(output)):
        raise Refusal("the module returns no tensor")
    return output


BY_VALUES = "; it decides by the values of tensors, which a graph cannot: use torch.where, or decide outside"
PLAIN = (Tensor, bool, int, float, str, type(None))


def _register(output: Output) -> None:
    """Makes dataclasses known to pytree, at any depth: `torch.export` flattens them to nothing, or refuses them."""
    if dataclasses.is_dataclass(output) and type(output) not in pytree.SUPPORTED_NODES:
        torch.export.register_dataclass(type(output))
    if dataclasses.is_dataclass(output):
        children: list[Any] = [getattr(output, field.name) for field in dataclasses.fields(output)]
    elif isinstance(output, Mapping):
        children = list(output.values())
    else:
        children = list(output) if isinstance(output, (tuple, list)) else []
    for child in children:
        _register(child)


def trained(module: nn.Module, loss: Callable[..., Any] | None, example: Example) -> list[str]:
    """Returns the parameters that the loss has a gradient for. Raises Refusal where it is no scalar that has one."""
    module.train()
    whole = WithLoss(module, loss)
    try:
        with unchanged(module):
            value = whole(example.inputs, example.targets)
            _check_loss(value)
            value.backward()
            names = [name for name, p in module.named_parameters() if p.grad is not None]
    except Refusal:
        raise
    except Exception as error:
        raise Refusal(f"the loss raised: {said(error)}") from error
    return names


def _check_loss(value: Any) -> None:
    if not isinstance(value, Tensor) or value.dim() != 0:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise Refusal(f"the loss is {shape}; expected a scalar: take its mean")
    if not value.requires_grad:
        raise Refusal("the loss has no gradient: no parameter is trained; check requires_grad and torch.no_grad")
    if not bool(torch.isfinite(value)):
        raise Refusal(f"the loss is {value.item()} at the first step; check the inputs and the targets")


def inference(module: nn.Module, example: Example) -> tuple[Graph, dict[str, Tensor]]:
    """Returns the graph of the module in inference, and its tensors by name."""
    args, kwargs = example.inputs
    names = list(example.names[: example.n_inputs])
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    with torch.no_grad(), unchanged(module):
        module.eval()(*args, **kwargs)
        changed = [name for name, buffer in module.named_buffers() if not torch.equal(buffer, before[name])]
    if changed:
        raise Refusal(
            f"it changes {', '.join(changed)} in inference, so that no two steps are alike; do so in training"
        )
    return _exported(module.eval(), args, kwargs, names, "")


def training(module: nn.Module, loss: Any, example: Example) -> tuple[Graph, dict[str, Tensor]]:
    """Returns the graph of the loss in training, which has buffers after the step beside it, and its tensors."""
    arguments = (example.inputs, example.targets)
    return _exported(WithLoss(module.train(), loss), arguments, {}, list(example.names), "module.", [LOSS])


def _exported(
    module: nn.Module, args: Any, kwargs: Any, names: list[str | None], prefix: str, outputs: list[str] | None = None
) -> tuple[Graph, dict[str, Tensor]]:
    try:
        exported = torch.export.export(module, args, kwargs, strict=False)
        graph = to_graph(exported, outputs)
    except Exception as error:
        raise Refusal(f"torch.export refuses it: {why(error)}") from error
    if drawn := random_operators(graph):
        called = ", ".join(f"{name} {n} times" for name, n in drawn.items())
        raise Refusal(
            f"it draws random numbers in each step ({called}), which is another computation each time: set dropout to "
            f"0 where the module is made, in its configuration too, and draw what else is random once, in __init__"
        )
    given = exported.graph_signature.user_inputs
    known = {str(place): name for place, name in zip(given, names, strict=True) if name is not None}
    aliases = known | _aliases(module, prefix)

    def name_of(name: str) -> str:
        return aliases.get(name, name.removeprefix(prefix))

    tensors = {name_of(name): in_pairs(x.detach()) for name, x in tensors_of(exported).items()}
    return named(with_pairs(graph), name_of), tensors


def named(graph: Graph, name_of: Callable[[str], str]) -> Graph:
    """Returns the graph with its inputs, and buffers among its outputs, by other names."""

    def output(name: str) -> str:
        rest = name.removeprefix(BUFFER)
        return name if rest == name else f"{BUFFER}{name_of(rest)}"

    inputs = {value: replace(x, name=name_of(x.name)) for value, x in graph.inputs.items()}
    outputs = {output(name): reference for name, reference in graph.outputs.items()}
    return replace(graph, inputs=inputs, outputs=outputs, kept={})


def _aliases(module: nn.Module, prefix: str) -> dict[str, str]:
    """Returns the first name of each tensor that the module knows by several."""
    first: dict[int, str] = {}
    both = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return {name: first.setdefault(id(tensor), name).removeprefix(prefix) for name, tensor in both}


def why(error: BaseException) -> str:
    """Returns what torch.export says, with the line of the user's code that it names, or that it came from."""
    text, kind = str(error), type(error).__name__
    lines = re.findall(r'File "([^"]+)", line (\d+), in (\w+)\n\s*([^\n]+)', text)
    users = [one for one in lines if "site-packages" not in one[0]] or lines
    first = " ".join(text.split("\n\n", maxsplit=1)[0].split())[:200]
    place = where(error)
    if users:
        place = f" at `{users[-1][3].strip()}` (line {users[-1][1]} of {users[-1][0].rpartition('/')[2]})"
    return f"{kind}: {first}{place}{next((cure for mark, cure in CURES.items() if mark in kind + text), '')}"


CURES = {
    "DynamicOutputShape": "; values decide the shape of what it makes, and a graph has fixed ones: use torch.where or "
    "a mask",
    "GuardOnDataDependent": BY_VALUES,
    "data-dependent": BY_VALUES,
}
"""What to do, by what is in the error's kind or text."""
