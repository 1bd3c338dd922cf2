"""The types of the products that torch dispatches: what a dtype alone does not prove."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from backends._arithmetic import cpu_has
from workloads.precision import E4M3

PRODUCTS = (
    "_int_mm",
    "_scaled_dot_product",
    "_scaled_mm",
    "addmm",
    "baddbmm",
    "bmm",
    "conv2d",
    "convolution",
    "linear",
    "matmul",
    "mm",
    "scaled_dot_product_attention",
)


def is_product(name: str) -> bool:
    """Returns whether an operation of this name multiplies matrices."""
    return name.startswith(PRODUCTS)


class Products(TorchDispatchMode):
    """Counts the products that run while it is entered, by the type that they multiply."""

    def __init__(self) -> None:
        super().__init__()
        self.types: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if is_product(func.overloadpacket.__name__):
            self.types[type_of(*args)] += 1
        return func(*args, **(kwargs or {}))


def type_of(*operands: Any) -> str:
    """Returns the type of a product's second tensor: it is never a bias, a mask, or what attention keeps."""
    tensors = [one for one in operands if isinstance(one, Tensor)][:2]
    return str(tensors[-1].dtype).removeprefix("torch.")


def of_graph(graph: torch.fx.Graph) -> Counter[str]:
    """Returns the types of the products in a graph that Dynamo captured."""
    found: Counter[str] = Counter()
    for node in graph.nodes:
        if node.op == "call_function" and is_product(getattr(node.target, "__name__", "")):
            values = [one.meta.get("example_value") for one in node.args if isinstance(one, torch.fx.Node)]
            tensors = [value for value in values if isinstance(value, Tensor)]
            if tensors:
                found[type_of(*tensors)] += 1
    return found


def has_kernels(compute: str) -> bool:
    """Returns whether torch multiplies the type on this CPU without widening it first."""
    if compute == "bfloat16":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and cpu_has(compute)
    if compute == "float16":
        return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported()) and cpu_has(compute)
    return compute != E4M3 or cpu_has(compute)
