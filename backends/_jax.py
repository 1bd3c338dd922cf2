"""JAX: the binding of the vocabulary, and the step compiled ahead of time on any JAX device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from backends._xla_profile import operators_of
from backends.base import Operator, Request, Step
from workloads.ops import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM, IGNORED_LABEL, Array, Ops, Parameters
from workloads.workload import initial_state, train_step

Method = TypeVar("Method", bound=Callable[..., Any])
COMPILED = "/jax/core/compile/backend_compile_duration"
"""The event that JAX reports for each executable that XLA has compiled (jax._src.dispatch)."""


def scoped(method: Method) -> Method:
    """Returns the method with its name in the metadata of what it traces, by which a profile knows that again."""
    named: Method = jax.named_scope(method.__name__)(method)
    return named


class JaxOps(Ops):
    """The operations in `jax.numpy` and `jax.nn`, which XLA fuses.

    `conv_1x1` is `conv`, or `matmul`: a convolution with a kernel of one pixel as the matrix product that it is.
    `conv_layout` is `nchw`, or `nhwc`: whether the other convolutions see channels last.
    """

    def __init__(self, conv_1x1: str = "conv", conv_layout: str = "nchw") -> None:
        self.conv_1x1, self.conv_layout = conv_1x1, conv_layout

    def embedding(self, table: Array, ids: Array) -> Array:
        return jnp.take(table, ids, axis=0, mode="clip")

    def linear(self, x: Array, weight: Array, bias: Array | None = None, layout: Literal["oi", "io"] = "oi") -> Array:
        y = jnp.matmul(x, weight.T if layout == "oi" else weight)
        return y if bias is None else y + bias

    def conv2d(self, x: Array, weight: Array, stride: int, padding: int) -> Array:
        if self.conv_1x1 == "matmul" and weight.shape[2:] == (1, 1) and padding == 0:
            return jnp.einsum("nchw,oc->nohw", x[:, :, ::stride, ::stride], weight[:, :, 0, 0])
        sides = [(padding, padding)] * 2
        if self.conv_layout == "nhwc":
            last, kernel = x.transpose(0, 2, 3, 1), weight.transpose(2, 3, 1, 0)
            numbers = ("NHWC", "HWIO", "NHWC")
            y = jax.lax.conv_general_dilated(last, kernel, (stride, stride), sides, dimension_numbers=numbers)
            return y.transpose(0, 3, 1, 2)
        return jax.lax.conv_general_dilated(
            x, weight, (stride, stride), sides, dimension_numbers=("NCHW", "OIHW", "NCHW")
        )

    @scoped
    def batch_norm(self, x: Array, p: Parameters, training: bool) -> tuple[Array, dict[str, Array]]:
        mean, variance = p["running_mean"], p["running_var"]
        statistics = {}
        if training:
            mean = x.mean((0, 2, 3))
            variance = ((x - mean[:, None, None]) ** 2).mean((0, 2, 3))
            n = x.size // x.shape[1]
            batch = {"running_mean": mean, "running_var": variance * (n / (n - 1))}
            statistics = {name: p[name] + BATCH_NORM_MOMENTUM * (batch[name] - p[name]) for name in batch}
        scale = p["weight"] * jax.lax.rsqrt(variance + BATCH_NORM_EPSILON)
        return (x - mean[:, None, None]) * scale[:, None, None] + p["bias"][:, None, None], statistics

    def max_pool2d(self, x: Array, kernel: int, stride: int, padding: int) -> Array:
        sides = ((0, 0), (0, 0), (padding, padding), (padding, padding))
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, kernel, kernel), (1, 1, stride, stride), sides)

    def mean(self, x: Array, axes: Sequence[int]) -> Array:
        return x.mean(tuple(axes))

    def relu(self, x: Array) -> Array:
        return jax.nn.relu(x)

    def tanh(self, x: Array) -> Array:
        return jnp.tanh(x)

    @scoped
    def layer_norm(self, x: Array, weight: Array, bias: Array, epsilon: float) -> Array:
        mean = x.mean(-1, keepdims=True)
        variance = ((x - mean) ** 2).mean(-1, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(variance + epsilon) * weight + bias

    @scoped
    def gelu(self, x: Array, approximate: Literal["none", "tanh"]) -> Array:
        return jax.nn.gelu(x, approximate=approximate == "tanh")

    @scoped
    def attention(self, query: Array, key: Array, value: Array, causal: bool) -> Array:
        # jax.nn wants (B, T, H, D); XLA folds the transposes into the products.
        q, k, v = (x.transpose(0, 2, 1, 3) for x in (query, key, value))
        return jax.nn.dot_product_attention(q, k, v, is_causal=causal).transpose(0, 2, 1, 3)

    @scoped
    def cross_entropy(self, logits: Array, labels: Array) -> Array:
        asked = labels != IGNORED_LABEL
        picked = jnp.take_along_axis(logits, jnp.where(asked, labels, 0)[:, None], axis=-1)[:, 0]
        return jnp.where(asked, jax.nn.logsumexp(logits, axis=-1) - picked, 0).sum() / asked.sum()

    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        return x.reshape(tuple(shape))

    def transpose(self, x: Array, axes: Sequence[int]) -> Array:
        return x.transpose(tuple(axes))

    def split(self, x: Array, parts: int) -> Sequence[Array]:
        return jnp.split(x, parts, axis=-1)

    def arange(self, n: int, like: Array) -> Array:
        return jnp.arange(n, dtype=like.dtype)

    def sqrt(self, x: Array) -> Array:
        return jnp.sqrt(x)


def ops_of(request: Request) -> JaxOps:
    """Returns the operations with the options of the request that are theirs."""
    return JaxOps(**{name: request.options[name] for name in ("conv_1x1", "conv_layout") if name in request.options})


def value_and_grad(
    f: Callable[[Parameters], tuple[Array, Parameters]], parameters: Parameters
) -> tuple[tuple[Array, Parameters], Parameters]:
    """Returns `f(parameters)`, a scalar and something beside it, and the scalar's gradient by name."""
    both, gradients = jax.value_and_grad(f, has_aux=True)(dict(parameters))
    return both, gradients


def narrowed(array: NDArray[Any]) -> NDArray[Any]:
    """Returns integers as int32, JAX's own default; floating arrays as they are."""
    return array.astype(np.int32) if array.dtype == np.int64 else array


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
        self.device = device
        self.compiled = 0
        jax.monitoring.register_event_duration_secs_listener(self._heard)
        self.ops: Ops = ops_of(request)
        workload = request.workload
        parameters = {name: jax.device_put(np.array(p), device) for name, p in request.parameters.items()}
        self.on_host = [{name: narrowed(a) for name, a in batch.items()} for batch in request.batches]
        self.batches = [{name: jax.device_put(a, device) for name, a in batch.items()} for batch in self.on_host]
        self.parts_compile = request.phase == "train"
        # In training this is the whole state; in inference the parameters, which every step reads again.
        self.held: dict[str, Any] = parameters
        if request.phase == "train":
            self.held = initial_state(workload, parameters, jnp.zeros_like)
        jax.block_until_ready((self.held, self.batches))
        self.last: dict[str, Any] = {}

    def _step(self, held: Any, batch: Any) -> tuple[Any, Any]:
        workload = self.request.workload
        if self.request.phase == "infer":
            return workload.infer(self.ops, held, batch), None
        loss, state = train_step(workload, self.ops, value_and_grad, held, batch)
        return {"loss": loss}, state

    def _heard(self, event: str, duration: float, **more: Any) -> None:
        self.compiled += event == COMPILED

    def compilations(self) -> int:
        return self.compiled

    def compile(self) -> None:
        donated = 0 if self.request.phase == "train" else ()
        self.executable = jax.jit(self._step, donate_argnums=donated).lower(self.held, self.batches[0]).compile()
        outputs = jax.eval_shape(self._step, self.held, self.batches[0])
        self.peek = jax.jit(lambda tree: [x.reshape(-1)[0] for x in jax.tree.leaves(tree)]).lower(outputs).compile()

    def step(self, i: int) -> None:
        self.last, state = self.executable(self.held, self.batches[i % len(self.batches)])
        if state is not None:
            self.held = state

    def sync(self) -> None:
        jax.block_until_ready((self.last, self.held))

    def parts(self) -> dict[str, Callable[[int], object]]:
        from backends._jax_parts import JaxParts

        return JaxParts(self).by_name()

    def mark(self) -> object:
        # The outputs alone: the state of a training step is given away to the next one.
        return self.last

    def wait(self, token: object) -> None:
        jax.block_until_ready(token)

    def touch(self) -> None:
        state = self.held if self.request.phase == "train" else None
        for element in self.peek((self.last, state)):
            np.asarray(element)

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        return {name: np.asarray(x) for name, x in self.last.items()}

    def state(self) -> Iterator[tuple[str, NDArray[Any]]]:
        for name, x in self.held.items():
            yield name, np.asarray(x)

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

    def effective(self) -> Mapping[str, str | int | float | bool]:
        leaves = jax.tree.leaves((self.held, self.last))
        dtypes = {str(x.dtype) for x in leaves}
        kinds = {device_kind(device) for x in leaves for device in x.devices()}
        # None on the CPU (0.10.2); the peak of this process on accelerators.
        memory = self.device.memory_stats() or {}
        peak = {"device_peak_memory_bytes": memory["peak_bytes_in_use"]} if "peak_bytes_in_use" in memory else {}
        matmul = jax.config.jax_default_matmul_precision
        is_fp32 = dtypes == {"float32"} and matmul == "highest"
        return {
            "device": "/".join(sorted(kinds)),
            "device_name": self.device.device_kind,
            "platform_version": " ".join(self.device.client.platform_version.split()),
            **peak,
            "precision": "fp32" if is_fp32 else f"{'/'.join(sorted(dtypes))} with {matmul} matmul",
            "matmul_precision": str(matmul),
            "compile_mode": "xla",
            "integer_inputs": "int32",
            "optimizer": f"workloads.optim.{type(self.request.workload.optimizer).__name__}",
        }
