"""How near the outputs of a quantised model lie to those of the one in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

AGREEMENT = ("sqnr_db", "kl_nats", "top1_agreement", "agreement_n")
"""What says how near a quantised model lies to the float32 one."""


def agreement(observed: Sequence[NDArray[Any]], plain: Sequence[NDArray[Any]]) -> dict[str, float | None]:
    """Returns how near outputs lie to those of float32, as columns of a row.

    Over all elements, and all vectors along the last axis.

    `sqnr_db`: the signal's energy over the difference's; `kl_nats`: the mean divergence of the softmax;
    `top1_agreement`: the share of vectors with the same largest element; `agreement_n`: how many vectors.
    """
    import numpy as np

    a, b = (np.concatenate([x.astype(np.float64).reshape(-1, x.shape[-1]) for x in xs]) for xs in (observed, plain))
    noise = float(np.square(a - b).sum())
    sqnr = 10 * float(np.log10(np.square(b).sum() / noise)) if noise else None
    q, p = (_log_softmax(x) for x in (a, b))
    kl = float((np.exp(p) * (p - q)).sum(-1).mean())
    same = float((a.argmax(-1) == b.argmax(-1)).mean())
    return dict(zip(AGREEMENT, (sqnr, kl, same, len(a)), strict=True))


def _log_softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    shifted = x - x.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))
