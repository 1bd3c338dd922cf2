"""Training beside what a query takes that reads a prompt and generates: what the costs of a language model rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import hypot
from typing import Any

import pandas as pd

from results.record import dimensions
from results.tables.phases import COLUMNS, PLACE, PRICED, STEP, frame_of, phases
from results.tables.prices import Price, known_prices
from results.tables.table import to_rows
from results.tables.tokens.kinds import GENERATED, PROMPT
from results.tables.tokens.rates import rates

OF_MODEL = (*dimensions.MODEL, *PLACE)
"""What training, prompts and generated tokens have in common where they are of one model on one backend."""
SHAPES = tuple(f"{of}_{name}" for of in ("train", "prompt") for name in ("batch", "sequence"))
OF_TOKENS = {
    **dict.fromkeys(SHAPES, "Int64"),
    "prompt_usd_per_million_tokens": "Float64",
    "generated_usd_per_million_tokens": "Float64",
    "no_serving": "string",
}
"""The columns beside those of `phases`, and their dtypes."""
_OF_TRAINING = tuple(name for name in COLUMNS if name.startswith("train_"))


def queries(
    frame: pd.DataFrame, prompt: float, generated: float, train_unit: str, prices: Sequence[Price] | None = None
) -> pd.DataFrame:
    """Returns the columns of `phases` and `OF_TOKENS`: a row per backend and step that generates (batch, depth).

    `infer_s_per_token` is the mean over a query's tokens, `prompt` of which are read and `generated` generated, and
    `infer_s_per_sample` that of a whole query. Prompts and training are taken at the shape in which the backend needs
    least for a token (for a sample, where `train_unit` is samples), as `SHAPES` says. A backend without a verified step
    that generates, or one that reads prompts, has a row without that time: `no_serving` says why.
    """
    known = known_prices() if prices is None else prices
    compared = phases(frame, known)
    training, served = _by_model(compared[~compared["at_best"]]), _by_model(rates(frame, known))
    records = []
    for model in [*training, *(model for model in served if model not in training)]:
        steps = served.get(model, [])
        train = _least(training.get(model, []), f"train_s_per_{train_unit.removesuffix('s')}")
        read = _least([step for step in steps if step["tokens"] == "prompt"], "s_per_token")
        deep: list[dict[str, Any] | None] = [step for step in steps if step["tokens"] == "generated"]
        if steps or train:
            records += [_record(train, read, step, (prompt, generated)) for step in deep or [None]]
    return frame_of(sorted(records, key=_order), COLUMNS | OF_TOKENS)


def _by_model(frame: pd.DataFrame) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    of_model: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in to_rows(frame):
        of_model.setdefault(tuple(row[name] for name in OF_MODEL), []).append(row)
    return of_model


def _least(rows: Sequence[dict[str, Any]], column: str) -> dict[str, Any] | None:
    return min((row for row in rows if row[column] is not None), key=lambda row: row[column], default=None)


def _record(
    train: Mapping[str, Any] | None,
    read: Mapping[str, Any] | None,
    deep: Mapping[str, Any] | None,
    tokens: tuple[float, float],
) -> dict[str, Any]:
    """Returns the row of one step that generates, beside the training and the prompts of the same backend."""
    first = next(row for row in (deep, read, train) if row is not None)
    record = (
        dict.fromkeys(COLUMNS | OF_TOKENS)
        | {"at_best": False, "infer_batch": deep and deep["batch"]}
        | {name: first[name] for name in (*STEP, *PLACE, "device", *PRICED) if deep is not None or name not in _SHAPE}
    )
    record |= {} if train is None else {name: train[name] for name in _OF_TRAINING}
    for of, row in (("train", train), ("prompt", read)):
        record |= {f"{of}_{name}": row and row[name] for name in ("batch", "sequence")}
    for of, row in (("prompt", read), ("generated", deep)):
        record[f"{of}_usd_per_million_tokens"] = row and row["usd_per_million_tokens"]
    if read is None or deep is None:
        missing = [phase for phase, row in ((PROMPT, read), (GENERATED, deep)) if row is None]
        asked = f"--phases {','.join(missing)}"
        return record | {"no_serving": f"no verified {' and no '.join(missing)} step: samestep run {asked} measures it"}
    return record | _of_query(read, deep, tokens)


_SHAPE = (*dimensions.SHAPE, "workload_digest")


def _of_query(read: Mapping[str, Any], deep: Mapping[str, Any], tokens: tuple[float, float]) -> dict[str, Any]:
    """Returns the time of a query, with the half of its interval and its quality."""
    parts = [count * row["s_per_token"] for count, row in zip(tokens, (read, deep), strict=True)]
    halves = [part * row["half_width"] for part, row in zip(parts, (read, deep), strict=True) if row["half_width"]]
    qualities = {row["quality"] for row in (read, deep)}
    return {
        "infer_s_per_sample": sum(parts),
        "infer_s_per_token": sum(parts) / sum(tokens),
        "infer_quality": "degraded" if "degraded" in qualities else deep["quality"],
        "infer_half_width": hypot(*halves) / sum(parts) if len(halves) == len(parts) else None,
    }


def _order(row: Mapping[str, Any]) -> list[tuple[bool, Any]]:
    return [(row[name] is not None, row[name]) for name in (*STEP, *PLACE)]
