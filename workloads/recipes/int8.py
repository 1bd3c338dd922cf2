"""Weights in 8 bits as a definition: the quantised model *is* the reference, not something that should be near it.

`int8` is static W8A8, symmetric. A weight is int8 codes with a float32 scale for each output channel (its largest
element is code 127). What a product reads is int8 codes too, of one step for the whole tensor: a power of two, so that
the division is exact in any arithmetic, calibrated once by the float64 reference over the fixed batches. Their sum is
an integer; it is scaled, and given its bias, in float32, as everything else is. A convolution with a batch norm behind
it is quantised with the norm folded in. `w8` has the same weights and leaves what products read in float32. `fp8` is
`int8` with codes that are floating numbers of 8 bits (`workloads.recipes.e4m3`), summed in float32.

A model is not written anew for this: `quantized` finds the weights that products read, by running it on shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil, log2
from typing import TYPE_CHECKING, Any, Literal

from workloads.count import CountOps, on_shapes
from workloads.ops import BATCH_NORM_EPSILON, Array, Ops, Parameters, Scoped
from workloads.precision import E4M3, LARGEST_CODE, Precision
from workloads.program import Outputs, Program
from workloads.recipes.e4m3 import encoded
from workloads.specs import ParameterSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST, LEAST = 127, -128
"""The codes: of weights symmetric, of what products read as ONNX's QuantizeLinear saturates."""
CODES, SCALE, STEP, BIAS = "_codes", "_scale", "_step", "_folded_bias"
ENDS = (CODES, SCALE, STEP, BIAS)
"""What is behind the name of a weight in the names of the constants that stand for it."""
NORM = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class Product:
    """A weight that products read: its output channels and their axis, and the names of the norm folded into it.

    The latter in the order of `NORM`, and behind them the name of the bias between, if any; empty where there is none.
    """

    name: str
    channels: int
    axis: int
    norm: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quantized:
    """What a step is given in the place of a weight. `full` is there where something else than a product reads it."""

    codes: Array
    scale: Array
    step: Array | None = None
    bias: Array | None = None
    full: Array | None = None
    is_float: bool = False


FOLDED = "folded"
"""What a step is given in the place of the tensors of a norm that is folded into the convolution before it."""


class QuantizedOps:
    """The vocabulary of a binding, whose products read the codes of the weights that are `Quantized`."""

    def __init__(self, ops: Ops) -> None:
        self.ops = ops

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ops, name)

    def embedding(self, table: Array, ids: Array) -> Array:
        return self.ops.embedding(table.full if isinstance(table, Quantized) else table, ids)

    def linear(self, x: Array, weight: Array, bias: Array | None = None, layout: Literal["oi", "io"] = "oi") -> Array:
        if not isinstance(weight, Quantized):
            return self.ops.linear(x, weight, bias, layout)
        if weight.step is None:
            return self.ops.w8_linear(x, weight.codes, weight.scale, bias, layout)
        if weight.is_float:
            return self.ops.fp8_linear(x, weight.codes, weight.scale, weight.step, bias)
        return self.ops.int8_linear(x, weight.codes, weight.scale, weight.step, bias, layout)

    def conv2d(
        self, x: Array, weight: Array, stride: int, padding: int, *, bias: Array | None = None, **more: Any
    ) -> Array:
        if not isinstance(weight, Quantized):
            given = more if bias is None else more | {"bias": bias}
            return self.ops.conv2d(x, weight, stride, padding, **given)
        bias = bias if weight.bias is None else weight.bias
        if weight.step is None:
            return self.ops.w8_conv2d(x, weight.codes, weight.scale, bias, stride, padding)
        if weight.is_float:
            return self.ops.fp8_conv2d(x, weight.codes, weight.scale, weight.step, bias, stride, padding)
        return self.ops.int8_conv2d(x, weight.codes, weight.scale, weight.step, bias, stride, padding)

    def batch_norm(self, x: Array, p: Parameters, training: bool) -> tuple[Array, dict[str, Array]]:
        if p["weight"] is FOLDED:
            return x, {}
        return self.ops.batch_norm(x, p, training)

    def repeat(self, block: Any, x: Array, parameters: Parameters, prefix: str, n: int) -> Array:
        return Ops.repeat(self, block, x, parameters, prefix, n)  # type: ignore[arg-type]  # its products are ours


class _Finding(CountOps):
    """The vocabulary on shapes, which remembers the weights of products and the norms behind convolutions."""

    def __init__(self, constants: Mapping[str, Any]) -> None:
        self.names = {id(shape): name for name, shape in constants.items()}
        self.found: dict[str, Product] = {}
        self._convolved: list[tuple[Any, str, list[str]]] = []

    def linear(self, x: Array, weight: Array, bias: Array | None = None, layout: Literal["oi", "io"] = "oi") -> Array:
        return super().linear(x, self._kept(weight, 0 if layout == "oi" else 1), bias, layout)

    def conv2d(
        self, x: Array, weight: Array, stride: int, padding: int, *, bias: Array | None = None, groups: int = 1
    ) -> Array:
        """Of groups the weight is left as it is: no runtime here multiplies codes group by group."""
        if groups != 1:
            return super().conv2d(x, weight, stride, padding, bias=bias, groups=groups)
        y = super().conv2d(x, self._kept(weight, 0), stride, padding, bias=bias)
        if (name := self.names.get(id(weight))) is not None:
            self._convolved.append((y, name, [] if bias is None else [self.names[id(bias)]]))
        return y

    def batch_norm(self, x: Array, p: Parameters, training: bool) -> tuple[Array, dict[str, Array]]:
        norm = [self.names.get(id(p[name])) for name in NORM]
        behind, bias = next(((name, bias) for y, name, bias in self._convolved if y is x), (None, []))
        if behind is not None and not training and None not in norm:
            self.found[behind] = replace(self.found[behind], norm=(*map(str, norm), *bias))
            return x, {}
        return super().batch_norm(x, p, training)

    def _experts_read(self, rows: int, n: int) -> int:
        return n

    def _kept(self, weight: Any, axis: int) -> Any:
        """Remembers a weight that is a constant as it stands; returns it so that reading it here counts as nothing."""
        name = self.names.get(id(weight))
        if name is None:
            return weight
        self.found[name] = Product(name, weight.shape[axis], axis)
        return replace(weight, source=None)


def products_of(program: Program) -> tuple[dict[str, Product], frozenset[str]]:
    """Returns the weights that products read, by name, and the names of the constants that something else reads."""
    made: list[_Finding] = []

    def ops_of(constants: Mapping[str, Any]) -> Ops:
        made.append(_Finding(constants))
        return made[0]

    tally, _ = on_shapes(program, ops_of)
    return made[0].found, frozenset(tally.elements_read)


def why_undefined(program: Program, precision: Precision) -> str:
    """Returns why there is no such program in `precision`; nothing where there is one."""
    if precision.is_reduced and program.state and program.update is None:
        return f"{precision.name} has no definition yet of a step that carries a cache: in what type that is kept"
    if not precision.is_quantized:
        return ""
    if program.state and program.prompt is None:
        return f"{precision.name} is of inference without a state: rounding to codes has no gradient to train by"
    if program.state and precision.reads_codes:
        return f"{precision.name} has no definition yet of a step with a cache: it is not calibrated over prompts"
    if not products_of(program)[0]:
        return f"{precision.name} is of products with a weight, and this step has none"
    return ""


def quantized(program: Program, precision: Precision) -> Program:
    """Returns the program in `precision`, whose constants are those that `codes_of` makes.

    Raises ValueError where there is none.
    """
    if why := why_undefined(program, precision):
        raise ValueError(why)
    products, read = products_of(program)
    folded = {name for product in products.values() for name in product.norm}
    parts_of = {f"{name}{end}" for name in products for end in ENDS}
    specs: list[ParameterSpec] = []
    for spec in program.constants:
        if spec.name in products:
            specs += _specs_of(spec, products[spec.name], precision)
        if spec.name not in folded and (spec.name not in products or spec.name in read):
            specs.append(spec)

    def entered(constants: Parameters) -> Parameters:
        seen = {name: x for name, x in constants.items() if name not in parts_of}
        seen |= dict.fromkeys(folded, FOLDED)
        for name in products:
            codes, scale, step, bias = (constants.get(f"{name}{end}") for end in ENDS)
            seen[name] = Quantized(codes, scale, step, bias, constants.get(name), precision.codes_type == E4M3)
        return Scoped(seen)

    def outputs(ops: Ops, constants: Parameters, state: Parameters, batch: Parameters) -> Outputs:
        return program.outputs_of(_in_codes(ops), entered(constants), state, batch)

    def step(ops: Ops, constants: Parameters, state: Parameters, batch: Parameters) -> tuple[Outputs, dict[str, Array]]:
        return program.step(_in_codes(ops), entered(constants), state, batch)

    prompt = program.prompt
    if prompt is not None:
        fill = prompt.fill
        prompt = replace(prompt, fill=lambda ops, constants, ids: fill(_in_codes(ops), entered(constants), ids))
    return replace(program, constants=tuple(specs), step=step, outputs=outputs, prompt=prompt)


def _in_codes(ops: Ops) -> Any:
    return QuantizedOps(ops)


def _specs_of(spec: ParameterSpec, product: Product, precision: Precision) -> list[ParameterSpec]:
    is_turned = precision.codes_type == E4M3 and product.axis == 1
    codes = spec.shape[::-1] if is_turned else spec.shape
    shapes: dict[str, tuple[int, ...]] = {CODES: codes, SCALE: (product.channels,)}
    if precision.reads_codes:
        shapes[STEP] = ()
    if product.norm:
        shapes[BIAS] = (product.channels,)
    return [ParameterSpec(f"{spec.name}{end}", shape, 0.0, 0.0) for end, shape in shapes.items()]


class Calibrating:
    """The vocabulary of a binding, which remembers the largest number that each product reads, by its weight's name."""

    def __init__(self, ops: Ops, constants: Mapping[str, Any], largest: dict[str, float]) -> None:
        self.ops = ops
        self.names = {id(tensor): name for name, tensor in constants.items()}
        self.largest = largest

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ops, name)

    def linear(self, x: Array, weight: Array, bias: Array | None = None, layout: Literal["oi", "io"] = "oi") -> Array:
        self._look(x, weight)
        return self.ops.linear(x, weight, bias, layout)

    def conv2d(self, x: Array, weight: Array, stride: int, padding: int, **more: Any) -> Array:
        self._look(x, weight)
        return self.ops.conv2d(x, weight, stride, padding, **more)

    def repeat(self, block: Any, x: Array, parameters: Parameters, prefix: str, n: int) -> Array:
        return Ops.repeat(self, block, x, parameters, prefix, n)  # type: ignore[arg-type]  # its products are ours

    def _look(self, x: Array, weight: Array) -> None:
        name = self.names.get(id(weight))
        if name is not None:
            self.largest[name] = max(self.largest.get(name, 0.0), float(abs(x).max()))


def step_of(largest: float, code: float = LARGEST) -> float:
    """Returns the smallest power of two whose `code`-fold holds `largest`; 1 for nothing but zeros."""
    return 2.0 ** ceil(log2(largest / code)) if largest > 0 else 1.0


def codes_of(
    program: Program, tensors: Mapping[str, NDArray[Any]], largest: Mapping[str, float], precision: Precision
) -> dict[str, NDArray[Any]]:
    """Returns the constants of the quantised program by name, from the model's `tensors`, in float64 inside.

    `largest` is what each product reads at most, by its weight's name; of an expert that no batch comes to it has none.
    Codes of float8 lie as (out, in), since that is how products of them read a weight, whatever its published layout.
    """
    import numpy as np

    top = LARGEST_CODE[precision.codes_type]
    products, _ = products_of(program)
    made: dict[str, NDArray[Any]] = {}
    for name, product in products.items():
        weight = tensors[name].astype(np.float64)
        along = tuple(slice(None) if axis == product.axis else np.newaxis for axis in range(weight.ndim))
        if product.norm:
            gamma, beta, mean, variance, *biases = (tensors[one].astype(np.float64) for one in product.norm)
            factor = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
            weight = weight * factor[along]
            made[f"{name}{BIAS}"] = (beta + (sum(biases) - mean) * factor).astype(np.float32)
        others = tuple(axis for axis in range(weight.ndim) if axis != product.axis)
        scale = (np.abs(weight).max(others) / top).astype(np.float32)
        scale[scale == 0] = 1.0
        codes = weight / scale.astype(np.float64)[along]
        if precision.codes_type == E4M3:
            made[f"{name}{CODES}"] = encoded(codes if product.axis == 0 else codes.T)
        else:
            made[f"{name}{CODES}"] = np.clip(np.rint(codes), -LARGEST, LARGEST).astype(np.int8)
        made[f"{name}{SCALE}"] = scale
        if precision.reads_codes:
            made[f"{name}{STEP}"] = np.array(step_of(largest.get(name, 0.0), top), np.float32)
    wanted = [spec.name for spec in quantized(program, precision).constants]
    return {name: made[name] if name in made else tensors[name] for name in wanted}
