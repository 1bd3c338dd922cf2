"""What OpenVINO says where it does not convert an operator of an ONNX graph, as our own refusal."""

from __future__ import annotations

import re
from typing import Any

from workloads.graph import UnsupportedOperator

LISTED = re.compile(r"^-- (?:No conversion rule found for operations|Conversion is failed for): (.+)$", re.MULTILINE)
"""How it sums up which operators those are (2026.4), with the opset of each."""
FIRST = re.compile(r"with a message:\s+(.+)")


def read(core: Any, path: str) -> Any:
    """Returns the model at `path`. Raises UnsupportedOperator, with their names, where operators are not converted."""
    try:
        return core.read_model(path)
    except RuntimeError as error:
        names = ", ".join(LISTED.findall(str(error)))
        if not names:
            raise
        why = FIRST.search(str(error))
        said = "" if why is None else f": {why[1][:300]}"
        raise UnsupportedOperator(f"operator {names} of the ONNX graph is not converted by OpenVINO{said}") from error
