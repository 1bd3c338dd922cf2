"""JAX: the step compiled ahead of time on any JAX device."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from backends._arithmetic import in_words
from backends._jax_ops import ops_of
from backends._xla_arithmetic import products_of
from backends._xla_profile import operators_of
from backends.base import ACCUMULATED, Effective, Operator, Request, Step
from workloads.ops import Ops
from workloads.precision import FLOAT32, Precision

COMPILED = "/jax/core/compile/backend_compile_duration"
"""The event that JAX reports for each executable that XLA has compiled (jax._src.dispatch)."""

KEEPING_BARRIERS = {"xla_disable_hlo_passes": "cse_barrier_expander"}
"""How a step that computes activations again is compiled on a CPU.

Else XLA's CPU compiler (jaxlib 0.10.2) takes away the barriers before what is computed again, and its second pass for
common subexpressions and its scheduler, which runs whatever has its operands, undo it: as much is held as without.
"""


def narrowed(array: NDArray[Any]) -> NDArray[Any]:
    """Returns integers as int32, JAX's own default; floating arrays as they are."""
    return array.astype(np.int32) if array.dtype == np.int64 else array


def typed(request: Request, name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Returns a copy of a tensor or an input of the request, in the type in which the step reads it."""
    return np.array(array, jnp.dtype(request.precision.compute) if name in request.low else narrowed(array).dtype)


def matmul_of(precision: Precision) -> str:
    """Returns JAX's name of how products of float32 are computed."""
    return "tensorfloat32" if precision.operands else "highest"


def device_at(platform: str, index: int) -> jax.Device:
    """Returns JAX's device `index` of `platform`. Raises RuntimeError where there is none: never another one."""
    devices = jax.devices(platform)
    if not 0 <= index < len(devices):
        raise RuntimeError(f"asked for {platform} device {index}; JAX sees {len(devices)}: {devices}")
    return devices[index]


def device_kind(device: jax.Device) -> str:
    """Returns the kind of `device`. JAX calls NVIDIA's and AMD's devices both `gpu`; their client says which."""
    if device.platform != "gpu":
        return str(device.platform)
    version = device.client.platform_version.lower()
    return next((kind for kind in ("cuda", "rocm") if kind in version), "gpu")


class JaxStep(Step):
    """A step compiled ahead of time by XLA. In training the state is donated, so that it is updated in place."""

    def __init__(self, request: Request, device: jax.Device) -> None:
        self.request = request
        self.program = request.program
        self.device = device
        self.compiled = 0
        jax.monitoring.register_event_duration_secs_listener(self._count_compilation)
        self.ops: Ops = ops_of(request.options)
        tensors = {name: jax.device_put(typed(request, name, p), device) for name, p in request.parameters.items()}
        self.on_host = [
            {spec.name: typed(request, spec.name, batch[spec.name]) for spec in self.program.inputs}
            for batch in request.batches
        ]
        self.batches = [{name: jax.device_put(a, device) for name, a in batch.items()} for batch in self.on_host]
        self.parts_compile = self.program.update is not None
        is_recomputing = "checkpoint" in self.program.details
        self.compiler_options = KEEPING_BARRIERS if is_recomputing and device.platform == "cpu" else {}
        self.constants = self.program.constants_of(tensors)
        self.held: dict[str, Any] = self._initial_state(tensors)
        jax.block_until_ready((self.constants, self.held, self.batches))
        self.last: dict[str, Any] = {}

    def _initial_state(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        return self.program.initial_state(
            tensors, lambda shape: jax.device_put(np.zeros(shape, np.float32), self.device)
        )

    def _step(self, constants: Any, held: Any, batch: Any) -> tuple[Any, Any]:
        return self.program.step(self.ops, constants, held, batch)

    def _count_compilation(self, event: str, duration: float, **more: Any) -> None:
        self.compiled += event == COMPILED

    def compilations(self) -> int:
        return self.compiled

    def compile(self) -> None:
        arguments = (self.constants, self.held, self.batches[0])
        lowered = jax.jit(self._step, donate_argnums=1).lower(*arguments)
        self.executable = lowered.compile(compiler_options=self.compiler_options)
        outputs = jax.eval_shape(self._step, *arguments)
        self.peek = jax.jit(lambda tree: [x.reshape(-1)[0] for x in jax.tree.leaves(tree)]).lower(outputs).compile()

    def step(self, i: int) -> None:
        self.last, self.held = self.executable(self.constants, self.held, self.batches[i % len(self.batches)])

    def sync(self) -> None:
        jax.block_until_ready((self.last, self.held))

    def parts(self) -> Mapping[str, Callable[[int], object]] | str:
        from backends._jax_parts import JaxParts

        if self.program.update is not None and self.program.update.accumulate > 1:
            return ACCUMULATED

        return JaxParts(self).by_name()

    def mark(self) -> object:
        # The outputs alone: the state of a training step is given away to the next one.
        return self.last

    def wait(self, token: object) -> None:
        jax.block_until_ready(token)

    def touch(self) -> None:
        for element in self.peek((self.last, self.held)):
            np.asarray(element)

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        return {name: np.asarray(x) for name, x in self.last.items()}

    def state(self) -> Iterator[tuple[str, NDArray[Any]]]:
        for name, x in self.held.items():
            yield name, np.asarray(x)

    def frozen(self) -> Iterator[tuple[str, NDArray[Any]]]:
        for name, x in self.constants.items() if self.program.update is not None else ():
            yield name, np.asarray(x)

    def restart(self, parameters: Mapping[str, NDArray[Any]]) -> None:
        self.held, self.last = {}, {}  # given back before it is made anew: the device need not hold both
        sources = {spec.source for spec in self.program.state if spec.source is not None}
        self.held = self._initial_state(
            {name: jax.device_put(np.array(parameters[name]), self.device) for name in sources}
        )
        jax.block_until_ready(self.held)

    def operators(self, steps: int) -> list[Operator]:
        self.step(0)
        self.sync()
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0
        with TemporaryDirectory(prefix="samestep-operators-") as folder:
            with jax.profiler.trace(folder, profiler_options=options):
                for i in range(steps):
                    self.step(i)
                    self.sync()
            (file,) = Path(folder).rglob("*.xplane.pb")
            profile = jax.profiler.ProfileData.from_file(str(file))
            return operators_of(profile.planes, self.executable.as_text() or "", steps)

    def effective(self) -> Effective:
        leaves = jax.tree.leaves((self.constants, self.held, self.last))
        # What counts or chooses in a user's own model has no precision.
        dtypes = {str(x.dtype) for x in leaves} - {"int32", "bool"}
        precision = self.request.precision
        kinds = {device_kind(device) for x in leaves for device in x.devices()}
        # None on the CPU (0.10.2); the peak of this process on accelerators.
        memory = self.device.memory_stats() or {}
        matmul = jax.config.jax_default_matmul_precision
        stored = {FLOAT32, *([precision.compute] if self.request.low & self.constants.keys() else [])}
        stored |= precision.stored
        is_asked = dtypes <= stored and matmul == matmul_of(precision)
        more: dict[str, str | int | float | bool] = {
            "device_name": self.device.device_kind,
            "platform_version": " ".join(self.device.client.platform_version.split()),
            "matmul_precision": str(matmul),
            "compile_mode": "xla",
            "integer_inputs": "int32",
        }
        if "peak_bytes_in_use" in memory:
            more["device_peak_memory_bytes"] = memory["peak_bytes_in_use"]
        if precision.is_lower:
            more["arithmetic"] = in_words(products_of(self.executable.as_text() or ""))
            more["xla_flags"] = os.environ.get("XLA_FLAGS", "")
        if self.compiler_options:
            more["compiler_options"] = " ".join(f"{name}={value}" for name, value in self.compiler_options.items())
        if self.program.update is not None:
            more["optimizer"] = f"workloads.optim.{type(self.program.update.rule).__name__}"
        return Effective(
            device="/".join(sorted(kinds)),
            precision=precision.name if is_asked else f"{'/'.join(sorted(dtypes))} with {matmul} matmul",
            more=more,
        )
