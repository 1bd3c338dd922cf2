"""A mend of what OpenVINO's CPU plugin (2026.4) gets wrong: square constants that products read in both directions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from openvino import opset13


def separate_squares(model: Any) -> None:
    """Gives each reader of a square matrix of constants, but for the first, a constant of its own.

    Of `x Wᵀ` and `g W` with one square constant W, as the forward and the backward pass of a frozen weight have it, the
    plugin packs W once and reads it the same way in both: the second product is silently wrong. With another number of
    rows than of columns, or with W as an input, both are right.
    """
    for constant in model.get_ops():
        if constant.get_type_name() == "Constant" and _is_square(constant):
            for reader, is_turned in list(_readers(constant, is_turned=False))[1:]:
                data = constant.data.T.copy() if is_turned else constant.data
                reader.replace_source_output(opset13.constant(data).output(0))


def _readers(node: Any, is_turned: bool) -> Iterator[tuple[Any, bool]]:
    """Yields what reads a matrix, itself or behind transpositions, and whether it reads it turned."""
    for reader in list(node.output(0).get_target_inputs()):
        if reader.get_node().get_type_name() == "Transpose":
            yield from _readers(reader.get_node(), not is_turned)
        else:
            yield reader, is_turned


def _is_square(constant: Any) -> bool:
    shape = constant.get_output_shape(0)
    return len(shape) == 2 and shape[0] == shape[1] > 1
