"""What sums inside of a graph's operators may err by, which noise takes for one operation each.

Of equal terms, one after the other: there roundoffs do not cancel.

Adding one number again and again rounds the same way until the sum doubles. Of k equal terms the sum is off by up to
k / 4 roundoffs, where that of others is off by about their root. A gradient that came through a mean is such a number:
that of a bias before it is its sum over all places.

And of all places of a channel, in a batch norm: its running statistics err as sums of so many terms of one sign do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod, sqrt
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from workloads.precision import DEFAULT, ROUNDOFF

SUMS = frozenset({"mean", "sum"})
OF_BIAS = frozenset({"convolution_backward", "native_batch_norm_backward", "native_group_norm_backward"})
"""Whose third result is the sum of the first argument, a gradient, over all axes but that of channels."""
OF_ROWS = "native_layer_norm_backward"
"""So too, over all axes but those that its third argument names, the last ones."""
STATISTICS = "_native_batch_norm_legit_functional"
"""Whose last two results are the running mean and variance, next to those among its arguments, and their momentum."""
NEAR = 1e-12
"""Terms are equal that lie within this part of each other in float64, whatever stands between them."""


class EqualTerms(TorchDispatchMode):  # type: ignore[misc]  # untyped in torch
    """While it is entered, sums err by what equal terms among theirs may make, by numbers drawn from `seed`.

    `found` says whether there were any.
    """

    precision = DEFAULT

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.found = False
        self._generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name, x = func.overloadpacket.__name__, args[0] if args else None
        if name == STATISTICS and args[5]:
            self.found = True
            return (*result[:-2], *(self._one_sign(result[at - 5], args[at], args[6], x) for at in (3, 4)))
        if not isinstance(x, Tensor) or not x.is_floating_point():
            return result
        if name in SUMS:
            return self._erring(result, x, _dims(x, args[1:], kwargs or {}))
        if name in OF_BIAS or name == OF_ROWS:
            kept = {1} if name in OF_BIAS else set(range(x.dim() - len(args[2]), x.dim()))
            first, second, of_bias = result
            return first, second, self._erring(of_bias, x, [dim for dim in range(x.dim()) if dim not in kept])
        return result

    def _one_sign(self, after: Tensor, before: Tensor, momentum: float, x: Any) -> Tensor:
        """Returns a running statistic whose batch's part, a sum over all places, errs as that does, in roundoffs."""
        part = after - (1 - momentum) * before
        drawn = torch.rand(after.shape, generator=self._generator, dtype=after.dtype) * 2 - 1
        return after + part * drawn * (ROUNDOFF * sqrt(x.numel() / x.shape[1]) / 3)

    def _erring(self, total: Any, x: Tensor, summed: Sequence[int]) -> Any:
        """Returns `total`, the sums of `x` over some of its axes, off by what its equal terms may make."""
        n = prod(x.shape[dim] for dim in summed)
        if n < 2 or not isinstance(total, Tensor):
            return total
        kept = [dim for dim in range(x.dim()) if dim not in summed]
        terms = x.detach().permute(*kept, *summed).reshape(-1, n).sort(-1).values
        later, earlier = terms[:, 1:], terms[:, :-1]
        is_equal = ((later - earlier).abs() <= NEAR * later.abs()) & (later != 0)
        if not bool(is_equal.any()):
            return total
        self.found = True
        drawn = torch.rand(total.shape, generator=self._generator, dtype=total.dtype) * 2 - 1
        return total * (1 + ROUNDOFF / 4 * is_equal.sum(-1).to(total.dtype).reshape(total.shape) * drawn)


def _dims(x: Tensor, more: Sequence[Any], kwargs: Mapping[str, Any]) -> list[int]:
    """Returns the axes over which a call of `sum` or `mean` adds up."""
    dims = kwargs.get("dim", more[0] if more and not isinstance(more[0], torch.dtype) else None)
    if dims is None or dims == []:
        return list(range(x.dim()))
    return sorted({dim % max(x.dim(), 1) for dim in ([dims] if isinstance(dims, int) else dims)})
