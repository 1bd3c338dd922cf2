"""Cells under a load, beside each other: each round of a closed loop in random order, an open loop one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.parent.children.group import Group
from bench.parent.children.member import Member


@dataclass
class Loads(Group):
    """A group whose members serve queries; while one does, the others are stopped."""

    parts: Sequence[tuple[int, float]] = field(default=(), kw_only=True)
    """Of each round the queries, and its least duration in seconds."""

    def _rounds(self, members: Sequence[Member]) -> str:
        active = list(members)
        for queries, duration_s in self.parts:
            self.random.shuffle(active)
            for member in active:
                self._ask(member, {"do": "serve", "queries": queries, "duration_s": duration_s})
            active = [member for member in active if member.is_alive]
        return "precise"
