"""Who is fastest at what: the first lines that a person reads."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from results.record.dimensions import PLAIN_PRECISION, POSITION
from results.record.human import ratio
from results.show.layout import hanging, wrapped
from results.show.numbers import SAMPLES, positions
from results.tables.batches.rungs import without_rungs
from results.tables.ratio import Fastest, fastest, times_as_fast
from results.tables.table import is_verified

METRICS = {"latency_p50_s": "latency", SAMPLES: "throughput"}
BOTH = 2
"""So many numbers can be compared."""


def summary(rows: pd.DataFrame, baseline: str | None, width: int) -> str:
    """Returns a line for each step that two backends ran or more: who is fastest, and by how much; else nothing."""
    verified = without_rungs(rows[is_verified(rows)])
    by = [*POSITION, "workload_digest"]  # what is not equal work is not set against each other
    groups = [group for _, group in verified.groupby(by, dropna=False, sort=False) if len(group) > 1]
    if not groups:
        return ""
    groups.sort(key=place_order)
    _, left, caption = positions(pd.concat([group.iloc[:1] for group in groups])[list(POSITION)])
    places, texts = [], []
    for place, group in zip(left, groups, strict=True):
        for metric, word in METRICS.items():
            known = group[group[metric].notna()].to_dict("records")
            if len(known) < BOTH or (metric == SAMPLES and (group["throughput_mode"] == "serial").all()):
                continue
            places.append([*place, word])
            texts.append(in_words(known, metric, baseline))
    if not texts:
        return ""
    title = f"Fastest, with those that cannot be told from it at 99 % confidence{caption}"
    over = over_precisions(verified, width)
    return "\n".join([wrapped([title], width), hanging(places, texts, width), *([f"\n{over}"] if over else [])])


def place_order(group: pd.DataFrame) -> list[tuple[bool, Any]]:
    """Returns what sorts groups of rows of one place each: text by text, numbers by their size, none last."""
    first = group.iloc[0]
    return [(pd.isna(first[name]), None if pd.isna(first[name]) else first[name]) for name in POSITION]


def over_precisions(verified: pd.DataFrame, width: int) -> str:
    """Returns who is fastest at each step over all precisions: of exact ones, and of those in 8 bits; else nothing.

    In 8 bits the model is another one, so that it stands apart, with how near its outputs lie to fp32's.
    """
    by = [name for name in (*POSITION, "workload_digest") if name != "precision"]
    named = verified.assign(label=verified["label"] + " " + verified["precision"])
    groups = [group for _, group in named.groupby(by, dropna=False, sort=False) if group["precision"].nunique() > 1]
    if not groups:
        return ""
    groups.sort(key=place_order)
    shown = [name for name in POSITION if name != "precision"]
    _, left, caption = positions(pd.concat([group.iloc[:1] for group in groups])[shown])
    places, texts = [], []
    for place, group in zip(left, groups, strict=True):
        approximate = group["kl_nats"].notna()
        for word, rows in (("exact", group[~approximate]), ("approximate", group[approximate])):
            if len(rows):
                places.append([*place, word])
                texts.append(_with_agreement(rows.to_dict("records")))
    title = f"Fastest over precisions, by latency: of those that compute the same model, and in 8 bits{caption}"
    return "\n".join([wrapped([title], width), hanging(places, texts, width)])


def _with_agreement(rows: list[dict[Hashable, Any]]) -> str:
    words = in_words(rows, "latency_p50_s", None)
    first = fastest(rows, "latency_p50_s").labels[0]
    row = next(one for one in rows if one["label"] == first)
    if pd.isna(row["sqnr_db"]):
        return words
    return f"{words}; SQNR {row['sqnr_db']:.0f} dB, top-1 as {PLAIN_PRECISION} in {100 * row['top1_agreement']:.1f} %"


def in_words(rows: list[dict[Hashable, Any]], metric: str, baseline: str | None) -> str:
    """Returns `openvino_cpu, onnxruntime_cpu (within 3 %); 1.31x torch_cpu, the next`."""
    first = fastest(rows, metric)
    named = ", ".join(first.labels)
    within = "" if first.within is None else f" (within {100 * first.within:.0f} %)"
    unsure = "" if first.is_sure else ", too few rounds to be sure"
    return f"{named}{within}{_ahead(first, rows, metric, baseline)}{unsure}"


def _ahead(first: Fastest, rows: list[dict[Hashable, Any]], metric: str, baseline: str | None) -> str:
    by_label: Mapping[str, dict[Hashable, Any]] = {row["label"]: row for row in rows}
    words = []
    if first.next_label is not None and first.next_ratio is not None:
        words.append(f"{ratio(first.next_ratio.value)} {first.next_label}, the next")
    if baseline in by_label and baseline not in (*first.labels, first.next_label):
        times = times_as_fast(by_label[first.labels[0]], by_label[str(baseline)], metric)
        words.append(f"{ratio(times.value)} {baseline}")
    return "".join(f"; {word}" for word in words)
