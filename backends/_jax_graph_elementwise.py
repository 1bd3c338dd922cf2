"""JAX: PyTorch's element-wise operators. Where a function has a kink, its derivative there is PyTorch's."""

from __future__ import annotations

from collections.abc import Mapping
from math import pi, sqrt
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from backends._jax_graph_dtypes import Function
from workloads.ops import Array


def add(x: Array, y: Array, *, alpha: float = 1) -> Array:
    """Returns x plus alpha times y."""
    return jnp.add(x, y if alpha == 1 else y * alpha)


def sub(x: Array, y: Array, *, alpha: float = 1) -> Array:
    """Returns x minus alpha times y."""
    return jnp.subtract(x, y if alpha == 1 else y * alpha)


def rsub(x: Array, y: Array, alpha: float = 1) -> Array:
    """Returns y minus alpha times x."""
    return sub(y, x, alpha=alpha)


def div(x: Array, y: Array, *, rounding_mode: str | None = None) -> Array:
    """Returns the true quotient, or that rounded down or towards zero."""
    if rounding_mode is None:
        return jnp.true_divide(x, y)
    if rounding_mode == "floor":
        return jnp.floor_divide(x, y)
    if jnp.issubdtype(jnp.result_type(x, y), jnp.integer):
        return lax.div(*jnp.broadcast_arrays(*(jnp.asarray(z, jnp.result_type(x, y)) for z in (x, y))))
    return jnp.trunc(jnp.true_divide(x, y))


def power(x: Array, exponent: Any) -> Array:
    """Returns `x` to the `exponent`; whole numbers by products, whose derivative is exact where `x` is 0 or less."""
    if isinstance(exponent, (int, float)):
        if exponent == 0.5:
            return jnp.sqrt(x)
        if float(exponent).is_integer() and abs(exponent) <= 64:
            if exponent < 0 and jnp.issubdtype(x.dtype, jnp.integer):
                raise ValueError("integers to negative powers are not supported")
            return lax.integer_pow(x, int(exponent))
    return jnp.power(x, exponent)


def clamp(x: Array, low: Any = None, high: Any = None) -> Array:
    """Returns `x` within bounds; on a bound the derivative is that of `x`."""
    if low is not None:
        x = jnp.where(x < low, low, x)
    return x if high is None else jnp.where(x > high, high, x)


def hardtanh(x: Array, low: float = -1.0, high: float = 1.0) -> Array:
    """Returns `x` within bounds; on a bound the derivative is 0."""
    return jnp.where(x <= low, low, jnp.where(x >= high, high, x))


def elu(x: Array, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Array:
    """Returns the exponential linear unit (Clevert et al. 2015, arXiv:1511.07289)."""
    negative = jnp.where(x > 0, 0, x)
    return jnp.where(x > 0, x * scale, jnp.expm1(negative * input_scale) * (alpha * scale))


def gelu(x: Array, *, approximate: str = "none") -> Array:
    """Returns the Gaussian error linear unit, exact or by tanh (Hendrycks & Gimpel 2016, arXiv:1606.08415)."""
    if approximate == "tanh":
        return 0.5 * x * (1 + jnp.tanh(sqrt(2 / pi) * (x + 0.044715 * x * x * x)))
    return x * 0.5 * (1 + lax.erf(x * sqrt(0.5)))


def softplus(x: Array, beta: float = 1, threshold: float = 20) -> Array:
    """Returns log(1 + exp(beta x)) / beta, and `x` beyond the threshold."""
    is_linear = x * beta > threshold
    return jnp.where(is_linear, x, jnp.log1p(jnp.exp(jnp.where(is_linear, 0, x) * beta)) / beta)


def hardsigmoid(x: Array) -> Array:
    """Returns x / 6 + 1 / 2 within 0 and 1."""
    return hardtanh(x + 3, 0, 6) / 6


def log_sigmoid(x: Array) -> tuple[Array, None]:
    """Returns the logarithm of the logistic function; not what PyTorch keeps beside it."""
    return jax.nn.log_sigmoid(x), None


UNARY: Mapping[str, Function] = {
    "abs": jnp.abs,
    "acos": jnp.arccos,
    "acosh": jnp.arccosh,
    "asin": jnp.arcsin,
    "asinh": jnp.arcsinh,
    "atan": jnp.arctan,
    "atanh": jnp.arctanh,
    "bitwise_not": jnp.bitwise_not,
    "ceil": jnp.ceil,
    "cos": jnp.cos,
    "cosh": jnp.cosh,
    "elu": elu,
    "erf": jax.scipy.special.erf,
    "erfc": jax.scipy.special.erfc,
    "erfinv": jax.scipy.special.erfinv,
    "exp": jnp.exp,
    "exp2": jnp.exp2,
    "expm1": jnp.expm1,
    "floor": jnp.floor,
    "gelu": gelu,
    "hardsigmoid": hardsigmoid,
    "hardswish": lambda x: x * hardsigmoid(x),
    "hardtanh": hardtanh,
    "isfinite": jnp.isfinite,
    "isinf": jnp.isinf,
    "isnan": jnp.isnan,
    "leaky_relu": lambda x, slope=0.01: jnp.where(x > 0, x, x * slope),
    "lgamma": lax.lgamma,
    "log": jnp.log,
    "log10": jnp.log10,
    "log1p": jnp.log1p,
    "log2": jnp.log2,
    "log_sigmoid_forward": log_sigmoid,
    "logical_not": jnp.logical_not,
    "mish": lambda x: x * jnp.tanh(softplus(x)),
    "neg": jnp.negative,
    "reciprocal": lambda x: 1 / x,
    "relu": jax.nn.relu,
    "round": jnp.round,
    "rsqrt": lambda x: lax.rsqrt(x * 1.0),
    "sigmoid": jax.nn.sigmoid,
    "sign": jnp.sign,
    "silu": jax.nn.silu,
    "sin": jnp.sin,
    "sinh": jnp.sinh,
    "softplus": softplus,
    "sqrt": jnp.sqrt,
    "square": jnp.square,
    "tan": jnp.tan,
    "tanh": jnp.tanh,
    "threshold": lambda x, threshold, value: jnp.where(x <= threshold, value, x),
    "trunc": jnp.trunc,
}
BINARY: Mapping[str, Function] = {
    "add": add,
    "bitwise_and": jnp.bitwise_and,
    "bitwise_or": jnp.bitwise_or,
    "bitwise_xor": jnp.bitwise_xor,
    "div": div,
    "eq": jnp.equal,
    "fmod": jnp.fmod,
    "ge": jnp.greater_equal,
    "gt": jnp.greater,
    "le": jnp.less_equal,
    "lt": jnp.less,
    "mul": jnp.multiply,
    "ne": jnp.not_equal,
    "remainder": jnp.remainder,
    "rsub": rsub,
    "sub": sub,
}
"""Those of two tensors, or of a tensor and a number."""
ELEMENTWISE: Mapping[str, Function] = {
    **{f"{name}.default": function for name, function in UNARY.items()},
    **{f"{name}.{overload}": f for name, f in BINARY.items() for overload in ("Tensor", "Scalar")},
    "_prelu_kernel.default": lambda x, weight: jnp.where(x > 0, x, x * weight),
    "atan2.default": jnp.arctan2,
    "digamma.default": jax.scipy.special.digamma,
    "hypot.default": jnp.hypot,
    "bitwise_left_shift.Tensor": jnp.left_shift,
    "bitwise_right_shift.Tensor": jnp.right_shift,
    "clamp.Tensor": clamp,
    "clamp.default": clamp,
    "clamp_max.default": lambda x, high: clamp(x, None, high),
    "clamp_min.default": clamp,
    "div.Scalar_mode": div,
    "div.Tensor_mode": div,
    "floor_divide.default": jnp.floor_divide,
    "glu.default": jax.nn.glu,
    "logaddexp.default": jnp.logaddexp,
    "logical_and.default": jnp.logical_and,
    "logical_or.default": jnp.logical_or,
    "logical_xor.default": jnp.logical_xor,
    "masked_fill.Scalar": lambda x, mask, value: jnp.where(mask, value, x),
    "masked_fill.Tensor": lambda x, mask, value: jnp.where(mask, value, x),
    "maximum.default": jnp.maximum,
    "minimum.default": jnp.minimum,
    "pow.Scalar": jnp.power,
    "pow.Tensor_Scalar": power,
    "pow.Tensor_Tensor": jnp.power,
    "round.decimals": lambda x, *, decimals: jnp.round(x, decimals),
    "where.self": jnp.where,
}
