"""Which phases read a prompt and which generate: what is said, counted and paid apart."""

from __future__ import annotations

import pandas as pd

PROMPT, GENERATED = "prefill", "decode"
TOKENS_OF = {PROMPT: "prompt", GENERATED: "generated"}
"""What the tokens are called that a phase works on, by phase."""


def is_served(rows: pd.DataFrame) -> pd.Series[bool]:
    """Returns, for each row, whether it reads a prompt or generates."""
    return rows["phase"].isin(TOKENS_OF).fillna(False).astype(bool)
