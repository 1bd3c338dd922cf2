"""Inference steps that overlap: what an adapter hands the harness where its runtime takes several at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from backends._records import Effective

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
