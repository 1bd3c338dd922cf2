"""Calls a user's factory, and says in one line what is wrong with what it gives."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from workloads.own.model import Model

SEED = 0
EXPECTED = "expected samestep.Model(module, inputs, targets=None, loss=None, optimizer=None)"


class Refusal(Exception):
    """The user's model cannot be run as it is; the message says why, and what to do, in one line."""


def call(reference: str, batch: int | None) -> Model:
    """Returns what the factory `package.module:factory` gives under seed 0, at `batch` where one is asked for.

    Raises Refusal where it cannot be imported or called, raises, or gives something else.
    """
    import torch

    factory = _imported(reference)
    taken = {} if batch is None else {"batch": batch}
    parameters = inspect.signature(factory).parameters
    takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    if batch is not None and "batch" not in parameters and not takes_any:
        raise Refusal(f"{reference} takes no `batch`, and --batch {batch} was asked for: give it one, or leave it out")
    torch.manual_seed(SEED)
    try:
        model = factory(**taken)
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        raise Refusal(f"{reference} raised {said(error)}{_cure(error)}") from error
    if not isinstance(model, Model):
        raise Refusal(f"{reference} returned {_kind(model)}; {EXPECTED}")
    _check(reference, model)
    return model


def said(error: BaseException) -> str:
    """Returns an error in one line, with the line of the user's code that it came from where that is known."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{where(error)}"


def where(error: BaseException) -> str:
    """Returns the line of the user's code that an error came from, empty where none is known."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if _is_users(one.filename)]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def _is_users(filename: str) -> bool:
    ours = Path(__file__).resolve().parents[3]
    path = Path(filename)
    is_ours = any(path.is_relative_to(ours / room) for room in ("bench", "backends", "workloads"))
    return path.suffix == ".py" and "site-packages" not in path.parts and "importlib" not in filename and not is_ours


def _imported(reference: str) -> Any:
    name, _, function = reference.partition(":")
    try:
        module = import_module(name)
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        raise Refusal(f"{name} cannot be imported: {said(error)}") from error
    factory = getattr(module, function, None)
    if not callable(factory):
        offered = [key for key, value in vars(module).items() if inspect.isfunction(value) and key[0] != "_"]
        raise Refusal(f"{name} has no function {function!r}; it has: {', '.join(offered) or 'none'}")
    return factory


def _cure(error: BaseException) -> str:
    text = str(error)
    if "CUDA" in text or "NVIDIA" in text or "cuda" in text:
        return "; the model is made on the CPU, on every machine: leave out .cuda() and device='cuda'"
    return ""


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__qualname__}"


def _check(reference: str, model: Model) -> None:
    """Raises Refusal where what is in the model is of another kind."""
    import torch
    from torch.utils import _pytree as pytree

    if not isinstance(model.module, torch.nn.Module):
        raise Refusal(f"{reference} gave {_kind(model.module)} as module; expected a torch.nn.Module")
    if isinstance(model.inputs, torch.Tensor) or not isinstance(model.inputs, (tuple, list, Mapping)):
        raise Refusal(f"{reference} gave {_kind(model.inputs)} as inputs; expected a tuple or a mapping of tensors")
    if not any(isinstance(leaf, torch.Tensor) for leaf in pytree.tree_leaves(model.inputs)):
        raise Refusal(f"{reference} gave inputs without a tensor; expected a tuple or a mapping of tensors")
    if model.targets is not None and model.loss is None:
        raise Refusal(f"{reference} gave targets and no loss; expected loss(output, *targets), a scalar")
    if model.loss is not None and not callable(model.loss):
        raise Refusal(f"{reference} gave {_kind(model.loss)} as loss; expected a function (output, *targets)")
