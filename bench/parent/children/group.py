"""A group: cells that a printed ratio compares, each in a child of its own, measured side by side in rounds.

Each child is prepared and verified once, and stopped. In each round every child, in fresh random order, runs a short
slice between two readings of the control; all others stand still meanwhile. At the end each is verified once more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import ceil
from random import Random
from statistics import median
from time import monotonic
from typing import Any

from bench.cell import Cell
from bench.effort import Effort
from bench.parent.children.child import Child, wait_for
from bench.parent.children.control import Control, Reading
from bench.parent.children.member import Measured, Member, Ready, Slice
from host.memory import available_bytes, held_bytes
from results.record import rounds
from results.record.human import ratio as ratio_in_words
from results.record.human import time_in_words

AT_ONCE = 2
"""Children that are prepared beside each other, where cores and memory allow."""
AT_LEAST = 2
"""So many cells are in each part of a group, the first one and another: whatever memory says."""
STOPPED = ("cpu", "none", "fake")
"""Kinds of device whose children are stopped between slices; those of others wait for their next command."""
LOOKS_APART = 1.2
"""A rule that looks after every round stops on luck; looks this factor apart hold coverage (`tests.qa coverage`)."""
LONGER = 2.5
"""Times the least rounds that are wanted, a group goes on whose rounds were left out, until it has the least."""


@dataclass
class Group:
    """Measures cells side by side, the first of them the one that the others' ratios refer to."""

    effort: Effort
    random: Random
    longest_stage_s: float | None = None
    control: Control | None = None
    stops_at_failure: bool = False
    """Whether nothing is timed once a cell has failed: what `-x` says."""
    first_round: int = 0
    """Number of the next round: those of several generations of a group differ, and of its parts."""
    say: Callable[[str], None] = lambda text: None
    on_slice: Callable[[Cell, int, Slice], None] = lambda cell, number, one: None

    def run(self, cells: Sequence[Ready]) -> dict[Cell, Measured]:
        """Returns what came of each cell, but of those that were not timed because another one failed.

        Cells that do not fit into memory together are measured in parts, the first one in each of them. What ended
        for want of memory beside others has a part of its own.
        """
        measured: dict[Cell, Measured] = {}
        waiting = list(cells)
        while waiting:
            with ExitStack() as stack:
                members = self._members = self._prepared(waiting, stack)
                why, is_stopped = "", self._stops(members)
                if not is_stopped:
                    late = self._settle(members)
                    members = self._members = [member for member in members if member not in late]
                    waiting[:0] = [member.ready for member in late]
                    is_stopped = self._stops(members)
                if not is_stopped:
                    why = self._rounds([member for member in members if member.is_alive])
                again = [] if is_stopped else [one for one in members if self._ran_out_beside(one, members)]
                for member in members:
                    if member not in again and not (member.is_alive and is_stopped):
                        measured[member.ready.cell] = self._finished(member, measured.get(member.ready.cell), why)
            if is_stopped:
                break
            if apart := [member.ready for member in again if member.ready.cell not in measured]:
                self._say_apart(apart)
                waiting += apart
                self._hungry |= {ready.cell for ready in apart}
            first = measured.get(cells[0].cell)
            self._begins_again = bool(waiting) and first is not None and first.outcome.status == "ok"
            if self._begins_again:
                waiting.insert(0, cells[0])
        return measured

    def _ran_out_beside(self, member: Member, members: Sequence[Member]) -> bool:
        """Returns whether it ended for want of memory, which others had: that says nothing of itself."""
        is_out = not member.is_alive and member.child.outcome.status == "out_of_memory"
        return is_out and len(members) > 1 and member.ready.cell not in self._hungry

    def _stops(self, members: Sequence[Member]) -> bool:
        """Returns whether nothing is timed, since a cell has failed that is not known to."""
        ended = [member for member in members if not member.is_alive and not member.ready.is_known_to_fail]
        return self.stops_at_failure and not all(self._ran_out_beside(member, members) for member in ended)

    def _prepared(self, waiting: list[Ready], stack: ExitStack) -> list[Member]:
        """Starts as many of `waiting` as memory has room for, in their order, and takes them from the list.

        At least one, and the first one never alone where it was measured before. All are stopped when this returns.
        """
        members: list[Member] = []
        peak = 0
        while waiting:
            room = available_bytes()
            batch: list[Ready] = []
            for ready in waiting[:AT_ONCE]:
                need = max(ready.need_bytes, peak)
                if ready.cell in self._hungry and len(members) + len(batch) > self._begins_again:
                    break
                is_needed = len(members) + len(batch) == 0 or (len(members) + len(batch) == 1 and self._begins_again)
                if room is not None and room < need and not is_needed:
                    break
                room = None if room is None else room - need
                batch.append(ready)
            if not batch:
                self._say_apart(waiting)
                break
            is_full = batch[-1].cell in self._hungry
            del waiting[: len(batch)]
            started = [self._start(ready, stack) for ready in batch]
            for member in started:
                # Elsewhere nothing ends a stopped child whose parent was killed.
                member.child.is_stoppable = member.ready.device_kind in STOPPED and sys.platform == "linux"
            wait_for([member.child for member in started], Child.park)
            peak = max([peak, *(held_bytes(member.child.pid, "peak") or 0 for member in started)])
            members += started
            if is_full:
                break
        return members

    _begins_again: bool = field(default=False, init=False)
    """Whether the first cell is there for the others' sake only: it was measured before."""
    _hungry: set[Cell] = field(default_factory=set, init=False)
    """Those that ended for want of memory beside others: each has a part of its own, beside the first one."""
    _members: Sequence[Member] = field(default=(), init=False)
    _last: Reading | None = field(default=None, init=False)
    """The reading behind the last slice, where nothing was done since."""

    def _start(self, ready: Ready, stack: ExitStack) -> Member:
        child = Child(ready.job, ready.log, ready.cell.threads, self.longest_stage_s, ready.side, ready.asked)
        return Member(ready, stack.enter_context(child))

    def _ask(self, member: Member, command: Mapping[str, Any]) -> Mapping[str, Any] | None:
        answer = member.child.ask(command)
        member.child.park()
        return answer

    def _settle(self, members: Sequence[Member]) -> list[Member]:
        """Has each child see that its step waits, and warm up, while all others stand still.

        Its first steps take memory too. Those for which there is less room than another one took are ended, and
        returned: they are measured later.
        """
        grown = 0
        for place, member in enumerate(members):
            room = available_bytes()
            if place >= AT_LEAST and room is not None and room < grown:
                late = [one for one in members[place:] if one.is_alive]
                for one in late:
                    one.child.end()
                self._say_apart([one.ready for one in late])
                return late
            before, peak = self._held(member)
            if member.is_alive and (answer := self._ask(member, {"do": "settle"})) is not None:
                member.step_s, member.is_serial = answer["step_s"], answer["is_serial"]
                after, top = self._held(member)
                grown = max(grown, (top if top > peak else after) - before)
                said = "verified" if answer.get("is_proven", True) else "not verified"  # older checkouts leave it out
                self.say(f"    {member.ready.cell.title}: {said}, about {time_in_words(member.step_s)} per step")
        return []

    def _held(self, member: Member) -> tuple[int, int]:
        """Returns the bytes of memory that it holds, and has ever held at once."""
        now, peak = (held_bytes(member.child.pid, which) or 0 for which in ("now", "peak"))
        return now, peak

    def _say_apart(self, waiting: Sequence[Ready]) -> None:
        names = ", ".join(ready.cell.name for ready in waiting)
        self.say(f"    no room in memory beside these for {names}: measured apart, beside the first again")

    def _rounds(self, members: Sequence[Member]) -> str:
        """Measures in rounds until every ratio is sure enough, or the time is spent; at least so many as are wanted.

        Returns why they ended.
        """
        effort = self.effort
        budget_s, begun, done, next_look = effort.budget_s * len(members), monotonic(), 0, effort.min_rounds
        active, self._last = list(members), None
        while active and (done < LONGER * effort.min_rounds or monotonic() - begun < budget_s):
            self.random.shuffle(active)
            for member in active:
                self._slice(member, self.first_round + done)
            done += 1
            active = [member for member in active if member.is_alive]
            if active and done >= next_look:
                self._tell(members, done)
                active = self._uncertain(members, is_late=monotonic() - begun >= budget_s)
                next_look = ceil(LOOKS_APART * done)
        self.first_round += done
        return "budget" if monotonic() - begun >= budget_s else "precise"

    def _slice(self, member: Member, number: int) -> None:
        before = () if self.control is None else (self.control.settled(self._last),)
        with_throughput = member.is_serial or member.throughputs(self.control) < self.effort.min_rounds
        command = {"do": "slice", "number": number, "seconds": self.effort.slice_s, "with_throughput": with_throughput}
        if member.ready.device_kind not in STOPPED:
            command["beside"] = self._beside(member)
        answer = self._ask(member, command)
        if answer is None:
            self._last = None
            return
        after = () if self.control is None else (self.control.read(),)
        self._last = after[-1] if after else None
        one = member.slices[number] = Slice(**answer, readings=(*before, *after))
        self.on_slice(member.ready.cell, number, one)

    def _beside(self, member: Member) -> int:
        """Returns how many others of the group have something on the member's device."""
        on = (member.ready.device_kind, member.ready.cell.device_index)
        return sum(
            one is not member and one.is_alive and (one.ready.device_kind, one.ready.cell.device_index) == on
            for one in self._members
        )

    def _uncertain(self, members: Sequence[Member], is_late: bool) -> list[Member]:
        """Returns the cells that need more rounds, with those that they are compared with; none where all is well.

        Late in its time a group goes on only for cells that lack rounds.
        """
        latency = {member.ready.cell: member.latency(self.control) for member in members if member.is_alive}
        first, *_ = latency
        measured = [cell for cell, of_rounds in latency.items() if of_rounds]
        fastest = min(measured, key=lambda cell: median(latency[cell].values()), default=first)
        beside = dict.fromkeys((first, fastest))
        wanted = {
            cell
            for cell in latency
            if any(self._is_unsure(latency[one], latency[cell], is_late) for one in beside if one != cell)
            or len(latency[cell]) < self.effort.min_rounds
        }
        active = wanted | set(beside) if wanted else wanted
        return [member for member in members if member.ready.cell in active]

    def _tell(self, members: Sequence[Member], done: int) -> None:
        """Says how the cells stand to the first one, as far as is known."""
        first, *others = members
        known = first.latency(self.control)
        words = []
        for other in others:
            ratio = rounds.paired(other.latency(self.control), known)
            ratio = ratio and rounds.between_processes(ratio, 1, 2)
            if ratio is not None and ratio.low is not None:
                words.append(f"{other.name} {ratio_in_words(ratio.value)} ±{100 * ratio.half_width:.0f}%")
        if words:
            self.say(f"    after {done} rounds, as fast as {first.name}: {', '.join(words)}")

    def _is_unsure(self, one: rounds.Rounds, other: rounds.Rounds, is_late: bool) -> bool:
        """Returns whether two cells have too few rounds in common, or are not held apart narrowly enough."""
        ratio = rounds.paired(one, other)
        if ratio is None or ratio.n < self.effort.min_rounds:
            return True
        return not is_late and ratio.half_width > self.effort.relative_half_width

    def _finished(self, member: Member, earlier: Measured | None, why: str) -> Measured:
        """Has the child verify its step once more and report; returns what came of the cell, in an earlier part too."""
        kept = member.kept(self.control)
        if member.is_alive:
            member.child.ask({"do": "finish", "kept": sorted(kept or member.slices)})
            member.child.end()
        readings = [reading for one in kept.values() for reading in one.readings]
        columns = {"stop_reason": why} | ({} if self.control is None else self.control.columns(readings))
        measured = Measured(member.child.outcome, kept, len(member.slices) - len(kept), columns)
        if earlier is None:
            return measured
        if measured.outcome.status != "ok":  # what it did at any time counts
            return measured
        return Measured(
            earlier.outcome, {**earlier.kept, **kept}, earlier.left_out + measured.left_out, earlier.columns
        )
