"""What OpenVINO says where it lacks an operator of an ONNX graph, as our own refusal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from workloads.graph import UnsupportedOperator

LISTED = re.compile(r"^-- (?:No conversion rule found for operations|Conversion is failed for): (.+)$", re.MULTILINE)
"""How it sums up which operators those are (2026.4), with the opset of each."""
REFUSED = re.compile(r"^Unsupported operation of type: (\S+)(?: name: (\S+))?", re.MULTILINE)
"""How a plugin names what it has no kernel for, or not in this form."""
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


def compiled(core: Any, model: Any, device: str, settings: Mapping[str, Any]) -> Any:
    """Returns the compiled model. Raises UnsupportedOperator where the plugin has no kernel for an operator."""
    try:
        return core.compile_model(model, device, dict(settings))
    except RuntimeError as error:
        if (refused := REFUSED.search(str(error))) is None:
            raise
        *_, why = str(error).strip().splitlines()
        named = " ".join(filter(None, refused.groups()))
        raise UnsupportedOperator(f"operator {named} has no kernel on OpenVINO's {device}: {why[:300]}") from error
