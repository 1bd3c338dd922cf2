"""The two batches of a user's model: the one that was given, and another made of it, or those of a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.child.own.factory import Refusal

Batch = dict[str, Tensor]


def pair(given: Batch, path: str | None) -> list[Batch]:
    """Returns two batches: `given`, with what the file at `path` has in its place, and a second one.

    An .npz holds inputs by name, `NAME` for the first batch and `1.NAME` for the second. Raises Refusal where names,
    shapes or types are others, and where the second batch cannot be told from the first.
    """
    first = dict(given)
    second: Batch = {}
    for key, tensor in ({} if path is None else _read(path)).items():
        number, _, rest = key.partition(".")
        batch, name = (second, rest) if number == "1" and rest in given else (first, key)
        batch[name] = _like(given, name, tensor, str(path))
    second = {name: second[name] if name in second else another(x, i) for i, (name, x) in enumerate(first.items())}
    if all(torch.equal(first[name], second[name]) for name in first):
        raise Refusal(
            "no second batch can be made: every input is one number, or all of its rows are alike; give both by "
            "--model-inputs FILE.npz, NAME for the first and 1.NAME for the second"
        )
    return [first, second]


def another(x: Tensor, seed: int) -> Tensor:
    """Returns other values of the same kind: floats that have both signs anew, all else in another order.

    An order along the first axis keeps every range, and rows as they are; where there is one row, along the last.
    """
    generator = torch.Generator().manual_seed(seed + 1)
    if x.is_floating_point() and x.numel() > 1 and bool((x < 0).any()) and bool((x > 0).any()):
        drawn = torch.randn(x.shape, generator=generator, dtype=torch.float32)
        return (drawn * x.float().std() + x.float().mean()).to(x.dtype)
    if x.dim() == 0:
        return x.clone()
    axis = 0 if x.shape[0] > 1 else x.dim() - 1
    rolled = x.roll(1 + seed % max(1, x.shape[axis] - 1), axis)
    return rolled if not torch.equal(rolled, x) else x.roll(1, x.dim() - 1)


def _read(path: str) -> Mapping[str, Tensor]:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: torch.from_numpy(np.array(file[name], order="C")) for name in file.files}
    except (OSError, ValueError, TypeError) as error:
        raise Refusal(f"{path} cannot be read as .npz: {error}") from error


def _like(given: Batch, name: str, tensor: Tensor, path: str) -> Tensor:
    """Returns the tensor in the type of the input. Raises Refusal where it is another input's."""
    if name not in given:
        raise Refusal(f"{path} has {name!r}, which is no input; they are: {', '.join(given)}")
    wanted = given[name]
    if tensor.shape != wanted.shape or tensor.is_floating_point() != wanted.is_floating_point():
        found, meant = (f"{tuple(x.shape)} {_type(x)}" for x in (tensor, wanted))
        raise Refusal(f"{path}: {name} is {found}, and the factory gives {meant}; give the same shape and kind")
    return tensor.to(wanted.dtype)


def _type(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")
