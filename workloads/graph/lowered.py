"""A user's graph with activations of a shorter type: what `workloads.recipes.mixed` says of the vocabulary, here.

Products take and give the type. What moves or chooses elements stays in it. The rest is widened to float32, computed,
and rounded once. Behind the last product, where a loss or a final softmax is, everything is float32; so is what is made
of constants, indices and buffers alone, as tables of angles and masks are, until a product reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from math import copysign, inf

from workloads.graph import Graph, Named, Node, Reference, Tensor, Value
from workloads.precision import FLOAT32

# fmt: off
PRODUCTS = frozenset(f"aten.{name}" for name in (
    "addmm.default", "baddbmm.default", "bmm.default", "convolution.default", "dot.default", "einsum.default",
    "linear.default", "matmul.default", "mm.default", "mv.default", "scaled_dot_product_attention.default",
))
"""Operators that multiply, in the type of activations."""
RECURRENT = frozenset(f"aten.{name}" for name in ("gru.input", "lstm.input", "rnn_relu.input", "rnn_tanh.input"))
"""Those that multiply inside of what else they do: they run whole, in float32, of rounded weights."""
MOVES = frozenset(f"aten.{name}" for name in (
    "_unsafe_index.Tensor", "_unsafe_view.default", "abs.default", "alias.default", "amax.default", "amin.default",
    "cat.default", "clone.default", "detach.default", "diagonal.default", "embedding.default", "expand.default",
    "flip.default", "gather.default", "index.Tensor", "index_select.default", "masked_fill.Scalar",
    "masked_fill.Tensor", "max.default", "max.dim", "max_pool2d_with_indices.default",
    "max_pool3d_with_indices.default", "maximum.default", "min.default", "min.dim", "minimum.default",
    "narrow.default", "neg.default", "permute.default", "pixel_shuffle.default", "reflection_pad1d.default",
    "reflection_pad2d.default", "relu.default", "repeat.default", "replication_pad1d.default",
    "replication_pad2d.default", "reshape.default", "roll.default", "select.int", "select_scatter.default",
    "slice.Tensor", "slice_scatter.default", "sort.default", "sort.stable", "split.Tensor",
    "split_with_sizes.default", "squeeze.default", "squeeze.dim", "squeeze.dims", "stack.default", "t.default",
    "topk.default", "transpose.int", "tril.default", "triu.default", "unbind.int", "unfold.default",
    "unsqueeze.default", "upsample_nearest1d.vec", "upsample_nearest2d.vec", "upsample_nearest3d.vec",
    "view.default", "where.self",
))
"""Operators whose results are elements of what they read: exact in any type."""
# fmt: on
FLOATING = ("float", "bfloat", "complex")
CAST = "aten._to_copy.default"
LARGEST = {"bfloat16": 2.0**128 - 2.0**120, "float16": 65504.0}
"""The largest finite number of each type."""


def lowered(graph: Graph, low: str, kept: Collection[str] = ()) -> Graph:
    """Returns the float32 graph with activations of type `low` (NumPy's name); outputs are float32.

    Its floating inputs are of that type, but for those called `kept`. It is made once: the graph keeps it.
    """
    key = f"lowered {low} {sorted(kept)}"
    if key not in graph.kept:
        graph.kept[key] = _Lowering(graph, low, kept).made()
    made: Graph = graph.kept[key]
    return made


class _Lowering:
    def __init__(self, graph: Graph, low: str, kept: Collection[str]) -> None:
        self.graph, self.low = graph, low
        self.inputs = {
            name: replace(x, dtype=low) if x.dtype == FLOAT32 and x.name not in kept else x
            for name, x in graph.inputs.items()
        }
        self.results = {Reference(name): Tensor(x.shape, x.dtype) for name, x in self.inputs.items()}
        self.data = {at for at, x in self.results.items() if x.dtype == low}
        """What comes of inputs and parameters: it is rounded."""
        self.seen_as: dict[Reference, Reference] = {}
        """What has been rounded behind the node that made it: who reads it reads this."""
        self.cast: dict[tuple[Reference, str], Reference] = {}
        self.nodes: list[Node] = []
        self.inner = _before_products(graph)

    def made(self) -> Graph:
        for node in self.graph.nodes:
            self._add(node)
        outputs = {name: self._as(self._seen(at), FLOAT32) for name, at in self.graph.outputs.items()}
        return Graph(self.inputs, tuple(self.nodes), outputs)

    def _add(self, node: Node) -> None:
        read = [self._seen(at) for at in node.references()]
        types = [self.results[at].dtype for at in read]
        is_data = any(at in self.data for at in read)
        asked = node.keywords.get("dtype")
        is_kept_float = node.operator == CAST and asked == Named("dtype", FLOAT32) and types[0] in (FLOAT32, self.low)
        if node.operator in PRODUCTS and FLOAT32 in _types(node):
            type_ = self.low
        elif node.operator in MOVES or is_kept_float:
            # Behind the last product float32 stays so; before it who moves two types together rounds.
            has_low = self.low in types and (FLOAT32 not in types or any(at in self.inner for at in _made(node)))
            type_ = self.low if has_low else FLOAT32
        else:
            type_ = FLOAT32
        self._write(node, type_)
        if not is_data and type_ == FLOAT32:
            return
        for at in _made(node):
            if at in self.results and self.results[at].dtype.startswith(FLOATING):
                self.data.add(at)
                if at in self.inner and self.results[at].dtype == FLOAT32:
                    self.seen_as[at] = self._as(at, self.low)

    def _write(self, node: Node, type_: str) -> None:
        """Adds the node with what it reads in `type_`, and what it makes."""
        node = node.reading(lambda at: self._as(self._seen(at), type_))
        if any(at in self.inner for at in _made(node)):
            node = replace(node, arguments=self._within(node.arguments))
        keywords = dict(node.keywords)
        if type_ == self.low and keywords.get("dtype") == Named("dtype", FLOAT32):
            keywords["dtype"] = Named("dtype", type_)
        results = tuple(x and (replace(x, dtype=type_) if x.dtype == FLOAT32 else x) for x in node.results)
        self.nodes.append(replace(node, keywords=keywords, results=results))
        for at, result in zip(_made(node), results, strict=True):
            if result is not None:
                self.results[at] = result

    def _within(self, x: Value) -> Value:
        """Returns numbers that the type holds: what masks by the least float32 masks by the least of the type."""
        if isinstance(x, tuple):
            return tuple(map(self._within, x))
        largest = LARGEST[self.low]
        return copysign(largest, x) if isinstance(x, float) and largest < abs(x) < inf else x

    def _seen(self, at: Reference) -> Reference:
        return self.seen_as.get(at, at)

    def _as(self, at: Reference, type_: str) -> Reference:
        """Returns `at` in `type_`, where it is in the other of the two; each is cast once."""
        result = self.results[at]
        if result.dtype == type_ or result.dtype not in (FLOAT32, self.low):
            return at
        if (at, type_) not in self.cast:
            name = f"{at.name}_{'' if at.item is None else f'{at.item}_'}{type_}"
            made = Tensor(result.shape, type_)
            self.nodes.append(Node(name, CAST, (at,), {"dtype": Named("dtype", type_)}, (made,)))
            self.cast[at, type_] = Reference(name)
            self.results[Reference(name)] = made
            if at in self.data:
                self.data.add(Reference(name))
        return self.cast[at, type_]


def _made(node: Node) -> Iterator[Reference]:
    """Yields what names each result of a node."""
    for i in range(len(node.results)):
        yield Reference(node.name, i if node.returns_several else None)


def _types(node: Node) -> list[str]:
    return [result.dtype for result in node.results if result is not None]


def _before_products(graph: Graph) -> frozenset[Reference]:
    """Returns what a product reads, or something between: all but what lies behind the last one."""
    found: set[Reference] = set()
    for node in reversed(graph.nodes):
        if node.operator in PRODUCTS | RECURRENT or any(at in found for at in _made(node)):
            found |= set(node.references())
    return frozenset(found)
