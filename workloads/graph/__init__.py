"""A user's model as data: the graph of operators that `torch.export` wrote, readable from and writable to JSON.

It is functional: no operator changes its arguments. Operators carry PyTorch's names with the overload, such as
`aten.addmm.default`; what they do is said by PyTorch's documentation of the same name. A binding evaluates it by
`Ops.evaluate` (`workloads/ops.py`).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

FORMAT = 1
WIDE = {"float16": "float64", "bfloat16": "float64", "float32": "float64", "complex64": "complex128"}
"""What a reference in float64 has in place of each type."""


class UnsupportedOperator(NotImplementedError):
    """A binding has no such operator. The message is the operator's name, as in `operator aten.fft_rfft.default`."""


@dataclass(frozen=True)
class Tensor:
    """Shape and type of an array, by NumPy's name of the type."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Reference:
    """What a node or an input is called; `item` counts among several results of one node."""

    name: str
    item: int | None = None


@dataclass(frozen=True)
class Named:
    """An argument that PyTorch has a name for. `kind` is `dtype`, `device`, `layout` or `memory_format`."""

    kind: str
    name: str


Value = Any
"""An argument: None, bool, int, float, str, `Reference`, `Named`, or a tuple of such."""


@dataclass(frozen=True)
class Node:
    """One call of an operator. `results` has as many entries as the operator returns tensors; None for none."""

    name: str
    operator: str
    arguments: tuple[Value, ...]
    keywords: Mapping[str, Value]
    results: tuple[Tensor | None, ...]
    returns_several: bool = False

    def references(self) -> Iterator[Reference]:
        """Yields what the node reads."""
        yield from _references((*self.arguments, *self.keywords.values()))

    def reading(self, of: Callable[[Reference], Reference]) -> Node:
        """Returns the node with `of(reference)` in place of each that it reads."""

        def value(x: Value) -> Value:
            if isinstance(x, tuple):
                return tuple(map(value, x))
            return of(x) if isinstance(x, Reference) else x

        keywords = {name: value(x) for name, x in self.keywords.items()}
        return replace(self, arguments=value(self.arguments), keywords=keywords)


@dataclass(frozen=True)
class Input:
    """A tensor that the graph is given: the name by which a caller knows it, its shape and type."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in an order in which they can be evaluated.

    `inputs` are by the name that nodes use, `outputs` by the name that a caller uses. Buffers after the step are
    outputs called `buffer.<name>`. `kept` is where a binding keeps what it made of the graph.
    """

    inputs: Mapping[str, Input]
    nodes: tuple[Node, ...]
    outputs: Mapping[str, Reference]
    kept: dict[str, Any] = field(default_factory=dict, repr=False)

    def operators(self) -> dict[str, int]:
        """Returns how often each operator is called, the most frequent first."""
        return dict(Counter(node.operator for node in self.nodes).most_common())

    def result(self, reference: Reference) -> Tensor:
        """Returns shape and type of what `reference` names. Raises KeyError where there is none."""
        if reference.name in self.inputs:
            given = self.inputs[reference.name]
            return Tensor(given.shape, given.dtype)
        found = self._results[reference.name][reference.item or 0]
        if found is None:
            raise KeyError(f"{reference} is no tensor")
        return found

    @property
    def _results(self) -> Mapping[str, tuple[Tensor | None, ...]]:
        if "of_nodes" not in self.kept:
            self.kept["of_nodes"] = {node.name: node.results for node in self.nodes}
        results: Mapping[str, tuple[Tensor | None, ...]] = self.kept["of_nodes"]
        return results

    def only(self, outputs: Collection[str]) -> Graph:
        """Returns the graph of some of its outputs, without what they do not need. Raises KeyError for others."""
        chosen = {name: self.outputs[name] for name in outputs}
        needed = {reference.name for reference in chosen.values()}
        nodes = []
        for node in reversed(self.nodes):
            if node.name in needed:
                nodes.append(node)
                needed |= {reference.name for reference in node.references()}
        inputs = {value: given for value, given in self.inputs.items() if value in needed}
        return Graph(inputs, tuple(reversed(nodes)), chosen)

    def widened(self) -> Graph:
        """Returns the graph in float64: every shorter floating type that a node asks for or has is replaced.

        Modules cast to float32 by themselves (norms, rotary angles); what is to be a reference must not.
        """
        return self.typed(lambda dtype: WIDE.get(dtype, dtype))

    def typed(self, dtype_of: Callable[[str], str]) -> Graph:
        """Returns the graph with `dtype_of(dtype)` in place of each type that a node asks for or has."""

        def value(x: Value) -> Value:
            if isinstance(x, tuple):
                return tuple(map(value, x))
            return Named("dtype", dtype_of(x.name)) if isinstance(x, Named) and x.kind == "dtype" else x

        def node(x: Node) -> Node:
            results = tuple(y and Tensor(y.shape, dtype_of(y.dtype)) for y in x.results)
            keywords = {name: value(y) for name, y in x.keywords.items()}
            return replace(x, arguments=value(x.arguments), keywords=keywords, results=results)

        inputs = {name: replace(x, dtype=dtype_of(x.dtype)) for name, x in self.inputs.items()}
        return Graph(inputs, tuple(map(node, self.nodes)), self.outputs)

    def to_json(self) -> str:
        """Returns the graph as JSON, from which `from_json` makes it again."""
        tree = {
            "format": FORMAT,
            "inputs": {name: [x.name, x.shape, x.dtype] for name, x in self.inputs.items()},
            "nodes": [_node_to_json(node) for node in self.nodes],
            "outputs": {name: _to_json(reference) for name, reference in self.outputs.items()},
        }
        return json.dumps(tree, separators=(",", ":"), allow_nan=False)


def from_json(text: str) -> Graph:
    """Returns the graph that `Graph.to_json` wrote. Raises ValueError for another format."""
    tree = json.loads(text)
    if tree.get("format") != FORMAT:
        raise ValueError(f"got a graph of format {tree.get('format')!r}, expected {FORMAT}: export the model again")
    return Graph(
        {name: Input(known, tuple(shape), dtype) for name, (known, shape, dtype) in tree["inputs"].items()},
        tuple(map(_node_from_json, tree["nodes"])),
        {name: _from_json(reference) for name, reference in tree["outputs"].items()},
    )


def _references(values: tuple[Value, ...]) -> Iterator[Reference]:
    for value in values:
        if isinstance(value, Reference):
            yield value
        elif isinstance(value, tuple):
            yield from _references(value)


def _node_to_json(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "operator": node.operator,
        "arguments": _to_json(node.arguments),
        "keywords": {name: _to_json(value) for name, value in node.keywords.items()},
        "makes": [x and [x.shape, x.dtype] for x in node.results],
        **({"returns_several": True} if node.returns_several else {}),
    }


def _node_from_json(tree: Mapping[str, Any]) -> Node:
    return Node(
        tree["name"],
        tree["operator"],
        _from_json(tree["arguments"]),
        {name: _from_json(value) for name, value in tree["keywords"].items()},
        tuple(x and Tensor(tuple(x[0]), x[1]) for x in tree["makes"]),
        tree.get("returns_several", False),
    )


def _to_json(value: Value) -> Any:
    if isinstance(value, Reference):
        return {"value": value.name} | ({} if value.item is None else {"item": value.item})
    if isinstance(value, Named):
        return {value.kind: value.name}
    if isinstance(value, tuple):
        return [_to_json(x) for x in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"got {value!r} of type {type(value).__name__} as an argument, which a graph cannot hold")


def _from_json(tree: Any) -> Value:
    if isinstance(tree, list):
        return tuple(_from_json(x) for x in tree)
    if not isinstance(tree, dict):
        return tree
    if "value" in tree:
        return Reference(tree["value"], tree.get("item"))
    ((kind, name),) = tree.items()
    return float(name) if kind == "float" else Named(kind, name)
