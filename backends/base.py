"""What an adapter is: a declaration that any machine can import, and a prepared step that one child runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from backends._flow import Flow
from backends._records import (
    Artifact,
    DeviceReading,
    Effective,
    EnergyCounter,
    EnergyUnavailable,
    KnownFailure,
    NoOperators,
    Operator,
    Probe,
    Request,
    Setting,
)
from backends._transfers import why_no_transfer
from workloads.generate import GENERATE
from workloads.models._transfer import TRANSFER
from workloads.precision import DEFAULT
from workloads.tuning import TRAIN, TUNED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from workloads.program import Program

__all__ = [
    "ONE_GRAPH",
    "PARTS",
    "PRESETS",
    "Adapter",
    "Artifact",
    "DeviceReading",
    "Effective",
    "EnergyCounter",
    "EnergyUnavailable",
    "Flow",
    "KnownFailure",
    "NoOperators",
    "Operator",
    "Options",
    "Probe",
    "Request",
    "Setting",
    "Step",
]

PARTS = ("input_copy", "forward", "backward", "optimizer")
"""What a step is taken apart into, in this order; inference has the first two."""
ONE_GRAPH = "the whole step is one graph"
Options = Mapping[str, tuple[str, ...]]
PRESETS = ("smoke", "quick", "full")
"""What `--preset` takes: how large the workloads are, and how long they are measured."""
ACCUMULATED = "forward and backward pass take turns: of each part of the batch both, one part after the other"
"""Why a step that accumulates gradients has no parts."""


class Step(ABC):
    """A prepared step on its device. It has a lifetime: `close()` gives the device back."""

    parts_compile: bool = False
    """Whether the parts are executables of their own, compiled when they first run."""

    @abstractmethod
    def compile(self) -> None:
        """Compiles ahead of time where the runtime does so; else does nothing."""

    @abstractmethod
    def step(self, i: int) -> None:
        """Enqueues one step on batch `i % n`. It may return before the work is done."""

    @abstractmethod
    def sync(self) -> None:
        """Returns when all outputs of all steps so far, and the state, are complete."""

    @abstractmethod
    def touch(self) -> None:
        """Reads one element of every output and state tensor of the last step to the host.

        After `sync()` this waits for nothing; that is how an adapter is seen to wait.
        """

    @abstractmethod
    def outputs(self) -> Mapping[str, NDArray[np.generic]]:
        """Returns the last step's outputs on the host: inference's by name, or `{"loss": scalar}`."""

    @abstractmethod
    def state(self) -> Iterable[tuple[str, NDArray[np.generic]]]:
        """Yields the training state on the host under canonical names: `parameter.…`, `first_moment.…`, …"""

    @abstractmethod
    def effective(self) -> Effective:
        """Returns what the runtime says it does, read back from the prepared step."""

    def frozen(self) -> Iterable[tuple[str, NDArray[np.generic]]]:
        """Yields the tensors that a training step reads and must not change, as they lie on the device now.

        Nothing where no step can write them: where they are inputs or constants of a graph.
        """
        return ()

    def restart(self, parameters: Mapping[str, NDArray[np.generic]]) -> None:
        """Writes the state before the first step in place, so that the next step is step 0 again.

        `parameters` are the request's; moments, step counts and caches become zero. Nothing is prepared or compiled
        anew: after the last timed step this very step is verified once more. Raises NotImplementedError where the
        adapter has none: its rows say `before only`, and enter no ratio. Of a program without state it is not asked.
        """
        raise NotImplementedError(f"{type(self).__name__} has no restart(): it cannot be verified after it was timed")

    def mark(self) -> object:
        """Returns a token for all steps enqueued so far, without waiting."""
        return None

    def wait(self, token: object) -> None:
        """Returns when the steps that `token` stands for are complete, while later ones may still run."""
        self.sync()

    def flows(self) -> Sequence[Callable[[], Flow]]:
        """Returns ways to run inference steps that overlap, each opened by a call; the fastest is taken.

        Empty where steps queue behind each other (`mark` and `wait`), or cannot overlap (`Adapter.overlap`).
        """
        return ()

    def compilations(self) -> int:
        """Returns how often the runtime has compiled so far: nothing may be compiled while steps are timed."""
        return 0

    def device_step(self, i: int) -> float | None:
        """Runs one step to its end and returns its seconds by the device's own clock; None where it has none.

        Apart from `step`, because the marks that it takes cost time of their own.
        """
        return None

    def parts(self) -> Mapping[str, Callable[[int], object]] | str:
        """Returns the parts of one step by their names in `PARTS`, or why it cannot be taken apart.

        Called in that order, on batch `i % n`, they do what `step(i)` does, and each returns when its part is complete.
        `input_copy` copies a batch from the host to where the step reads it, which no step does.
        """
        return "its adapter does not take the step apart"

    def operators(self, steps: int) -> Sequence[Operator]:
        """Runs `steps` steps under the runtime's own profiler, after one or two uncounted; returns where time went.

        The last call before `close`: a profiler disturbs, and the step may stay as it was profiled. Leaves no file
        behind. Raises `NoOperators` where the runtime has none to offer.
        """
        raise NoOperators("its adapter asks no profiler for times by operator")

    def close(self) -> None:  # noqa: B027 - a default, not a forgotten abstract method: most need nothing
        """Gives the device back."""


class Adapter(ABC):
    """One runtime on one kind of device. Class attributes declare; nothing here imports the runtime."""

    device_kind: ClassVar[str]
    """What `Step.effective().device` must say: `cpu`, `cuda`, `tpu` …"""
    phases: ClassVar[tuple[str, ...] | None] = ("infer", "train")
    """The programs that it runs; None: all, those that carry a cache among them."""
    precisions: ClassVar[tuple[str, ...]] = (DEFAULT.name,)
    generates: ClassVar[bool] = False
    """Whether it has a driver for prefill and decode, one after the other, as a generation."""
    transfers: ClassVar[bool] = False
    """Whether it has a step that copies between host and device, and does nothing else."""
    lacks: ClassVar[Mapping[str, str]] = {}
    """Why it cannot run in a precision, by its name, where there is more to say than that."""
    emulates: ClassVar[Mapping[str, str]] = {}
    """The precisions whose products it computes in a wider type on any chip, by name, and why."""
    overlap: ClassVar[Literal["all", "stateless", "none"]] = "all"
    """Which programs' steps may overlap: all, those without state, none. Where steps cannot, one set of samples serves
    latency and throughput."""
    artifacts: ClassVar[tuple[Artifact, ...]] = ()
    """What must be made for it before it starts, beside parameters, batches and what is expected."""
    verifiable: ClassVar[bool] = True
    """False only for `null`, which computes nothing: another package's adapter that says so is broken."""
    extra: ClassVar[str] = ""
    """The dependency group of pyproject.toml that installs it; empty where it needs none of its own."""
    kinds: ClassVar[tuple[str, ...] | None] = None
    """The kinds of machine on which it is measured every night; None: one, called as its dependency group."""
    cpu_torch: ClassVar[bool] = True
    """Whether torch's CPU build does beside it, as constraints.txt pins it: gigabytes less than another."""
    distributions: ClassVar[tuple[str, ...]] = ()
    """Installed distributions whose versions go into the row; the first one is the runtime."""
    known_failures: ClassVar[tuple[KnownFailure, ...]] = ()
    workloads: ClassVar[tuple[str, ...] | None] = None
    """The workloads that it runs; None: all but the controls."""
    options: ClassVar[Options] = {}
    """What may be chosen, by name, with the values that it takes; the first is the default."""
    environment: ClassVar[tuple[str, ...]] = ()
    """Names of variables that its children get from the shell beside those that all children get: where the runtime or
    its compiler is installed, such as `CUDA_HOME`. Never what changes what is computed, or how fast."""
    presets: ClassVar[tuple[str, ...]] = PRESETS
    """Presets that take this backend without being asked for it by name."""

    @property
    def name(self) -> str:
        """The backend's name: the name of its file."""
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    def probe(self) -> Probe:
        """Returns what is here, in milliseconds, with no side effect and without importing the runtime."""

    def measured_on(self) -> tuple[str, ...]:
        """Returns the kinds of machine on which it is measured every night."""
        if self.kinds is not None:
            return self.kinds
        return (self.extra,) if self.extra else ()

    def artifacts_of(self, program: Program) -> tuple[Artifact, ...]:
        """Returns those of `artifacts` that `program` takes: all, unless a runtime runs some in a form of their own."""
        return self.artifacts

    def is_serial(self, program: Program) -> bool:
        """Returns whether steps of `program` cannot overlap."""
        return self.overlap == "none" or (self.overlap == "stateless" and bool(program.state))

    def why_unsupported(self, phase: str, precision: str) -> tuple[str, str] | None:
        """Returns (reason code, reason) where this runtime cannot do it at all, else None.

        The code is `phase_not_supported` or `precision_not_supported`.
        """
        if self.phases is not None and phase not in self.phases and not self._tunes(phase):
            return "phase_not_supported", f"{self.name} has no {phase} phase; it has: {', '.join(self.phases)}"
        if phase == GENERATE and not self.generates:
            why = f"{self.name} has no driver that generates: its adapter has one for steps only"
            return "phase_not_supported", why
        if phase == TRANSFER:
            return why_no_transfer(self, precision)
        if precision not in self.precisions:
            why = self.lacks.get(precision, f"it can in: {', '.join(self.precisions)}")
            return "precision_not_supported", f"{self.name} cannot run in {precision}; {why}"
        return None

    def _tunes(self, phase: str) -> bool:
        """Returns whether the phase is one of training, which whoever trains can run."""
        return phase in TUNED and TRAIN in (self.phases or ())

    def chosen_options(self, chosen: Mapping[str, str]) -> dict[str, str]:
        """Returns every option with its value: the one `chosen`, else the default.

        Raises ValueError for an option that is not declared, and for a value that it does not take.
        """
        for name, value in chosen.items():
            if name not in self.options:
                names = ", ".join(self.options) or "none"
                raise ValueError(f"{self.name} has no option {name!r}; it has: {names}")
            if value not in self.options[name]:
                raise ValueError(f"{self.name}: {name} is {value!r}; expected one of: {', '.join(self.options[name])}")
        return {name: chosen.get(name, values[0]) for name, values in self.options.items()}

    def missing_operators(self, setting: Setting) -> Sequence[str]:
        """Returns PyTorch's names of the operators of a user's own model that the runtime lacks: none by default.

        Asked in a child of its own, before anything is loaded or prepared, by `samestep check-model`.
        """
        return ()

    @abstractmethod
    def load(self, setting: Setting) -> None:
        """Imports the runtime and sets its process-wide switches for `setting` (threads, precision, device)."""

    @abstractmethod
    def prepare(self, request: Request) -> Step:
        """Builds the step and places its data on the device."""

    def device_reading(self, index: int) -> DeviceReading | None:
        """Returns what the driver says of device `index` now, in a millisecond or two; None where it says nothing.

        First asked before `load`: it must not need the runtime, and must not start it.
        """
        return None

    def energy_counter(self, index: int) -> EnergyCounter:
        """Returns what counts the energy of device `index`; a `cpu` device is not asked: its packages are read.

        Called once in a child, after all times were measured. Raises EnergyUnavailable, as it does here.
        """
        raise EnergyUnavailable(f"no energy counter is known for the device kind {self.device_kind!r}")

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Returns whether the runtime says by `error` that memory ran out."""
        return isinstance(error, MemoryError)

    def is_lost(self, error: BaseException) -> bool:
        """Returns whether the runtime says by `error` that the device is gone: nothing more is tried on it."""
        return False
