"""Nothing: its step computes nothing, so that its row is the harness's own cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from backends.base import Adapter, NoOperators, Operator, Probe, Request, Step
from workloads.catalog import MODELS

if TYPE_CHECKING:
    from numpy.typing import NDArray


class NullStep(Step):
    """A step that returns at once."""

    def __init__(self, precision: str) -> None:
        self.precision = precision

    def compile(self) -> None: ...

    def step(self, i: int) -> None: ...

    def sync(self) -> None: ...

    def touch(self) -> None: ...

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        return {}

    def state(self) -> Iterator[tuple[str, NDArray[Any]]]:
        return iter(())

    def operators(self, steps: int) -> list[Operator]:
        raise NoOperators("it computes nothing")

    def effective(self) -> Mapping[str, str | int | float | bool]:
        return {"device": "none", "precision": self.precision}


class Null(Adapter):
    """Cannot be verified, and enters no ratio."""

    device_kind = "none"
    serial_phases = ("infer", "train")
    verifiable = False
    workloads = MODELS

    def probe(self) -> Probe:
        return Probe("usable", "none")

    def load(self, threads: int) -> None: ...

    def prepare(self, request: Request) -> Step:
        return NullStep(request.precision)
