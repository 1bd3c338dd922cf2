"""An adapter whose step is one NumPy product and a busy-wait of `planted` parts in a thousand of what that takes."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar

from backends.base import Adapter, Options, Probe, Request, Step
from backends.null import NullStep

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 640


class BusyStep(NullStep):
    """Says that its result is all ones: it is about time."""

    def __init__(self, request: Request) -> None:
        import numpy as np

        super().__init__(request.precision)
        self.square = np.full((SIDE, SIDE), 0.5, np.float32)
        self.product = np.empty_like(self.square)
        self.part = int(request.options["planted"]) / 1000
        self.ones = np.ones((4, 5), np.float32)

    def step(self, i: int) -> None:
        import numpy as np

        start = perf_counter()
        np.matmul(self.square, self.square, out=self.product)
        now = perf_counter()
        end = now + self.part * (now - start)
        while now < end:
            now = perf_counter()

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        return {"logits": self.ones}

    def effective(self) -> Mapping[str, str | int | float | bool]:
        return {"device": "cpu", "precision": self.precision}


class Busy(Adapter):
    """Takes `planted=20` for a step that is 2 % slower."""

    device_kind = "cpu"
    phases = ("infer",)
    serial_phases = ("infer",)
    options: ClassVar[Options] = {"planted": ("0", "10", "20", "500")}

    def probe(self) -> Probe:
        return Probe("usable", "cpu")

    def load(self, threads: int) -> None: ...

    def prepare(self, request: Request) -> Step:
        return BusyStep(request)
