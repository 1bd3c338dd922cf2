"""PyTorch: a module as a graph (`workloads/graph.py`), and a graph evaluated.

One form serves every runtime. `torch.export` writes it; it is functional, and an operator that is composed of others
stays whole where it is one of `OPERATORS`: PyTorch has a kernel for it (`linear`, `layer_norm`, attention, LSTM), and
so have other runtimes or their bindings. The others are decomposed, by PyTorch's own rules.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind

from backends._graph_operators import OPERATORS
from backends._torch_graph_names import input_names, output_names
from backends._torch_widening import without_casts
from workloads.graph import Graph, Input, Named, Node, Reference, Value
from workloads.graph import Tensor as Result

COPIES = frozenset({"aten.copy.default", "aten.fill.Tensor"})
LEFT_OUT = frozenset({"layout", "pin_memory"})
NOTHING = frozenset(
    {
        "aten._assert_async.msg",
        "aten._assert_tensor_metadata.default",
        "aten._linalg_check_errors.default",
        "aten.sym_constrain_range_for_size.default",
    }
)
"""Operators that compute nothing: checks of values, of types, of shapes."""
EFFECT = "with_effects"
"""What PyTorch wraps around an operator that is to run for what it does: the operator is its second argument."""


def to_graph(exported: ExportedProgram, outputs: Sequence[str] | None = None) -> Graph:
    """Returns the graph of an exported program: its parameters, buffers and constants are inputs, by their names.

    A tensor with several names has the first one, as `torch.nn.Module.named_parameters` lists it. Outputs are called by
    `outputs`, else by their place in what the module returns: `logits`, `hidden.0`; a single tensor is `output`. Raises
    ValueError for what a graph of fixed shapes cannot hold: shapes that are symbols, inputs that are changed, control
    flow, types chosen by autocast.
    """
    _keep_regions_without_gradient(exported.graph_module)
    functional = exported.run_decompositions(_decompositions())
    signature = functional.graph_signature
    names = input_names(functional)
    inputs: dict[str, Input] = {}
    by_name: dict[str, str] = {}
    same: dict[str, str] = {}
    nodes: list[Node] = []
    returned: Sequence[Any] = ()
    for node in functional.graph.nodes:
        if node.op == "placeholder":
            if isinstance(node.meta.get("val"), Tensor) and node.name in names:
                given = Input(names[node.name], *_result(node.meta["val"]))
                same[node.name] = by_name.setdefault(given.name, node.name)
                inputs.setdefault(same[node.name], given)
        elif node.op == "output":
            returned = node.args[0]
        elif node.op == "call_function" and node.target is not operator.getitem:
            called = str(node.args[1] if str(node.target) == EFFECT else node.target)
            if called in COPIES:
                nodes += _copy(_node(node, same))
            elif called not in NOTHING:
                if called != str(node.target):
                    raise ValueError(f"{called} acts beside what it returns, which a graph does not; leave it out")
                nodes.append(_node(node, same))
        elif node.op != "call_function":
            raise ValueError(f"got {node.op} {node.target}, which is control flow: a graph has operators alone")
    kept = {}
    for name, spec, value in zip(output_names(functional, outputs), signature.output_specs, returned, strict=True):
        if spec.kind in (OutputKind.USER_INPUT_MUTATION, OutputKind.PARAMETER_MUTATION):
            raise ValueError(f"forward changes {spec.target}; compute on a copy of it")
        is_tensor = isinstance(value, fx.Node) and isinstance(value.meta.get("val"), Tensor)
        if is_tensor and spec.kind is not OutputKind.TOKEN:
            kept[name] = _reference(cast("fx.Node", value), same)
    return Graph(inputs, tuple(nodes), kept).only(kept)


def tensors_of(exported: ExportedProgram) -> dict[str, Tensor]:
    """Returns parameters, buffers and constants by the names that `to_graph` gives them; tied ones once."""
    names = input_names(exported)
    tensors = {**exported.constants, **exported.state_dict}
    return {
        names[spec.arg.name]: tensors[spec.target]
        for spec in exported.graph_signature.input_specs
        if spec.target is not None and isinstance(tensors.get(spec.target), Tensor)
    }


def evaluate(graph: Graph, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the outputs of the graph by name; where its floating tensors are float64, all that it computes is."""
    device = next((tensor.device.type for tensor in tensors.values()), "cpu")
    is_wide = any(tensor.dtype == torch.float64 for tensor in tensors.values())
    key = f"torch {device} {is_wide}"
    # What is compiled must find it there, so that it does not look before.
    if torch.compiler.is_compiling() or key not in graph.kept:
        _make(graph, key, device, is_wide)
    outputs: dict[str, Tensor] = graph.kept[key](tensors)
    return outputs


@torch._dynamo.assume_constant_result  # type: ignore[untyped-decorator]
def _make(graph: Graph, key: str, device: str, is_wide: bool) -> bool:
    """Keeps the graph as a module from tensors to outputs, by name: made once, outside of what is compiled."""
    if key not in graph.kept:
        is_single = all(x.dtype != "float64" for x in graph.inputs.values())
        graph.kept[key] = _module(graph.widened() if is_wide and is_single else without_casts(graph), device)
    return True


def evaluate_with(graph: Graph, tensors: Mapping[str, Tensor], instead: Mapping[str, Any]) -> dict[str, Tensor]:
    """Returns the same, with functions in place of some operators, by their names: to be traced once."""
    outputs: dict[str, Tensor] = _module(graph, "cpu", instead)(tensors)
    return outputs


def random_operators(graph: Graph) -> dict[str, int]:
    """Returns how often each operator is called that draws random numbers: such a model is another at each step."""
    drawn = [node.operator for node in graph.nodes if _draws(node)]
    return {name: drawn.count(name) for name in dict.fromkeys(drawn)}


def _draws(node: Node) -> bool:
    target = _operator(node.operator)
    if torch.Tag.nondeterministic_seeded not in target.tags:
        return False
    places = {argument.name: i for i, argument in enumerate(target._schema.arguments)}
    for name in ("dropout_p", "dropout", "p"):
        if name in places:
            place = places[name]
            default = target._schema.arguments[place].default_value
            return bool(node.arguments[place] if place < len(node.arguments) else node.keywords.get(name, default))
    return True


def _operator(name: str) -> Any:
    """Returns PyTorch's operator. Raises ValueError where this release has none of that name."""
    namespace, packet, overload = name.split(".")
    try:
        return getattr(getattr(getattr(torch.ops, namespace), packet), overload)
    except AttributeError:
        raise ValueError(f"torch {torch.__version__} has no operator {name}: export the model again") from None


def _module(graph: Graph, device: str, instead: Mapping[str, Any] | None = None) -> fx.GraphModule:
    made = fx.Graph()
    tensors = made.placeholder("tensors")
    values: dict[str, Any] = {
        name: made.call_function(operator.getitem, (tensors, x.name)) for name, x in graph.inputs.items()
    }
    types: dict[str, Callable[[str], Any]] = {
        "device": lambda name: torch.device(device),
        "dtype": lambda name: getattr(torch, name),
        "memory_format": lambda name: getattr(torch, name),
    }

    def value(x: Value) -> Any:
        if isinstance(x, tuple):
            return [value(y) for y in x]
        if isinstance(x, Named):
            return types[x.kind](x.name)
        if isinstance(x, Reference):
            return values[x.name] if x.item is None else item(x)
        return x

    def item(x: Reference) -> Any:
        key = f"{x.name}[{x.item}]"
        if key not in values:
            values[key] = made.call_function(operator.getitem, (values[x.name], x.item))
        return values[key]

    for node in graph.nodes:
        # A tensor whose channels lie last in memory has no view of another shape.
        name = "aten.reshape.default" if node.operator == "aten.view.default" else node.operator
        keywords = {known: value(x) for known, x in node.keywords.items()}
        function = (instead or {}).get(name) or _operator(name)
        values[node.name] = made.call_function(function, tuple(map(value, node.arguments)), keywords)
    made.output({name: value(reference) for name, reference in graph.outputs.items()})
    return fx.GraphModule({}, made)


def _decompositions() -> dict[Any, Any]:
    """Returns PyTorch's decompositions of the operators that a graph does not keep."""
    return {op: rule for op, rule in torch.export.default_decompositions().items() if str(op) not in OPERATORS}


def _keep_regions_without_gradient(module: fx.GraphModule) -> None:
    """Detaches what a region under `torch.no_grad` returns: it is inlined, and would be differentiated otherwise.

    Raises ValueError where autocast is on in a region: inlined, its types would be others.
    """
    for inner in module.modules():
        if not isinstance(inner, fx.GraphModule):
            continue
        for node in list(inner.graph.nodes):
            target = getattr(node.target, "__name__", "")
            if target == "wrap_with_autocast" and node.args[2]:
                raise ValueError(f"forward chooses types by autocast on {node.args[0]}; choose them by a precision")
            if target == "wrap_with_set_grad_enabled" and not node.args[0]:
                for user in [user for user in node.users if user.target is operator.getitem]:
                    _detach(inner, user)
        inner.recompile()


def _detach(module: fx.GraphModule, node: fx.Node) -> None:
    value = node.meta.get("val")
    if isinstance(value, Tensor) and value.is_floating_point():
        with module.graph.inserting_after(node):
            detached = module.graph.call_function(torch.ops.aten.detach.default, (node,))
        detached.meta = {**node.meta, "val": value.detach()}
        node.replace_all_uses_with(detached, delete_user_cb=lambda user: user is not detached)


def _node(node: fx.Node, same: Mapping[str, str]) -> Node:
    value = node.meta.get("val")
    several = isinstance(value, (tuple, list))
    shapes = [tuple(x.shape) for x in (value if several else (value,)) if isinstance(x, Tensor)]
    if any(not isinstance(n, int) for shape in shapes for n in shape):
        raise ValueError(
            f"{node.target} makes the shape {shapes[0]}, which values decide, and a graph has fixed ones: keep the "
            f"shape, by torch.where or a mask\n\n{node.meta.get('stack_trace', '')}"
        )
    results = tuple(Result(*_result(x)) if isinstance(x, Tensor) else None for x in (value if several else (value,)))
    keywords = {name: _value(x, same) for name, x in node.kwargs.items() if name not in LEFT_OUT}
    return Node(node.name, str(node.target), _value(node.args, same), keywords, results, several)


def _copy(node: Node) -> list[Node]:
    """Returns what a copy into another tensor is: PyTorch does not differentiate it, nor ONNX know its broadcast."""
    (result,) = node.results
    assert result is not None
    kept = Result(result.shape, result.dtype)
    spread = f"{node.name}_spread"
    return [
        Node(spread, "aten.expand.default", (node.arguments[1], kept.shape), {}, (kept,)),
        Node(node.name, "aten._to_copy.default", (Reference(spread),), {"dtype": Named("dtype", kept.dtype)}, (kept,)),
    ]


def _result(tensor: Tensor) -> tuple[tuple[int, ...], str]:
    return tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")


def _reference(node: fx.Node, same: Mapping[str, str]) -> Reference:
    if node.target is operator.getitem:
        of, place = node.args
        return Reference(cast("fx.Node", of).name, cast("int", place))
    return Reference(same.get(node.name, node.name))


def _value(x: Any, same: Mapping[str, str]) -> Value:
    if isinstance(x, fx.Node):
        return _reference(x, same)
    if isinstance(x, (tuple, list)):
        return tuple(_value(y, same) for y in x)
    kinds = {
        torch.dtype: "dtype",
        torch.device: "device",
        torch.layout: "layout",
        torch.memory_format: "memory_format",
    }
    kind = kinds.get(type(x))
    if kind is not None:
        return Named(kind, str(x).removeprefix("torch."))
    if x is None or isinstance(x, bool | int | float | str):
        return x
    raise ValueError(f"got the argument {x!r} of type {type(x).__name__}: a graph holds fixed numbers alone")
