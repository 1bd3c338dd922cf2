"""What language models have in common when they are served: prefill, and decode against a cache that stays in place.

A decode step at depth D goes on from a prompt of D - W tokens: step i feeds a fixed token at position D - W + i % W, so
that the same W places are written again, lap after lap, without a reset. In the second lap a mask that lets stale
entries through is seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from workloads.ops import Array, Ops, Parameters
from workloads.program import Checks, Outputs, Program, Prompt, Work
from workloads.specs import InputSpec, ParameterSpec, StateSpec

Attend = Callable[[Array, Array, Array], Array]
"""Attention of one block: `attend(query, key, value)`, each (B, heads, T, D), of the new tokens."""
Logits = Callable[[Ops, Parameters, Array, Array, list[Attend]], Array]
"""`logits(ops, p, ids, positions, attends)` of the last of the tokens, as (B, 1, vocabulary)."""


@dataclass(frozen=True)
class Serving:
    """A decode step's depth, the window of positions that it goes through, and the places that its cache has."""

    depth: int
    window: int
    capacity: int

    def at(self, depth: int) -> Serving:
        """Returns the same at another depth; the cache is as large as for the others, or a power of two that holds it.

        Raises ValueError where there is no prompt before the window.
        """
        if depth <= self.window:
            raise ValueError(f"depth must be over {self.window}, the positions that its steps go through; got {depth}")
        return Serving(depth, self.window, max(self.capacity, 1 << (depth - 1).bit_length()))


def served(logits: Logits, n_layer: int) -> Callable[[Ops, Parameters, Parameters], Outputs]:
    """Returns prefill: the logits of the last position, and the keys and values of all, as `cache.k.0` …"""

    def prefill(ops: Ops, p: Parameters, batch: Parameters) -> Outputs:
        last, caches = _whole(ops, p, batch["input_ids"], logits, n_layer)
        return {"logits": last} | caches

    return prefill


def cached(
    logits: Logits,
    heads: tuple[int, int, int],
    serving: Serving,
    batch: int,
    vocab_size: int,
    constants: tuple[ParameterSpec, ...],
) -> Program:
    """Returns decode: one token for each sequence. `heads` are the layers, their heads of keys, and the head's size.

    Compared are the logits of two laps, and the cache behind them.
    """
    n_layer, n_heads, width = heads
    first = serving.depth - serving.window
    names = [f"cache.{part}.{i}" for i in range(n_layer) for part in ("k", "v")]
    shape = (batch, n_heads, serving.capacity, width)

    def step(ops: Ops, p: Parameters, state: Parameters, batch: Parameters) -> tuple[Outputs, dict[str, Array]]:
        start, held = batch["start"], dict(state)

        def attend_in(i: int) -> Attend:
            def attend(q: Array, k: Array, v: Array) -> Array:
                for part, new in (("k", k), ("v", v)):
                    held[f"cache.{part}.{i}"] = ops.cache_update(held[f"cache.{part}.{i}"], new, start)
                return ops.cached_attention(q, held[f"cache.k.{i}"], held[f"cache.v.{i}"], start)

            return attend

        positions = ops.reshape(start, (-1, 1))
        last = logits(ops, p, batch["input_ids"], positions, [attend_in(i) for i in range(n_layer)])
        return {"logits": last}, held

    def fill(ops: Ops, p: Parameters, ids: Array) -> dict[str, Array]:
        return _whole(ops, p, ids, logits, n_layer)[1]

    return Program(
        inputs=(
            InputSpec("input_ids", (batch, 1), "int64", high=vocab_size),
            InputSpec("start", (batch,), "int64", first=first),
        ),
        step=step,
        checks=Checks(2 * serving.window, "output", state_after=2 * serving.window - 1),
        work=Work(batch, tokens_written=batch),
        constants=constants,
        state=tuple(StateSpec(name, shape, name) for name in names),
        n_batches=serving.window,
        prompt=Prompt(InputSpec("prompt_ids", (batch, first), "int64", high=vocab_size), fill),
        keys_seen=first + (serving.window + 1) / 2,
    )


def _whole(ops: Ops, p: Parameters, ids: Array, logits: Logits, n_layer: int) -> tuple[Array, dict[str, Array]]:
    """Returns the logits of the last of whole sequences, and their keys and values."""
    caches: dict[str, Array] = {}

    def attend_in(i: int) -> Attend:
        def attend(q: Array, k: Array, v: Array) -> Array:
            caches[f"cache.k.{i}"], caches[f"cache.v.{i}"] = k, v
            return ops.attention(q, k, v, causal=True)

        return attend

    positions = ops.arange(ids.shape[1], like=ids)
    last = logits(ops, p, ids, positions, [attend_in(i) for i in range(n_layer)])
    return last, caches
