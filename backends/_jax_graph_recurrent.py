"""JAX: PyTorch's recurrent layers, as scans over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from backends._jax_graph_dtypes import Function
from workloads.ops import Array

Carry = tuple[Array, ...]
Cell = Callable[[Carry, Array, Array, Array], Carry]
"""`cell(carry, of_input, weight, bias)` returns the next carry, its first the hidden state (N, H).

`of_input` (N, gates H) is what the input contributes, its bias included; `weight` and `bias` are those of the hidden
state.
"""


def lstm_cell(carry: Carry, of_input: Array, weight: Array, bias: Array) -> Carry:
    """Long short-term memory (Hochreiter & Schmidhuber 1997), PyTorch's order of gates: in, forget, cell, out."""
    h, c = carry
    i, f, g, o = jnp.split(of_input + h @ weight.T + bias, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru_cell(carry: Carry, of_input: Array, weight: Array, bias: Array) -> Carry:
    """Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), PyTorch's order of gates: reset, update, new."""
    (h,) = carry
    reset, update, new = jnp.split(of_input, 3, axis=-1)
    of_h = jnp.split(h @ weight.T + bias, 3, axis=-1)
    r, z = jax.nn.sigmoid(reset + of_h[0]), jax.nn.sigmoid(update + of_h[1])
    n = jnp.tanh(new + r * of_h[2])
    return (n + z * (h - n),)


def simple_cell(activation: Callable[[Array], Array]) -> Cell:
    """Returns the cell of Elman's network with that activation."""
    return lambda carry, of_input, weight, bias: (activation(of_input + carry[0] @ weight.T + bias),)


def layer(
    cell: Cell, x: Array, carry: Carry, parameters: Sequence[Array], projection: Array | None, is_reversed: bool
) -> tuple[Array, Carry]:
    """Returns one layer in one direction over `x` (T, N, in), as (T, N, H), and its last carry.

    A projection (P, H) makes (T, N, P) of it, and hidden states of that width (Sak et al. 2014, arXiv:1402.1128).
    """
    weight_ih, weight_hh, *biases = parameters
    bias_ih, bias_hh = biases or (jnp.zeros((), x.dtype), jnp.zeros((), x.dtype))

    def step(held: Carry, of_input: Array) -> tuple[Carry, Array]:
        hidden, *others = cell(held, of_input, weight_hh, bias_hh)
        if projection is not None:
            hidden = hidden @ projection.T
        return (hidden, *others), hidden

    last, hidden = jax.lax.scan(step, carry, x @ weight_ih.T + bias_ih, reverse=is_reversed)
    return hidden, last


def recurrent(cell: Cell) -> Function:
    """Returns PyTorch's layers of that cell: outputs, and the last state of each layer and direction."""

    def run(
        x: Array,
        first: Sequence[Array] | Array,
        parameters: Sequence[Array],
        has_biases: bool,
        num_layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> tuple[Array, ...]:
        directions, each = 2 if bidirectional else 1, 4 if has_biases else 2
        per_layer = len(parameters) // (num_layers * directions)
        if dropout and train and num_layers > 1:
            raise ValueError(f"dropout {dropout} between layers is another computation in every step")
        states = first if isinstance(first, list) else [first]
        y = jnp.swapaxes(x, 0, 1) if batch_first and x.ndim == 3 else x
        lasts: list[Carry] = []
        for depth in range(num_layers):
            both = []
            for direction in range(directions):
                at = depth * directions + direction
                own = parameters[at * per_layer : (at + 1) * per_layer]
                projection = own[each] if per_layer > each else None
                first_of_layer = tuple(state[at] for state in states)
                hidden, last = layer(cell, y, first_of_layer, own[:each], projection, direction == 1)
                both.append(hidden)
                lasts.append(last)
            y = jnp.concatenate(both, -1) if len(both) > 1 else both[0]
        y = jnp.swapaxes(y, 0, 1) if batch_first and x.ndim == 3 else y
        return (y, *(jnp.stack(part) for part in zip(*lasts, strict=True)))

    return run


RECURRENT: Mapping[str, Any] = {
    "gru.input": recurrent(gru_cell),
    "lstm.input": recurrent(lstm_cell),
    "rnn_relu.input": recurrent(simple_cell(jax.nn.relu)),
    "rnn_tanh.input": recurrent(simple_cell(jnp.tanh)),
}
