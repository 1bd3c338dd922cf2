"""What a workload is: a model with its sizes, its data, its optimiser; and the one training step they make."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from workloads.ops import Array, Ops, Parameters, subset
from workloads.optim import Optimizer

N_BATCHES = 2
"""Batches prepared per workload. Steps rotate among them, so that no cache answers for the device."""


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


@dataclass(frozen=True)
class InputSpec:
    """A named input of one step: standard normal `float32`, or `int64` drawn uniformly below `high`.

    Of labels, the share `ignored` is replaced by `IGNORED_LABEL`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    high: int | None = None
    ignored: float = 0.0


@dataclass(frozen=True)
class Weights:
    """A safetensors file that holds the parameters in place of random ones; its content is known by `sha256`."""

    path: str
    sha256: str


@dataclass(frozen=True)
class Workload:
    """A model with its sizes, batch, inputs and optimiser: everything that decides what is computed.

    `infer(ops, p, batch)` returns the named outputs of one inference step; `loss(ops, p, batch)` returns the scalar
    training loss and the buffers after the step. Both are pure; `p` holds parameters and buffers. `inputs` feed both
    phases, `targets` training only.
    """

    name: str
    size: str
    batch: int
    sequence: int | None
    parameters: tuple[ParameterSpec, ...]
    inputs: tuple[InputSpec, ...]
    targets: tuple[InputSpec, ...]
    optimizer: Optimizer
    hyperparameters: Mapping[str, float | int | str]
    infer: Callable[[Ops, Parameters, Parameters], dict[str, Array]]
    loss: Callable[[Ops, Parameters, Parameters], tuple[Array, dict[str, Array]]]
    buffers: tuple[ParameterSpec, ...] = ()
    seed: int = 0
    weights: Weights | None = None

    @property
    def parameter_count(self) -> int:
        """Number of trained scalars, tied tensors counted once."""
        return sum(spec.size for spec in self.parameters)

    @property
    def tokens_per_step(self) -> int | None:
        """Tokens that one step reads, or None where the workload has no tokens."""
        return None if self.sequence is None else self.batch * self.sequence

    def phase_inputs(self, phase: str) -> tuple[InputSpec, ...]:
        """Returns the inputs that one step of `phase` takes."""
        return self.inputs + self.targets if phase == "train" else self.inputs

    def description(self) -> dict[str, Any]:
        """Returns all that decides what is computed, apart from code, in a form that JSON can hold."""
        given = {} if self.weights is None else {"weights_sha256": self.weights.sha256}
        return given | {
            "name": self.name,
            "size": self.size,
            "batch": self.batch,
            "sequence": self.sequence,
            "seed": self.seed,
            "n_batches": N_BATCHES,
            "hyperparameters": dict(self.hyperparameters),
            "optimizer": self.optimizer.description(),
            "parameters": [asdict(spec) for spec in self.parameters],
            "buffers": [asdict(spec) for spec in self.buffers],
            "inputs": [asdict(spec) for spec in self.inputs + self.targets],
        }

    def canonical(self) -> str:
        """Returns `description()` as one canonical line of JSON, for digests."""
        return json.dumps(self.description(), sort_keys=True, separators=(",", ":"))


def no_training(ops: Ops, p: Parameters, batch: Parameters) -> tuple[Array, dict[str, Array]]:
    """Stands in for the loss of a workload that has no training step. Raises ValueError."""
    raise ValueError("this workload has no training step")


ValueAndGrad = Callable[
    [Callable[[Parameters], tuple[Array, Parameters]], Parameters], tuple[tuple[Array, Parameters], Parameters]
]


def initial_state(workload: Workload, tensors: Parameters, zeros_like: Callable[[Array], Array]) -> dict[str, Array]:
    """Returns the training state before the first step, flat, under canonical names.

    `tensors` are the model's parameters and buffers. `parameter.<name>` and `buffer.<name>` come first, then the
    optimiser's own tensors (`first_moment.<name>` …), all zero.
    """
    parameters = {spec.name: tensors[spec.name] for spec in workload.parameters}
    state = {f"parameter.{name}": array for name, array in parameters.items()}
    state |= {f"buffer.{spec.name}": tensors[spec.name] for spec in workload.buffers}
    return state | workload.optimizer.initial_state(parameters, zeros_like)


def train_step(
    workload: Workload,
    ops: Ops,
    value_and_grad: ValueAndGrad,
    state: Parameters,
    batch: Parameters,
) -> tuple[Array, dict[str, Array]]:
    """Returns the loss and the next state of one training step: forward, backward, optimiser update. Pure.

    `value_and_grad(f, parameters)` is the framework's own differentiation of an `f` that returns a scalar and
    something beside it: both, and the scalar's gradient by name.
    """
    held = subset(state, "buffer.")
    (loss, buffers), gradients = value_and_grad(
        lambda p: workload.loss(ops, {**p, **held}, batch), subset(state, "parameter.")
    )
    new = workload.optimizer.update(ops, state, gradients) | {f"buffer.{name}": b for name, b in buffers.items()}
    return loss, {name: new[name] for name in state}
