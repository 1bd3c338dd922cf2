"""Reading an ONNX file, so that what is wrong with it is said in one line, before anything is timed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, external_data_helper

from host.memory import available_bytes

COPIES = 4
"""How often a file's tensors are held at once, at most: as they were read, in float64 (twice as much), in a runtime."""


class FileRefused(ValueError):
    """The file cannot be run as it is; the message says in one line why, and what would cure it."""


def load(path: Path, free: int | None = None) -> ModelProto:
    """Returns the model of the file, external tensors read in.

    Raises FileRefused for a file that is missing, no ONNX, cut off, without its external data, or larger than the
    `free` bytes of memory let it be held.
    """
    model = _parsed(path)
    missing = [problem for tensor in tensors(model) if (problem := _external_problem(tensor, path.parent))]
    if missing:
        more = "" if len(missing) == 1 else f" (and {len(missing) - 1} more)"
        raise FileRefused(f"{path.name}: {missing[0]}{more}; put the file beside it, as it was exported")
    needed = COPIES * sum(map(bytes_of, tensors(model)))
    must_fit(path.name, "its tensors take", needed, available_bytes() if free is None else free)
    external_data_helper.load_external_data_for_model(model, str(path.parent))
    return model


def _parsed(path: Path) -> ModelProto:
    try:
        model = onnx.load(str(path), load_external_data=False)
    except FileNotFoundError:
        raise FileRefused(f"no file {path}") from None
    except OSError as error:
        raise FileRefused(f"{path.name} cannot be read: {error.strerror or error}") from error
    except DecodeError:
        raise FileRefused(
            f"{path.name} is no ONNX file, or is cut off: {path.stat().st_size} bytes that do not parse; copy it again"
        ) from None
    if not model.graph.node or not model.graph.output or not model.opset_import:
        raise FileRefused(f"{path.name} is no ONNX file: what it holds has no operators and no outputs")
    return model


def _external_problem(tensor: TensorProto, folder: Path) -> str:
    """Returns what is wrong with where a tensor's bytes should lie; empty where nothing is."""
    if not external_data_helper.uses_external_data(tensor):
        return ""
    info = external_data_helper.ExternalDataInfo(tensor)
    path = (folder / info.location).resolve()
    if not path.is_relative_to(folder.resolve()):
        return f"its tensor {tensor.name} points out of its folder, to {info.location!r}"
    if not path.is_file():
        return f"its external data {info.location!r} is missing"
    end = (info.offset or 0) + (info.length or bytes_of(tensor))
    if end > path.stat().st_size:
        return f"its external data {info.location!r} is cut off: {path.stat().st_size} bytes, {end} are needed"
    return ""


def must_fit(name: str, what: str, needed: int, free: int | None) -> None:
    """Raises FileRefused where `COPIES` of `what` need more bytes than are `free`; None: nobody knows."""
    if free is not None and needed > free:
        raise FileRefused(
            f"{name} does not fit: {what} {needed / COPIES / 1e9:.1f} GB, and being verified {COPIES} times that; "
            f"{free / 1e9:.1f} GB are free"
        )


def bytes_of(tensor: TensorProto) -> int:
    """Returns how many bytes a tensor has, by its shape and type. Strings count one each."""
    n = 1
    for dim in tensor.dims:
        n *= dim
    try:
        return int(n * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    except (KeyError, TypeError):
        return n


def subgraphs(nodes: Iterable[NodeProto]) -> Iterator[GraphProto]:
    """Yields the graphs that nodes hold as attributes: branches of `If`, bodies of `Loop` and `Scan`."""
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield attribute.g
            elif attribute.type == AttributeProto.GRAPHS:
                yield from attribute.graphs


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yields the graph and all that it holds, at any depth."""
    yield graph
    for inner in subgraphs(graph.node):
        yield from graphs(inner)


def nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Yields all nodes of the model: of its graph, of graphs in it, of its own functions."""
    for graph in graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        yield from function.node
        for inner in subgraphs(function.node):
            for graph in graphs(inner):
                yield from graph.node


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Yields all tensors that the file holds: initialisers, and attributes of nodes."""
    for graph in graphs(model.graph):
        yield from graph.initializer
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            elif attribute.type == AttributeProto.TENSORS:
                yield from attribute.tensors
