"""What a program is: one kind of step of a workload, as data. A pure function with its inputs, constants and state.

    step(ops, constants, state, batch) -> (outputs, next state)

`inference` and `training` make the two that most models have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from workloads.graph import Graph
from workloads.ops import Array, Ops, Parameters, subset
from workloads.optim import Optimizer
from workloads.specs import N_BATCHES, N_LOSSES, InputSpec, ParameterSpec, StateSpec

Outputs = dict[str, Array]
Step = Callable[[Ops, Parameters, Parameters, Parameters], tuple[Outputs, dict[str, Array]]]
Loss = Callable[[Ops, Parameters, Parameters], tuple[Array, dict[str, Array]]]
"""`loss(ops, p, batch)` returns the scalar and the buffers after the step; `p` holds parameters and buffers."""


@dataclass(frozen=True)
class Work:
    """What one step processes: samples, and tokens where samples consist of them."""

    samples: int
    tokens_read: int | None = None
    tokens_written: int | None = None

    @property
    def tokens(self) -> int | None:
        """Tokens that one step reads and writes, or None where the workload has no tokens."""
        both = [n for n in (self.tokens_read, self.tokens_written) if n is not None]
        return sum(both) if both else None


@dataclass(frozen=True)
class Checks:
    """What verification compares: the outputs of the first `steps` steps, and the state after one of them.

    `quantity` is what the outputs are called there: `output`, or `loss`.
    """

    steps: int
    quantity: str
    state_after: int | None = None

    def key(self, i: int, name: str) -> str:
        """Returns the name under which the output `name` of step `i` is compared."""
        return f"{self.quantity}.{i}" if name == self.quantity else f"{self.quantity}.{i}.{name}"


@dataclass(frozen=True)
class Update:
    """What a runtime with optimisers of its own needs: the loss that is differentiated, and the rule."""

    loss: Loss
    rule: Optimizer
    trained: tuple[ParameterSpec, ...]
    buffers: tuple[ParameterSpec, ...] = ()
    loss_scale: float = 1.0
    """A power of two by which the loss is multiplied before it is differentiated, and its gradients divided after."""
    accumulate: int = 1
    """In how many parts of a batch, one after the other, the gradient is computed: the update takes their mean."""

    def parts_of(self, batch: Parameters) -> Iterator[Parameters]:
        """Yields the parts of a batch, along its first axis."""
        if self.accumulate == 1:
            yield batch
            return
        for i in range(self.accumulate):
            yield {name: _part(x, i, self.accumulate) for name, x in batch.items()}


def _part(x: Array, i: int, n: int) -> Array:
    rows = x.shape[0] // n
    return x[i * rows : (i + 1) * rows,]


@dataclass(frozen=True)
class Prompt:
    """What a decode step goes on from: `fill(ops, constants, ids)` returns the caches of the prompt `ids`, by name.

    They are (B, heads, n, D) of its n tokens; the state begins with them, and with zeros behind.
    """

    ids: InputSpec
    fill: Callable[[Ops, Parameters, Array], dict[str, Array]]


@dataclass(frozen=True)
class Program:
    """One kind of step of a workload. `step` is pure, and returns every tensor of the state under its name.

    `constants` are read and never changed. `update` is there where the step differentiates a loss and applies a rule.
    `outputs` returns the outputs alone, for programs whose next state costs more than they do. After `period` steps the
    state starts anew; None where it goes on for ever. `details` is whatever else decides what is computed: it enters
    the workload's digest.
    """

    inputs: tuple[InputSpec, ...]
    step: Step
    checks: Checks
    work: Work
    constants: tuple[ParameterSpec, ...] = ()
    state: tuple[StateSpec, ...] = ()
    update: Update | None = None
    outputs: Callable[[Ops, Parameters, Parameters, Parameters], Outputs] | None = None
    period: int | None = None
    n_batches: int = N_BATCHES
    """How many batches of inputs it takes in turn."""
    prompt: Prompt | None = None
    """Where its state begins with what the reference makes of a prompt."""
    keys_seen: float | None = None
    """How many places of a cache a query sees, on average over the steps."""
    graph: Graph | None = None
    """What it evaluates, where it is of a user's module."""
    details: Mapping[str, float | int | str] = field(default_factory=dict)

    @property
    def moments_bytes(self) -> int | None:
        """Bytes of the optimiser's moments in float32; None where nothing is trained."""
        if self.update is None:
            return None
        return 4 * sum(spec.size for spec in self.state if spec.is_moment and spec.shape)

    def initial_state(self, tensors: Parameters, zeros: Callable[[tuple[int, ...]], Array]) -> dict[str, Array]:
        """Returns the state before the first step, by name: `tensors` are the model's, `zeros(shape)` makes others."""
        return {spec.name: zeros(spec.shape) if spec.source is None else tensors[spec.source] for spec in self.state}

    def constants_of(self, tensors: Parameters) -> dict[str, Array]:
        """Returns those of the model's `tensors` that a step reads and never changes."""
        return {spec.name: tensors[spec.name] for spec in self.constants}

    def outputs_of(self, ops: Ops, constants: Parameters, state: Parameters, batch: Parameters) -> Outputs:
        """Returns the outputs of one step, its next state left out."""
        if self.outputs is not None:
            return self.outputs(ops, constants, state, batch)
        return self.step(ops, constants, state, batch)[0]


def inference(
    infer: Callable[[Ops, Parameters, Parameters], Outputs],
    *,
    inputs: tuple[InputSpec, ...],
    constants: tuple[ParameterSpec, ...],
    work: Work,
) -> Program:
    """Returns the program that has no state: `infer(ops, p, batch)` returns the named outputs.

    Outputs of every batch are compared: one computed once and returned for ever fits one of them.
    """

    def step(ops: Ops, constants: Parameters, state: Parameters, batch: Parameters) -> tuple[Outputs, dict[str, Array]]:
        return infer(ops, constants, batch), {}

    return Program(inputs, step, Checks(N_BATCHES, "output"), work, constants)


def training(
    loss: Loss,
    optimizer: Optimizer,
    *,
    inputs: tuple[InputSpec, ...],
    parameters: tuple[ParameterSpec, ...],
    work: Work,
    buffers: tuple[ParameterSpec, ...] = (),
    trained: Callable[[str], bool] | None = None,
    constants: tuple[ParameterSpec, ...] = (),
    loss_scale: float = 1.0,
    accumulate: int = 1,
) -> Program:
    """Returns the program of one training step: forward, backward, the optimiser's update of what is `trained`.

    `trained` tells by name which of `parameters` are; all by default. The others, and `constants`, are read and never
    changed. The gradient is the mean of those of `accumulate` equal parts of the batch; buffers go from one to the
    next. The state is flat, under canonical names: `parameter.<name>` and `buffer.<name>` first, then the
    optimiser's own tensors. Compared are the losses, and after the first step the whole state.
    """
    chosen = tuple(spec for spec in parameters if trained is None or trained(spec.name))
    if not chosen:
        raise ValueError(f"nothing is trained: none of {len(parameters)} parameters was chosen; choose at least one")
    if any(spec.shape[0] % accumulate for spec in inputs):
        raise ValueError(f"a batch of {inputs[0].shape[0]} has no {accumulate} equal parts: give a multiple of them")
    frozen = tuple(spec for spec in parameters if spec not in chosen) + constants
    update = Update(loss, optimizer, chosen, buffers, loss_scale, accumulate)

    def tensors(constants: Parameters, state: Parameters) -> Parameters:
        return {**constants, **subset(state, "buffer.")}

    def differentiated(ops: Ops, held: Parameters, p: Parameters, batch: Parameters) -> Any:
        def scaled(p: Parameters) -> tuple[Array, dict[str, Array]]:
            value, after = loss(ops, {**p, **held}, batch)
            return value if loss_scale == 1 else value * loss_scale, after

        return ops.value_and_grad(scaled, p)

    def step(ops: Ops, constants: Parameters, state: Parameters, batch: Parameters) -> tuple[Outputs, dict[str, Array]]:
        held, p = tensors(constants, state), subset(state, "parameter.")
        first, *others = update.parts_of(batch)
        (value, after), gradients = differentiated(ops, held, p, first)
        for part in others:
            (more, after), added = differentiated(ops, {**held, **after}, p, part)
            value, gradients = value + more, {name: gradients[name] + g for name, g in added.items()}
        if (divisor := loss_scale * accumulate) != 1:
            value = value / divisor
            gradients = {name: gradient / divisor for name, gradient in gradients.items()}
        new = optimizer.update(ops, state, gradients) | {f"buffer.{name}": b for name, b in after.items()}
        return {"loss": value}, {name: new[name] for name in state}

    def outputs(ops: Ops, constants: Parameters, state: Parameters, batch: Parameters) -> Outputs:
        held, p = tensors(constants, state), subset(state, "parameter.")
        first, *others = update.parts_of(batch)
        value, after = loss(ops, {**p, **held}, first)
        for part in others:
            more, after = loss(ops, {**p, **held, **after}, part)
            value = value + more
        return {"loss": value if accumulate == 1 else value / accumulate}

    return Program(
        inputs,
        step,
        Checks(N_LOSSES, "loss", state_after=0),
        work,
        frozen,
        tuple(_training_state(chosen, buffers, optimizer)),
        update,
        outputs,
        details={
            **({} if len(chosen) == len(parameters) else {"trained": ",".join(spec.name for spec in chosen)}),
            **({} if accumulate == 1 else {"accumulate": accumulate}),
        },
    )


def _training_state(
    trained: Iterable[ParameterSpec], buffers: Iterable[ParameterSpec], optimizer: Optimizer
) -> Iterable[StateSpec]:
    shapes = {spec.name: spec.shape for spec in trained}
    for name, shape in shapes.items():
        yield StateSpec(f"parameter.{name}", shape, name, "change")
    for spec in buffers:
        yield StateSpec(f"buffer.{spec.name}", spec.shape, spec.name, "change")
    for name in optimizer.scalars:
        yield StateSpec(name, (), compared=None, is_moment=True)
    for moment in optimizer.moments:
        for name, shape in shapes.items():
            yield StateSpec(f"{moment}.{name}", shape, is_moment=True)


def initial_state(program: Program, tensors: Parameters, zeros_like: Callable[[Any], Any]) -> dict[str, Any]:
    """Returns the program's state before the first step, where all that makes zeros is `zeros_like(array)`.

    `tensors` are the model's parameters and buffers.
    """
    by_shape = {tuple(array.shape): array for array in tensors.values()}

    def zeros(shape: tuple[int, ...]) -> Array:
        if shape in by_shape:
            return zeros_like(by_shape[shape])
        if shape == ():
            return zeros_like(next(iter(tensors.values())).reshape(-1)[0])
        raise ValueError(f"no tensor of the model has the shape {shape}; use Program.initial_state")

    return program.initial_state(tensors, zeros)
