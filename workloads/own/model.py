"""What a factory of a user's own returns: `samestep.Model`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Model:
    """A torch module with example inputs, and what it takes to train it.

    `inputs` are what `module(*inputs)` takes, or by keyword where they are a mapping; `targets` and `loss(output,
    *targets)` (by keyword where they are a mapping) make the scalar that is differentiated. Without `loss` the module
    is its own loss where its output is a scalar, or has one called `loss`; else it is not trained. `optimizer` is a
    `torch.optim.SGD` with momentum, an Adam or AdamW over the parameters that are trained; without one, SGD at 0.01
    with momentum 0.9.
    """

    module: Any
    inputs: Sequence[Any] | Mapping[str, Any]
    targets: Any = None
    loss: Callable[..., Any] | None = None
    optimizer: Any = None
