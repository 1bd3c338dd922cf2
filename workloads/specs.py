"""What a workload's tensors are, as data: parameters, inputs, state. Drawing them takes nothing else of this room."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Literal

N_BATCHES = 2
"""Batches prepared per workload. Steps rotate among them, so that no cache answers for the device."""
N_LOSSES = N_BATCHES + 1
"""Consecutive training steps whose losses are compared: one more than there are batches."""

IGNORED_LABEL = -100
"""The label that asks for no prediction: `ignore_index` of `torch.nn.functional.cross_entropy`."""


@dataclass(frozen=True)
class ParameterSpec:
    """A named tensor of the model, drawn from a normal distribution: never zeros, never exact ones.

    A parameter is trained; a buffer (running statistics) is state that training updates without a gradient.
    """

    name: str
    shape: tuple[int, ...]
    mean: float
    standard_deviation: float

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


class TableSpec(ParameterSpec):
    """A tensor that is made by a formula and not drawn: `values()` returns it.

    `is_exact` says whether it is float32 in every precision, as what angles are turned by is; else it is rounded as
    parameters are.
    """

    is_exact: ClassVar[bool] = True

    def values(self) -> Any:
        """Returns the tensor, float32."""
        raise NotImplementedError(f"{type(self).__name__} has no values()")


@dataclass(frozen=True)
class InputSpec:
    """A named input of one step: standard normal `float32`, or `int64` drawn uniformly below `high`.

    Of labels, the share `ignored` is replaced by `IGNORED_LABEL`. With `first` it is drawn from nothing: in batch i all
    of it is `first + i`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    high: int | None = None
    ignored: float = 0.0
    first: int | None = None


@dataclass(frozen=True)
class StateSpec:
    """A tensor that a step carries on. It starts as a copy of the model's tensor `source`, else as zeros.

    `compared` says what verification looks at: its value, or its change from `source`; None where it is left out.
    `is_moment` marks what an optimiser keeps beside the parameters.
    """

    name: str
    shape: tuple[int, ...]
    source: str | None = None
    compared: Literal["value", "change"] | None = "value"
    is_moment: bool = False

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def quantity(self) -> str:
        """The kind of quantity that it is compared as: `first_moment`, `parameter_change` …"""
        kind = self.name.partition(".")[0]
        return f"{kind}_change" if self.compared == "change" else kind

    @property
    def key(self) -> str:
        """The name under which it is compared: `<quantity>.<tensor>`."""
        return f"{self.quantity}.{self.name.partition('.')[2]}"


@dataclass(frozen=True)
class Weights:
    """A safetensors file, or the index of several, in place of random parameters; its content is known by `sha256`."""

    path: str
    sha256: str


@dataclass(frozen=True)
class Given:
    """A folder that holds a model's tensors and batches in place of drawn ones; all that lies in it has one digest."""

    folder: str
    sha256: str
