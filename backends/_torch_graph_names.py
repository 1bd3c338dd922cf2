"""PyTorch: what the tensors of an exported program are called, those that it takes and those that it returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

BUFFER = "buffer."
"""What the names of outputs begin with that are buffers after the step."""


def input_names(exported: ExportedProgram) -> dict[str, str]:
    """Returns the name of what each placeholder is."""
    first: dict[int, str] = {}
    names = {}
    tensors = {**exported.constants, **exported.state_dict}
    user = _given_names(exported)
    for spec in exported.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            names[spec.arg.name] = next(user)
        elif spec.target is not None:
            tensor = tensors.get(spec.target)
            names[spec.arg.name] = first.setdefault(id(tensor), spec.target) if tensor is not None else spec.target
    return names


def _given_names(exported: ExportedProgram) -> Iterator[str]:
    """Yields the names of what the user gives: by keyword or, as PyTorch calls it, by place."""
    for spec in exported.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            yield spec.arg.name


def output_names(exported: ExportedProgram, outputs: Sequence[str] | None) -> list[str]:
    """Returns the name of each output: those of `outputs` in turn, else where it stands; of a buffer its own."""
    specs = exported.graph_signature.output_specs
    user = iter(outputs if outputs is not None else _paths(exported))
    names = []
    for spec in specs:
        is_output = spec.kind in (OutputKind.USER_OUTPUT, OutputKind.LOSS_OUTPUT)
        names.append(next(user) if is_output else f"{BUFFER}{spec.target}")
    return names


def _paths(exported: ExportedProgram) -> list[str]:
    """Returns where each output stands in what the module returns."""
    tree = pytree.tree_unflatten(list(range(exported.call_spec.out_spec.num_leaves)), exported.call_spec.out_spec)
    paths = [path for path, _ in pytree.tree_flatten_with_path(tree)[0]]
    return [".".join(_key(key) for key in path) or "output" for path in paths]


def _key(key: Any) -> str:
    return str(next(getattr(key, name) for name in ("key", "idx", "name") if hasattr(key, name)))
