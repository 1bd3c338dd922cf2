"""What an adapter is: a declaration that any machine can import, and a prepared step that one child runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from workloads.precision import DEFAULT, Precision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from workloads.program import Program
    from workloads.workload import Workload

PARTS = ("input_copy", "forward", "backward", "optimizer")
"""What a step is taken apart into, in this order; inference has the first two."""
ONE_GRAPH = "the whole step is one graph"
Options = Mapping[str, tuple[str, ...]]
PRESETS = ("smoke", "quick", "full")
"""What `--preset` takes: how large the workloads are, and how long they are measured."""


@dataclass(frozen=True)
class Probe:
    """What can be seen of a backend without starting it.

    `usable`: device and library are there. `absent`: no such device, or library not installed. `broken`: there,
    and known not to work. `reason` says why not, and what to install or mend.
    """

    status: Literal["usable", "absent", "broken"]
    device: str = ""
    version: str = ""
    reason: str = ""
    reason_code: str = ""


@dataclass(frozen=True)
class Artifact:
    """Something that is made once from a workload's program, and cached: a graph in some format, say.

    `maker` is `module:function` in the checkout or in an adapter's own package. It is called in a child of its own as
    `function(setting, folder, inputs)`, writes files into the empty `folder`, and returns what the cache shall
    remember; `inputs` are the folders of the artifacts that it `needs`, by name. The cache's key holds the workload,
    the sources that the maker's module imports from its package, and the versions of `libraries`.
    """

    name: str
    maker: str
    needs: tuple[str, ...] = ("parameters", "batches")
    libraries: tuple[str, ...] = ()
    is_shared: bool = False
    """Whether it is the same for all programs of a workload."""
    of_model_alone: bool = False
    """Whether it depends on the model's tensors alone: neither on the batch nor on what a program computes."""


@dataclass(frozen=True)
class Setting:
    """What one cell asks of a runtime, known before anything is loaded."""

    workload: Workload
    phase: str
    precision: Precision
    threads: int
    device_index: int = 0
    options: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    """Every option that the adapter declares, with the value chosen."""

    @property
    def program(self) -> Program:
        """The program of the workload that is asked for."""
        return self.workload.programs[self.phase]


@dataclass(frozen=True)
class Request(Setting):
    """All that an adapter needs to prepare one step."""

    parameters: Mapping[str, NDArray[np.float32]] = field(kw_only=True)
    """Initial parameters and buffers, read-only and memory-mapped: copy what the step changes."""
    batches: tuple[Mapping[str, NDArray[np.generic]], ...] = field(kw_only=True)
    """Several batches of inputs, of all programs; step `i` takes batch `i % len(batches)`."""
    artifacts: Mapping[str, Path] = field(default_factory=dict, kw_only=True)
    """The folders of the artifacts that the adapter declares, by name."""


@dataclass(frozen=True)
class Effective:
    """What a runtime says it does, read back. None where it does not tell: the numbers have to decide then."""

    device: str | None
    """Its kind, as `Adapter.device_kind` has it."""
    precision: str | None
    threads: int | None = None
    more: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    """What else is worth a look, by name; `device_peak_memory_bytes` and `nodes_share` are used."""

    def told(self) -> dict[str, str | int | float | bool]:
        """Returns all that was told, by name."""
        parts = {"device": self.device, "precision": self.precision, "threads": self.threads}
        return {name: value for name, value in parts.items() if value is not None} | dict(self.more)


@dataclass(frozen=True)
class DeviceReading:
    """What a device's driver says at one moment; times in seconds since whenever, None or 0 where it does not say."""

    clock_hz: float | None = None
    temperature_c: float | None = None
    throttle_reasons: tuple[str, ...] = ()
    throttled_s: float = 0.0
    """For how long heat or the hardware itself has slowed it."""
    power_capped_s: float = 0.0
    other_processes: int = 0
    """How many processes but this one compute on it, where the driver knows this one by its id."""
    processes: frozenset[int] | None = field(default=None, compare=False)
    """The ids of all that compute on it, as the driver names them: in a container it may give those of the host, and
    this process stands under an id that is not its own. None where the driver lists none, or `other_processes` is to
    be taken as it is. Ids differ from run to run, so that two readings are not told apart by them."""
    memory_errors: int = 0


@dataclass(frozen=True)
class Operator:
    """Time in one kind of call of a runtime, by its own name for it.

    `seconds` are of one step, without the time in other operators that it calls, so that they add up; `calls` are
    those of one step.
    """

    name: str
    seconds: float
    calls: float


class NoOperators(Exception):
    """The runtime has no times by operator to offer; the message says why."""


@dataclass(frozen=True)
class EnergyCounter:
    """A counter of the joules that a device has used since whenever."""

    origin: str
    """Which counter this is, and of what: `NVML board`."""
    read_j: Callable[[], float]
    """Takes a millisecond or two at most. Raises EnergyUnavailable where it cannot be read any longer."""
    range_j: float = 0.0
    """Where it begins anew; 0 where it never does."""


class EnergyUnavailable(Exception):
    """The energy of a device cannot be read; the text says why."""


class Flow(ABC):
    """Inference steps that overlap, `in_flight` of them at any moment: how a runtime keeps its device full.

    It has a lifetime of its own: what it compiled beside the step goes with `close()`.
    """

    in_flight: int
    setting: Mapping[str, int]
    """What was chosen, for the row: streams, threads of each, requests."""

    @abstractmethod
    def run(self, least: int, seconds: float) -> Sequence[tuple[int, int]]:
        """Runs steps for `seconds` and at least `least` of them, and returns when all are complete.

        Returns of each step when it was started and when all of its outputs were complete, in nanoseconds of
        `time.perf_counter_ns`. Batches rotate.
        """

    @abstractmethod
    def outputs(self) -> Iterable[tuple[int, Mapping[str, NDArray[np.generic]]]]:
        """Yields (number of the batch, its outputs on the host) of every buffer that the steps so far wrote into."""

    @abstractmethod
    def effective(self) -> Effective:
        """Returns what the runtime says of the flow, as `Step.effective` does of the step."""

    def close(self) -> None:  # noqa: B027 - a default: most need nothing
        """Gives back what the flow holds beside its step."""


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

    def mark(self) -> object:
        """Returns a token for all steps enqueued so far, without waiting."""
        return None

    def wait(self, token: object) -> None:
        """Returns when the steps that `token` stands for are complete, while later ones may still run."""
        self.sync()

    def flows(self) -> Sequence[Callable[[], Flow]]:
        """Returns ways to run inference steps that overlap, each opened by a call; the fastest is taken.

        None where steps queue behind each other (`mark` and `wait`), or cannot overlap (`Adapter.overlap`).
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


@dataclass(frozen=True)
class KnownFailure:
    """A declared failure: where it happens, why, and the link that says so."""

    workload: str
    phase: str
    reason: str
    link: str

    def covers(self, workload: str, phase: str) -> bool:
        """Whether this is where it fails."""
        return (self.workload, self.phase) == (workload, phase)


class Adapter(ABC):
    """One runtime on one kind of device. Class attributes declare; nothing here imports the runtime."""

    device_kind: ClassVar[str]
    """What `Step.effective()["device"]` must say: `cpu`, `cuda`, `tpu` …"""
    phases: ClassVar[tuple[str, ...] | None] = None
    """The programs that it runs; None: all."""
    precisions: ClassVar[tuple[str, ...]] = (DEFAULT.name,)
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

    def is_serial(self, program: Program) -> bool:
        """Returns whether steps of `program` cannot overlap."""
        return self.overlap == "none" or (self.overlap == "stateless" and bool(program.state))

    def why_unsupported(self, phase: str, precision: str) -> tuple[str, str] | None:
        """Returns (reason code, reason) where this runtime cannot do it at all, else None.

        The code is `phase_not_supported` or `precision_not_supported`.
        """
        if self.phases is not None and phase not in self.phases:
            reason = f"{self.name} has no {phase} phase; it has: {', '.join(self.phases)}"
            return "phase_not_supported", reason
        if precision not in self.precisions:
            reason = f"{self.name} cannot run in {precision}; it can in: {', '.join(self.precisions)}"
            return "precision_not_supported", reason
        return None

    def chosen_options(self, given: Mapping[str, str]) -> dict[str, str]:
        """Returns every option with its value: the one given, else the default. Raises ValueError for another one."""
        for name, value in given.items():
            if name not in self.options:
                known = ", ".join(self.options) or "none"
                raise ValueError(f"{self.name} has no option {name!r}; it has: {known}")
            if value not in self.options[name]:
                raise ValueError(f"{self.name}: {name} is {value!r}; expected one of: {', '.join(self.options[name])}")
        return {name: given.get(name, values[0]) for name, values in self.options.items()}

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
