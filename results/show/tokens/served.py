"""Who is fastest at reading a prompt and at generating, in the words of those who serve: TTFT, TPOT, tokens per second.

A prompt's first token is there when the prompt was read: its time is that of the step, without whatever a service adds
(queueing, tokenising, sampling, network). A step that generates gives each sequence one token: its time is the time per
token that a user waits, and its tokens per second are those of the whole batch.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from results.record.dimensions import POSITION
from results.record.human import mark, rate, ratio, time_in_words
from results.show.layout import hanging, wrapped
from results.show.legend import NAMELESS
from results.show.numbers import JOINED, SAMPLES, TOKENS, plus_minus, positions
from results.show.summary import in_words, place_order
from results.tables.batches.rungs import without_rungs
from results.tables.ratio import fastest, half_width
from results.tables.table import is_verified
from results.tables.tokens.kinds import GENERATED, PROMPT, is_served

LATENCY = "latency_p50_s"
CALLED = {
    (PROMPT, LATENCY): "time to first token",
    (PROMPT, TOKENS): "prompt tokens/s",
    (GENERATED, LATENCY): "time per token",
    (GENERATED, TOKENS): "tokens/s",
}
"""What a number of a phase is called."""
(MODEL, *_), (SHAPE, (BATCH, *_), *_) = JOINED
LEGEND = (
    "Time to first token is that of reading the prompt of the whole batch, time per token that of a step, which gives "
    "each sequence one: of the model alone, without queueing, tokenising, sampling and network. Best possible: weights "
    "and cache once at the memory's bandwidth."
)


def served(rows: pd.DataFrame, baseline: str | None, width: int) -> str:
    """Returns a line for each number of each step that reads a prompt or generates; nothing where there is none."""
    verified = without_rungs(rows[is_verified(rows) & is_served(rows)])
    by = [*POSITION, "workload_digest"]
    groups = [group for _, group in verified.groupby(by, dropna=False, sort=False)]
    if not groups:
        return ""
    groups.sort(key=_order)
    header, left, caption = positions(pd.concat([group.iloc[:1] for group in groups])[list(POSITION)])
    places, texts = [], []
    for line, group in zip(left, groups, strict=True):
        place = [_named(*pair) for pair in zip(header, line, strict=True)]
        for metric in (LATENCY, TOKENS):
            known = group[group[metric].notna()].to_dict("records")
            if known:
                places.append([*place, CALLED[known[0]["phase"], metric]])
                texts.append(_best(known, metric, baseline))
                place = [""] * len(place)
    title = f"As language models are served, the fastest{caption}"
    return "\n".join([wrapped([title], width), hanging(places, texts, width), wrapped([LEGEND], width)])


def _named(level: str, value: str) -> str:
    """Returns the value of a level as it reads without a header: `gpt2`, `depth 128`, `batch 2×128`."""
    return value if level in (*NAMELESS, MODEL) or not value else f"{BATCH if level == SHAPE else level} {value}"


def _order(group: pd.DataFrame) -> tuple[tuple[bool, Any], ...]:
    """Returns what sorts the steps: prompts first, then by place; numbers by their size."""
    first = group.iloc[0]
    return (False, str(first["workload"])), (False, [PROMPT, GENERATED].index(first["phase"])), *place_order(group)


def _best(rows: Sequence[dict[Hashable, Any]], metric: str, baseline: str | None) -> str:
    """Returns `41.2 ms ±2%, 1.62x the best possible: openvino_cpu; 1.31x torch_cpu, the next`."""
    paired = SAMPLES if metric == TOKENS else metric  # tokens go with their samples, which have the rounds
    first = fastest(rows, paired).labels[0]
    row = next(one for one in rows if one["label"] == first)
    number = time_in_words(row[metric]) if metric == LATENCY else rate(row[metric])
    shown = number + mark(row["quality"]) + plus_minus(half_width(row, paired))
    return f"{shown}{_of_roof(row, metric)}: {in_words(list(rows), paired, baseline)}"


def _of_roof(row: Mapping[Hashable, Any], metric: str) -> str:
    """Returns how many times the best possible a time per token is, where that is known."""
    times = row["times_memory_roof"]
    if metric != LATENCY or pd.isna(row["depth"]) or pd.isna(times):
        return ""
    return f", {ratio(times)} the best possible"
