"""A JAX step taken apart, into executables of their own: what XLA makes of the whole step has no parts.

`forward` returns its residuals and `backward` takes them, as `jax.vjp` splits them; the whole step need not store what
it can fuse away. Compiled as each part first runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from workloads.ops import Ops, subset

if TYPE_CHECKING:
    from backends._jax import JaxStep


class _Differentiated:
    """Operations whose differentiation has been done already; all else is that of `ops`."""

    def __init__(self, ops: Ops, buffers: Any, gradients: Any) -> None:
        self._ops, self._buffers, self._gradients = ops, buffers, gradients

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ops, name)

    def value_and_grad(self, f: Any, parameters: Any) -> Any:
        """Returns no loss, the buffers after it, and its gradients."""
        return (jnp.zeros(()), self._buffers), self._gradients


class JaxParts:
    """The parts of `step`, on its device and its state."""

    def __init__(self, step: JaxStep) -> None:
        self.step = step
        program, ops = step.program, step.ops

        def forward(constants: Any, state: Any, batch: Any) -> Any:
            assert program.update is not None
            loss, held = program.update.loss, {**constants, **subset(state, "buffer.")}
            of_parameters = subset(state, "parameter.")
            return jax.vjp(lambda p: loss(ops, {**p, **held}, batch), of_parameters, has_aux=True)

        def backward(loss: Any, pull_back: Any) -> Any:
            assert program.update is not None
            return pull_back(jnp.full_like(loss, program.update.loss_scale))[0]

        def optimizer(constants: Any, state: Any, buffers: Any, gradients: Any) -> Any:
            # The program's own step, in which the gradients are not computed again.
            differentiated: Any = _Differentiated(ops, buffers, gradients)
            return program.step(differentiated, constants, state, {})[1]

        self.run_forward = jax.jit(forward)
        self.run_backward = jax.jit(backward)
        self.run_optimizer = jax.jit(optimizer, donate_argnums=1)

    def input_copy(self, i: int) -> None:
        batch = self.step.on_host[i % len(self.step.on_host)]
        jax.block_until_ready(jax.device_put(batch, self.step.device, may_alias=False))

    def infer(self, i: int) -> None:
        self.step.step(i)
        self.step.sync()

    def forward(self, i: int) -> None:
        batch = self.step.batches[i % len(self.step.batches)]
        self.result = jax.block_until_ready(self.run_forward(self.step.constants, self.step.held, batch))

    def backward(self, i: int) -> None:
        loss, pull_back, self.buffers = self.result
        self.gradients = jax.block_until_ready(self.run_backward(loss, pull_back))

    def optimizer(self, i: int) -> None:
        # What the step before left is given away, as the whole step does; residuals may hold parameters.
        del self.result
        step = self.step
        state = self.run_optimizer(step.constants, step.held, self.buffers, self.gradients)
        step.held = jax.block_until_ready(state)
        del self.gradients

    def by_name(self) -> dict[str, Callable[[int], object]]:
        """Returns the parts of the step by name."""
        if self.step.program.update is None:
            return {"input_copy": self.input_copy, "forward": self.infer}
        return {name: getattr(self, name) for name in ("input_copy", "forward", "backward", "optimizer")}
