"""The control in every round: a child that multiplies, and the rule by which a slice beside a slow reading is left out.

What a neighbour or the hypervisor takes on a shared machine no counter of a guest shows. The rule looks at the control
alone, never at a cell's own number.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from time import monotonic, sleep
from typing import Any

from bench.parent.children.child import Child, wait_for

SLOWER = 0.15
"""A reading that took so much longer than what is usual is low: twice the spread of readings on a quiet machine."""
FIRST_READINGS = 8
TRIES = 2
"""How often the control is started for a reading: somebody may kill it, once."""
PAUSE_S, PATIENCE_S = 0.2, 3.0
"""How long a low machine is waited for before a slice, and how often it is looked at meanwhile."""


@dataclass(frozen=True)
class Reading:
    """Seconds of a product on one thread alone and on all together, and what these are worth beside one."""

    alone_s: float
    together_s: float
    worth: float


@dataclass
class Control:
    """Reads the machine, and knows what is usual for it in this run: the faster quartile of its readings."""

    cpus: Sequence[int]
    log: Path
    readings: list[Reading] = field(default_factory=list, init=False)
    _child: Child | None = field(default=None, init=False)
    _usual: tuple[int, Reading] | None = field(default=None, init=False)

    def read(self) -> Reading:
        """Returns what the machine gives now; the child is stopped again when this returns."""
        child = self._child
        for _ in range(TRIES):
            if child is None or child.is_over:
                child = self._child = Child({"job": "control", "cpus": list(self.cpus)}, self.log, 1)
                child.is_stoppable = sys.platform == "linux"
                wait_for([child])
            answer = None if child.is_over else child.ask({"do": "read"})
            if answer is not None:
                child.park()
                self.readings.append(Reading(**answer))
                return self.readings[-1]
        reason = "" if child is None else child.outcome.reason
        raise RuntimeError(f"the control ended, {TRIES} times: {reason}; see {self.log}")

    def begin(self) -> None:
        """Takes the first readings, from which it is known what is usual."""
        while len(self.readings) < FIRST_READINGS:
            self.read()

    def settled(self, last: Reading | None = None) -> Reading:
        """Returns a reading that is not low, or the last one where patience ends; `last` is one of this moment."""
        if last is not None and not self.is_low(last):
            return last
        begun = monotonic()
        while self.is_low(reading := self.read()) and monotonic() - begun < PATIENCE_S:
            del self.readings[-1]  # one for each slice: what is usual is no matter of how long was waited
            self._usual = None
            sleep(PAUSE_S)
        return reading

    @property
    def usual(self) -> Reading:
        """The faster quartile of the run's readings."""
        if len(self.readings) < 2:
            return self.readings[0]
        if self._usual is not None and self._usual[0] == len(self.readings):
            return self._usual[1]

        def quartile(values: list[float], which: int) -> float:
            return quantiles(values, n=4, method="inclusive")[which]

        usual = Reading(
            quartile([one.alone_s for one in self.readings], 0),
            quartile([one.together_s for one in self.readings], 0),
            quartile([one.worth for one in self.readings], 2),
        )
        self._usual = (len(self.readings), usual)
        return usual

    def slower(self, reading: Reading) -> float:
        """Returns by what part the threads together were slower than usual."""
        return reading.together_s / self.usual.together_s - 1

    def is_low(self, reading: Reading) -> bool:
        """Returns whether a slice beside this reading is left out."""
        return self.slower(reading) > SLOWER

    def close(self) -> None:
        """Ends the child."""
        if self._child is not None:
            self._child.end()

    @property
    def process(self) -> int | None:
        """The child's process id, None where none has been started."""
        return None if self._child is None else self._child.pid

    def columns(self, readings: Sequence[Reading]) -> dict[str, Any]:
        """Returns what is said of the readings beside the slices that count, as columns of a row."""
        if not readings:
            return {}
        together_s = median(one.together_s for one in readings)
        return {
            "threads_worth": median(one.worth for one in readings) if len(self.cpus) > 1 else None,
            "machine_slower": max(0.0, together_s / self.usual.together_s - 1),
            "control_s": together_s,
        }
