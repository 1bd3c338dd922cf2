"""Prompts that no server has seen: from a seed, with a salt, of an exact number of tokens, no two with one beginning.

Servers keep what they computed for the beginning of a prompt, and answer a known one without computing it. So the first
symbols of a prompt are the digits of its number, shuffled by the salt, the last digit first: two prompts of a run
differ within `n_distinct` symbols, in the first one where the run has no more prompts than there are symbols. The rest
is drawn anew for every prompt. Another salt gives other prompts, for servers that were not started anew.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import shake_256
from math import gcd

ENOUGH = 2**32
"""No run has more requests: so many numbers have prompts."""


def n_distinct(n_symbols: int) -> int:
    """Returns within how many symbols any two of `ENOUGH` prompts differ, of `n_symbols` different ones."""
    if n_symbols < 2:
        raise ValueError(f"{n_symbols} symbols make no different prompts: at least 2 are needed")
    count = 1
    while n_symbols**count < ENOUGH:
        count += 1
    return count


def drawn(number: int, length: int, n_symbols: int, seed: int, salt: str) -> tuple[int, ...]:
    """Returns the symbols, numbers below `n_symbols`, of prompt `number`; the same on every machine, for good.

    Raises ValueError where so short a prompt cannot differ from all others.
    """
    width = min(n_distinct(n_symbols), length)
    if length < 1 or not 0 <= number < n_symbols**width:
        raise ValueError(f"no prompt {number}: {length} symbols of {n_symbols} give {n_symbols**width} different ones")
    factor, offset = struct.unpack("<QQ", _stream(seed, salt, "digits", 16))
    while gcd(factor, n_symbols) != 1:
        factor += 1
    shuffled = (number * factor + offset) % n_symbols**width
    digits = [shuffled // n_symbols**place % n_symbols for place in range(width)]
    # 64 bits for each, so that none of some 10⁵ symbols is likelier than another by more than 10⁻¹⁴.
    rest = struct.unpack(f"<{length - width}Q", _stream(seed, salt, str(number), 8 * (length - width)))
    return (*digits, *(value % n_symbols for value in rest))


@dataclass(frozen=True)
class IdPrompts:
    """Prompts as lists of `n_tokens` token ids, of a vocabulary of `vocabulary_size` without `excluded` ones.

    Exclude the ids with a meaning of their own: a model's beginning, end and padding.
    """

    vocabulary_size: int
    n_tokens: int
    seed: int
    salt: str
    excluded: Collection[int] = ()

    @cached_property
    def ids(self) -> Sequence[int]:
        """The ids that prompts consist of."""
        without = frozenset(self.excluded)
        return [one for one in range(self.vocabulary_size) if one not in without]

    def __call__(self, number: int) -> tuple[int, ...]:
        """Returns prompt `number`. Raises ValueError where there are no more."""
        symbols = drawn(number, self.n_tokens, len(self.ids), self.seed, self.salt)
        return tuple([self.ids[symbol] for symbol in symbols])


def _stream(seed: int, salt: str, purpose: str, n_bytes: int) -> bytes:
    return shake_256(f"{seed}\0{salt}\0{purpose}".encode()).digest(n_bytes)
