"""The tensors that a user's module is called with, by name, and how they go back to where they came from."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from bench.child.own.factory import Refusal
from workloads.own.model import Model


@dataclass(frozen=True)
class Example:
    """Inputs and targets as leaves of trees. `names` has a name for each leaf that is a tensor, None for others."""

    leaves: tuple[Any, ...]
    names: tuple[str | None, ...]
    n_inputs: int
    inputs_tree: Any
    targets_tree: Any

    @classmethod
    def of(cls, model: Model) -> Example:
        """Returns what the model gave, floating tensors as float32 on the CPU."""
        inputs = ((), dict(model.inputs)) if isinstance(model.inputs, Mapping) else (tuple(model.inputs), {})
        found, inputs_tree = pytree.tree_flatten_with_path(inputs)
        aimed, targets_tree = pytree.tree_flatten_with_path(_as_arguments(model.targets))
        names = [_input_name(path, model.module.forward) for path, _ in found]
        names += ["target" if len(aimed) == 1 else f"target.{_joined(path[1:])}" for path, _ in aimed]
        leaves = [_plain(leaf) for _, leaf in [*found, *aimed]]
        kept = tuple(name if isinstance(leaf, Tensor) else None for name, leaf in zip(names, leaves, strict=True))
        doubled = {name for name in kept if name is not None and kept.count(name) > 1}
        if doubled:
            raise Refusal(f"two inputs are called {', '.join(sorted(doubled))}; give inputs as a mapping")
        return cls(tuple(leaves), kept, len(found), inputs_tree, targets_tree)

    def tensors(self) -> dict[str, Tensor]:
        """Returns the tensors by name, inputs before targets."""
        return {name: leaf for name, leaf in zip(self.names, self.leaves, strict=True) if name is not None}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Example:
        """Returns the same with other values."""
        pairs = zip(self.names, self.leaves, strict=True)
        leaves = tuple(leaf if name is None else tensors[name] for name, leaf in pairs)
        return Example(leaves, self.names, self.n_inputs, self.inputs_tree, self.targets_tree)

    @property
    def inputs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the module is called with: by place, and by keyword."""
        both: tuple[tuple[Any, ...], dict[str, Any]] = pytree.tree_unflatten(
            list(self.leaves[: self.n_inputs]), self.inputs_tree
        )
        return both

    @property
    def targets(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the loss is called with behind the output: by place, and by keyword."""
        both: tuple[tuple[Any, ...], dict[str, Any]] = pytree.tree_unflatten(
            list(self.leaves[self.n_inputs :]), self.targets_tree
        )
        return both

    def batch_of(self, asked: int | None, default: object) -> int:
        """Returns how many samples a step has. Raises Refusal where no input has as many as were asked for."""
        shapes = [tuple(tensor.shape) for tensor in self.tensors().values()]
        if asked is not None and not any(asked in shape for shape in shapes):
            raise Refusal(
                f"--batch {asked} was asked for, and no input has an axis of {asked}: {', '.join(map(str, shapes))}"
            )
        if asked is not None:
            return asked
        if isinstance(default, int) and default > 0 and any(default in shape for shape in shapes):
            return default
        return next((shape[0] for shape in shapes if shape and shape[0] > 0), 1)


def _as_arguments(targets: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if targets is None:
        return (), {}
    if isinstance(targets, Mapping):
        return (), dict(targets)
    return (tuple(targets), {}) if isinstance(targets, Sequence) else ((targets,), {})


def _plain(leaf: Any) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    if leaf.is_complex() or leaf.layout != torch.strided:
        raise Refusal(f"an input is {leaf.dtype} {leaf.layout}; expected dense tensors of real numbers or integers")
    detached = leaf.detach().cpu()
    return (detached.float() if detached.is_floating_point() else detached).contiguous()


def _input_name(path: Sequence[Any], forward: Any) -> str:
    """Returns the name of an input: its keyword, or what `forward` calls the argument at its place."""
    rest = path[1:]
    if getattr(path[0], "idx", None) == 1:
        return _joined(rest)
    named = [
        one.name
        for one in inspect.signature(forward).parameters.values()
        if one.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    ]
    place = rest[0].idx
    first = named[place] if place < len(named) else f"input_{place}"
    return ".".join(filter(None, (first, _joined(rest[1:]))))


def _joined(path: Sequence[Any]) -> str:
    return ".".join(str(next(getattr(key, n) for n in ("key", "idx", "name") if hasattr(key, n))) for key in path)
