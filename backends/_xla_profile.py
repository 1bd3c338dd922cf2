"""What a profile of XLA says of operators: its fusions have names of no meaning, and are known by what is in them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from backends._operator_kinds import KINDS, kind_of
from backends.base import NoOperators, Operator

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?(\S+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?(\S+) = .*? ([a-z][a-z0-9-]*)\(")
_CALLED = re.compile(r"(?:calls|to_apply|body)=%?([\w.-]+)")
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_SCOPE = re.compile(r"\b(batch_norm|layer_norm|gelu|attention|cross_entropy)\b")
"""The scopes of `JaxOps`."""
_HEAVY = ("dot", "convolution")
"""Opcodes that say more than the scope they are in, but for the products of attention."""
_CONTAINERS = ("fusion", "call", "while", "conditional")
_WEIGHTLESS = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "broadcast", "convert")


def names_of(hlo: str) -> dict[str, str]:
    """Returns, for each instruction of an optimised HLO module, a name that says what is in it: `dot+add+tanh`.

    A part is the scope of `JaxOps` that it comes from, `optimizer` for what no differentiation has passed through in a
    module where one has, else the opcode. Parts stand in the order of `KINDS`.
    """
    parts: defaultdict[str, set[str]] = defaultdict(set)  # by computation
    own: dict[str, set[str]] = {}  # by instruction
    called: dict[str, str] = {}
    has_gradient = "jvp(" in hlo
    computation = ""
    for line in hlo.splitlines():
        if header := _COMPUTATION.match(line):
            computation = header[1]
        elif instruction := _INSTRUCTION.match(line):
            name, opcode = instruction.groups()
            part = {opcode} if opcode in _WEIGHTLESS else {_part(opcode, line, has_gradient)}
            if opcode in _CONTAINERS and (inner := _CALLED.search(line)):
                called[name] = inner[1]
                part = set()
            own[name] = part
            parts[computation] |= part
    names = {}
    for name, part in own.items():
        inside = part or parts[called.get(name, "")]
        inside = (inside - {*_WEIGHTLESS}) or (inside - {"parameter"}) or inside
        names[name] = "+".join(sorted(inside, key=lambda one: (KINDS.index(kind_of(one)), one)))
    return names


def _part(opcode: str, line: str, has_gradient: bool) -> str:
    op_name = _OP_NAME.search(line)
    path = op_name[1] if op_name else ""
    scope = _SCOPE.search(path)
    if scope and (opcode not in _HEAVY or scope[1] == "attention"):
        return scope[1]
    if has_gradient and "/" in path and "jvp(" not in path:
        return "optimizer"
    return opcode


def operators_of(planes: Iterable[Any], hlo: str, steps: int) -> list[Operator]:
    """Returns the times in a profile of `steps` steps of the module `hlo`, those of its devices where it has any.

    An instruction that runs others, such as a loop, counts without them. Raises `NoOperators` where none is timed.
    """
    names = names_of(hlo)
    listed = list(planes)
    devices = [plane for plane in listed if plane.name.startswith("/device:")] or listed
    seconds: defaultdict[str, float] = defaultdict(float)
    calls: Counter[str] = Counter()
    for plane in devices:
        for line in plane.lines:
            timed = []
            for event in line.events:
                op = dict(event.stats).get("hlo_op")
                if op is not None:
                    name = names.get(str(op), str(op))
                    timed.append((event.start_ns, -event.duration_ns, name))
            for name, self_ns in _self_times(timed):
                seconds[name] += self_ns * 1e-9 / steps
                calls[name] += 1
    if not seconds:
        raise NoOperators("XLA's profile times no instruction here")
    return [Operator(name, seconds[name], calls[name] / steps) for name in seconds]


def _self_times(timed: list[tuple[float, float, str]]) -> list[tuple[str, float]]:
    """Returns (name, ns without what lies within it) of (start, -duration, name) on one thread."""
    times: list[list[Any]] = []
    within: list[tuple[float, list[Any]]] = []  # (end, entry) of those that are still open
    for start, minus, name in sorted(timed):
        while within and within[-1][0] <= start:
            within.pop()
        if within:
            within[-1][1][1] += minus
        entry = [name, -minus]
        times.append(entry)
        within.append((start - minus, entry))
    return [(name, max(0.0, ns)) for name, ns in times]
