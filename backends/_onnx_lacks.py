"""What the exporter to ONNX says where it has no translation of an operator, as our own refusal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from workloads.graph import UnsupportedOperator

MISSING = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.]+)', overload='(\w+)'\)>")
"""As torch.onnx has it (2.13)."""


@contextmanager
def named_as_ours() -> Iterator[None]:
    """Raises UnsupportedOperator, with the operators' names, in the place of the exporter's error."""
    try:
        yield
    except Exception as error:
        if (ours := _own_refusal(error)) is not None:
            raise UnsupportedOperator(str(ours)) from error
        if names := missing_in(error):
            raise UnsupportedOperator(f"operator {', '.join(names)} has no translation to ONNX") from error
        raise


def missing_in(error: BaseException) -> list[str]:
    """Returns the operators that an error, or what caused it, names as missing."""
    found = [".".join(parts) for cause in _causes(error) for parts in MISSING.findall(str(cause))]
    return list(dict.fromkeys(found))


def _own_refusal(error: BaseException) -> BaseException | None:
    """Returns the refusal of a decomposition of ours that the exporter has wrapped in an error of its own."""
    return next((cause for cause in _causes(error) if isinstance(cause, UnsupportedOperator)), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
