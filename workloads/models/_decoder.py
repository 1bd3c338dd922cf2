"""What language models have in common: the programs of a decoder whose file says its layers and sizes alone.

`infer` is the forward pass over whole sequences, `train` next-token prediction on all parameters, `prefill` the forward
pass that gives the last position's logits and the cache; `decode` is one token for each sequence against a cache that
stays in place. A decode step at depth D goes on from a prompt of D - W tokens: step i feeds a fixed token at position
D - W + i % W, so that the same W places are written again, lap after lap, without a reset. In the second lap a mask
that lets stale entries through is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from workloads.ops import Array, Ops, Parameters, subset
from workloads.optim import AdamW
from workloads.program import Checks, Outputs, Program, Prompt, Work, inference, training
from workloads.specs import InputSpec, ParameterSpec, StateSpec
from workloads.weights.published import Published
from workloads.workload import Workload

Attend = Callable[[Array, Array, Array], Array]
"""Attention of one block: `attend(query, key, value)`, each (B, heads, T, D), of the new tokens."""
Begin = Callable[[Ops, Parameters, Array, "Array | None"], "tuple[Array, Any]"]
"""`begin(ops, p, ids, positions)`: the embedded tokens (B, T, D), and what each block is told of their positions, which
are (T,) or (B, T), or None for 0 … T - 1."""
Block = Callable[[Ops, Array, Parameters, Any, Attend], Array]
"""`block(ops, x, p, told, attend)`: what one block makes of `x` (B, T, D), with its own parameters."""


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


@dataclass(frozen=True)
class Decoder:
    """A language model of one size: its layers, its parameters and its sizes.

    `blocks` is what stands before the number of a block in its parameters' names; `heads` are those of the keys, each
    of `head_size`. `head(ops, x, p)` returns the logits of `x`. `tables` are tensors made by a formula.
    """

    name: str
    size: str
    blocks: str
    n_layer: int
    heads: int
    head_size: int
    vocab_size: int
    n_positions: int
    begin: Begin
    block: Block
    head: Callable[[Ops, Array, Parameters], Array]
    parameters: tuple[ParameterSpec, ...]
    rule: AdamW
    hyperparameters: Mapping[str, float | int | str]
    tables: tuple[ParameterSpec, ...] = ()
    published: Published = field(default_factory=Published)

    def workload(self, batch: int, sequence: int, depth: int | None, serving: Serving) -> Workload:
        """Returns the workload of whole sequences; with `depth` the one that decodes, at that many tokens.

        Raises ValueError where `sequence` or `depth` exceeds the model's positions.
        """
        for name, value in (("sequence", sequence), ("depth", depth or 0)):
            if value > self.n_positions:
                title = f"{self.name}-{self.size}"
                raise ValueError(f"{name} {value} is longer than {title}'s {self.n_positions} positions")
        if depth is None:
            return self._workload(batch, sequence, self._of_whole(batch, sequence))
        served = serving.at(depth)
        return self._workload(batch, None, {"decode": self._decoding(served, batch)}, asdict(served))

    def _workload(
        self, batch: int, sequence: int | None, programs: Mapping[str, Program], more: Mapping[str, int] | None = None
    ) -> Workload:
        return Workload(
            name=self.name,
            size=self.size,
            batch=batch,
            sequence=sequence,
            parameters=self.parameters,
            buffers=self.tables,
            hyperparameters={**self.hyperparameters, **(more or {})},
            published=self.published,
            programs=programs,
        )

    def _of_whole(self, batch: int, sequence: int) -> dict[str, Program]:
        """Returns the programs of whole sequences."""
        constants = self.parameters + self.tables

        def infer(ops: Ops, p: Parameters, batch: Parameters) -> Outputs:
            return {"logits": self._forward(ops, p, batch["input_ids"])}

        def loss(ops: Ops, p: Parameters, batch: Parameters) -> tuple[Array, dict[str, Array]]:
            logits = ops.reshape(self._forward(ops, p, batch["input_ids"]), (-1, self.vocab_size))
            return ops.cross_entropy(logits, ops.reshape(batch["labels"], (-1,))), {}

        def prefill(ops: Ops, p: Parameters, batch: Parameters) -> Outputs:
            last, caches = self._filled(ops, p, batch["input_ids"])
            return {"logits": last} | caches

        ids, labels = (
            InputSpec(name, (batch, sequence), "int64", high=self.vocab_size) for name in ("input_ids", "labels")
        )
        work = Work(batch, tokens_read=batch * sequence)
        return {
            "infer": inference(infer, inputs=(ids,), constants=constants, work=work),
            "train": training(
                loss, self.rule, inputs=(ids, labels), parameters=self.parameters, constants=self.tables, work=work
            ),
            "prefill": inference(prefill, inputs=(ids,), constants=constants, work=work),
        }

    def _forward(self, ops: Ops, p: Parameters, ids: Array) -> Array:
        """Returns the logits (B, T, vocabulary) of every position."""
        x, told = self.begin(ops, p, ids, None)

        def block(x: Array, p: Parameters) -> Array:
            return self.block(ops, x, p, told, lambda q, k, v: ops.attention(q, k, v, causal=True))

        return self.head(ops, ops.repeat(block, x, p, self.blocks, self.n_layer), p)

    def _last(self, ops: Ops, p: Parameters, ids: Array, positions: Array, attends: list[Attend]) -> Array:
        """Returns the logits (B, 1, vocabulary) of the last of the tokens, each block with its own attention."""
        x, told = self.begin(ops, p, ids, positions)
        for i, attend in enumerate(attends):
            x = self.block(ops, x, subset(p, f"{self.blocks}.{i}."), told, attend)
        return self.head(ops, x[:, -1:, :], p)

    def _filled(self, ops: Ops, p: Parameters, ids: Array) -> tuple[Array, dict[str, Array]]:
        """Returns the logits of the last of whole sequences, and the keys and values of all, as `cache.k.0` …"""
        caches: dict[str, Array] = {}

        def attend_in(i: int) -> Attend:
            def attend(q: Array, k: Array, v: Array) -> Array:
                caches[f"cache.k.{i}"], caches[f"cache.v.{i}"] = k, v
                return ops.attention(q, k, v, causal=True)

            return attend

        positions = ops.arange(ids.shape[1], like=ids)
        last = self._last(ops, p, ids, positions, [attend_in(i) for i in range(self.n_layer)])
        return last, caches

    def _decoding(self, serving: Serving, batch: int) -> Program:
        """Returns decode. Compared are the logits of two laps, and the cache behind them."""
        first = serving.depth - serving.window
        names = [f"cache.{part}.{i}" for i in range(self.n_layer) for part in ("k", "v")]
        shape = (batch, self.heads, serving.capacity, self.head_size)

        def step(ops: Ops, p: Parameters, state: Parameters, batch: Parameters) -> tuple[Outputs, dict[str, Array]]:
            start, held = batch["start"], dict(state)
            positions = ops.reshape(start, (-1, 1))
            places = ops.cache_places(start, 1, serving.capacity)
            attends = [_attend_in(ops, held, i, places) for i in range(self.n_layer)]
            return {"logits": self._last(ops, p, batch["input_ids"], positions, attends)}, held

        return Program(
            inputs=(
                InputSpec("input_ids", (batch, 1), "int64", high=self.vocab_size),
                InputSpec("start", (batch,), "int64", first=first),
            ),
            step=step,
            checks=Checks(2 * serving.window, "output", state_after=2 * serving.window - 1),
            work=Work(batch, tokens_written=batch),
            constants=self.parameters + self.tables,
            state=tuple(StateSpec(name, shape, name) for name in names),
            n_batches=serving.window,
            prompt=Prompt(
                InputSpec("prompt_ids", (batch, first), "int64", high=self.vocab_size),
                lambda ops, p, ids: self._filled(ops, p, ids)[1],
            ),
            keys_seen=first + (serving.window + 1) / 2,
        )


def _attend_in(ops: Ops, held: dict[str, Array], i: int, places: Any) -> Attend:
    """Returns the attention of block `i` against its cache in `held`, where the new keys and values come to lie."""

    def attend(q: Array, k: Array, v: Array) -> Array:
        for part, new in (("k", k), ("v", v)):
            held[f"cache.{part}.{i}"] = ops.cache_update(held[f"cache.{part}.{i}"], new, places)
        return ops.cached_attention(q, held[f"cache.k.{i}"], held[f"cache.v.{i}"], places)

    return attend
