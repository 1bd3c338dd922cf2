"""What goes into an ONNX file and comes out of it: names, types, shapes, and what is known of the values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, shape_inference

from backends._onnx_file.reading import COPIES, FileRefused, must_fit, nodes
from host.memory import available_bytes

Dims = tuple[int | str, ...]
"""A shape in which an open dimension is a name; `?` where it has none."""
Shapes = Mapping[str, tuple[int, ...]]
TYPES = frozenset({
    *("BOOL", "UINT8", "INT8", "UINT16", "INT16", "INT32", "UINT32", "INT64", "UINT64", "FLOAT16", "FLOAT", "DOUBLE"),
})  # fmt: skip
"""Types of inputs and outputs that NumPy and the runtimes' Python bindings share."""
PASSING = frozenset({
    *("Cast", "Clip", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"),
})  # fmt: skip
"""Operators that hand integers on as they are, from their first input."""
ONE_COMPUTATION_NOT = re.compile("DynamicQuantize.*|MatMulInteger|ConvInteger")
"""Operators that measure the range of what they read, and so round it in another way in every runtime."""


@dataclass(frozen=True)
class Value:
    """An input or output of a file: `dtype` is NumPy's name of its type."""

    name: str
    dtype: str
    dims: Dims

    @property
    def is_open(self) -> bool:
        """Whether a dimension is not known."""
        return any(isinstance(dim, str) for dim in self.dims)

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(map(str, self.dims))}]"


def inputs_of(model: ModelProto) -> tuple[Value, ...]:
    """Returns what must be given: inputs without those that an initialiser fills. Raises FileRefused for other types.

    A type of sequences, maps or strings, or one without a NumPy type of its own, cannot be bound.
    """
    filled = {tensor.name for tensor in model.graph.initializer}
    return tuple(_value(one, "input") for one in model.graph.input if one.name not in filled)


def outputs_of(model: ModelProto) -> tuple[Value, ...]:
    """Returns what comes out. Raises FileRefused as `inputs_of` does."""
    return tuple(_value(one, "output") for one in model.graph.output)


def _value(info: ValueInfoProto, kind: str) -> Value:
    type_ = info.type.tensor_type
    word = info.type.WhichOneof("value") or "nothing"
    named = TensorProto.DataType.Name(type_.elem_type) if word == "tensor_type" else word.removesuffix("_type")
    if named not in TYPES:
        raise FileRefused(
            f"its {kind} {info.name} is of type {named.lower()}; can be bound: {', '.join(sorted(TYPES))}"
        )
    dims = tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else dim.dim_param or "?"
        for dim in type_.shape.dim
    )
    if not type_.HasField("shape"):
        dims = ("...",)  # not even how many
    return Value(info.name, helper.tensor_dtype_to_np_dtype(type_.elem_type).name, dims)


def parse_shapes(text: str | None) -> dict[str, tuple[int, ...]]:
    """Returns the shapes in `x=1,3,48,192 y=1,128`, by input: words, or separated by `;`. A scalar is `x=`.

    Raises FileRefused for what is no shape.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for part in re.split(r"[;\s]+", text.strip()) if text and text.strip() else ():
        name, is_given, dims = part.rpartition("=")
        numbers = [dim.strip() for dim in dims.split(",")] if dims else []
        if not is_given or not name or not all(re.fullmatch("[1-9][0-9]{0,8}", dim) for dim in numbers):
            raise FileRefused(f'--model-shapes takes "input=1,3,224,224 other=1,128", got {part!r}')
        if name in shapes:
            raise FileRefused(f"--model-shapes has {name!r} twice")
        shapes[name] = tuple(map(int, numbers))
    return shapes


def fixed_inputs(inputs: tuple[Value, ...], shapes: Shapes, batch: int | None) -> tuple[Value, ...]:
    """Returns the inputs with all dimensions known: those of `shapes`, else `batch` where the first alone is open.

    Raises FileRefused where a dimension stays open, where a shape does not fit, for an input that is none, and where
    a `batch` was asked for and no dimension takes it. Without one the batch is 1.
    """
    if unknown := [name for name in shapes if name not in {one.name for one in inputs}]:
        raise FileRefused(f"--model-shapes names {unknown[0]!r}; its inputs: {'; '.join(map(str, inputs))}")
    named: dict[str, int] = {}
    for one in inputs:
        _agree(one, shapes.get(one.name), named)
    for one in inputs:
        if one.name not in shapes and one.dims and isinstance(one.dims[0], str) and one.dims[0] not in ("?", "..."):
            named.setdefault(one.dims[0], batch or 1)
    fixed = tuple(_fixed(one, shapes.get(one.name), named, batch) for one in inputs)
    if unsaid := [one for one in fixed if one.is_open]:
        example = " ".join(
            f"{one.name}={','.join('N' if isinstance(d, str) else str(d) for d in one.dims)}" for one in unsaid
        )
        raise FileRefused(f'open dimensions in {"; ".join(map(str, unsaid))}: say --model-shapes "{example}"')
    if batch is not None and inputs and all(one.dims[:1] != (batch,) for one in fixed):
        raise FileRefused(f"--batch {batch}: no input of the file takes it; it has {'; '.join(map(str, fixed))}")
    return fixed


def _or_n(dim: int | str) -> str:
    return "N" if isinstance(dim, str) else str(dim)


def _agree(one: Value, shape: tuple[int, ...] | None, named: dict[str, int]) -> None:
    """Notes what a given shape says of named dimensions. Raises FileRefused where it does not fit the input."""
    if shape is None or one.dims == ("...",):
        return
    fits = len(shape) == len(one.dims) and all(
        isinstance(d, str) or d == n for d, n in zip(one.dims, shape, strict=True)
    )
    if not fits:
        raise FileRefused(f"--model-shapes gives {one.name} the shape {list(shape)}; the file has {one}")
    for dim, n in zip(one.dims, shape, strict=True):
        if isinstance(dim, str) and dim != "?" and named.setdefault(dim, n) != n:
            raise FileRefused(f"--model-shapes gives the dimension {dim} of {one} as {n} and as {named[dim]}")


def _fixed(one: Value, shape: tuple[int, ...] | None, named: Mapping[str, int], batch: int | None) -> Value:
    if shape is not None:
        return Value(one.name, one.dtype, shape)
    dims = tuple(named.get(dim, dim) if isinstance(dim, str) else dim for dim in one.dims)
    if dims and isinstance(dims[0], str) and dims[0] != "...":
        dims = (batch or 1, *dims[1:])
    return Value(one.name, one.dtype, dims)


def with_shapes(model: ModelProto, inputs: tuple[Value, ...], outputs: Shapes | None = None) -> ModelProto:
    """Returns the model with the shapes of its `inputs` written into it, and of its `outputs` where they are known.

    What it said of intermediate shapes is taken out: it may have been said of other inputs.
    """
    fixed = ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    shapes: dict[str, Dims] = {one.name: one.dims for one in inputs}
    for info in (*fixed.graph.input, *fixed.graph.output):
        is_input = info.name in shapes
        dims = shapes.get(info.name) if is_input else (outputs or {}).get(info.name)
        if dims is not None:
            info.type.tensor_type.shape.Clear()
            info.type.tensor_type.shape.SetInParent()
            for dim in dims:
                info.type.tensor_type.shape.dim.add().dim_value = int(dim)
        elif info in list(fixed.graph.output):
            info.type.tensor_type.ClearField("shape")
    return fixed


def check_activations(name: str, model: ModelProto) -> None:
    """Raises FileRefused where the largest value between its nodes, as far as shapes tell, does not fit into memory."""
    try:
        inferred = shape_inference.infer_shapes(model, data_prop=True)
    except (ValueError, shape_inference.InferenceError):  # over 2 GB, or a shape that contradicts: the runtimes tell
        return
    largest = max(map(_value_bytes, (*inferred.graph.value_info, *inferred.graph.output)), default=0)
    must_fit(name, "the largest value between its operators takes", COPIES * largest, available_bytes())


def _value_bytes(info: ValueInfoProto) -> int:
    dims: list[int] = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
    return 4 * prod(dims)


def operators_of(model: ModelProto) -> Counter[str]:
    """Returns how often the model has each operator; those that are not ONNX's own with their domain before them."""
    return Counter(_named(node) for node in nodes(model))


def _named(node: NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def without_oracle(model: ModelProto) -> str:
    """Returns why nothing independent can say what the model computes; empty where something may.

    Dynamically quantised operators are another computation in every runtime, vendors' ones have no definition but
    their runtime's.
    """
    own = {(function.domain, function.name) for function in model.functions}
    found = Counter(
        _named(node)
        for node in nodes(model)
        if ONE_COMPUTATION_NOT.fullmatch(node.op_type)
        or (node.domain not in ("", "ai.onnx", "ai.onnx.ml") and (node.domain, node.op_type) not in own)
    )
    if not found:
        return ""
    listed = ", ".join(f"{name} ×{n}" if n > 1 else name for name, n in found.most_common(4))
    return f"no oracle: {listed}: quantised as it runs, or a vendor's own, so that runtimes compute different things"


def bound_of(model: ModelProto, name: str) -> int | None:
    """Returns below which number the integers of an input lie: the rows of the table that they look up; None: unknown.

    Followed from the input through operators that hand integers on, to the index of a `Gather` whose table the file
    holds; of several tables the smallest counts.
    """
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            shapes.update((node.output[0], tuple(a.t.dims)) for a in node.attribute if a.name == "value")
    reached, found = {name}, []
    for node in model.graph.node:  # in topological order, as ONNX demands
        if node.op_type == "Gather" and node.input[1] in reached and node.input[0] in shapes:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            found.append(shapes[node.input[0]][axis])
        elif node.op_type in PASSING and node.input[0] in reached:
            reached.update(node.output)
    return min(found, default=None)
