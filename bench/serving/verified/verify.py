"""A service measured and verified: asked before its load and behind it, judged when nothing is timed any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.service_cell import KnownModel, ServiceCell
from bench.serving.verified.ask import NotVerifiable, texts_of


def verified(cell: ServiceCell, known: KnownModel, measured: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Returns what `measured` does, with what its log-probabilities say of the service.

    Where they are those of another model the status is `wrong`, and no number is left. Where nothing can be said
    `notes` says why, and `verification` stays what it was.
    """
    from bench.serving.verified.judge import judged
    from bench.serving.verified.reference import Reference

    try:
        before = texts_of(cell, known.vocabulary, "before")
    except NotVerifiable as error:
        return _noted(measured(), error)
    row = measured()
    if row["status"] != "ok":
        return row
    try:
        texts = before + texts_of(cell, known.vocabulary, "behind")
        longest = max(len(text.prompt) + len(text.told) for text in texts)
        found = judged(texts, Reference(known, longest))
    except NotVerifiable as error:
        return _noted(row, error)
    if found.why_wrong:
        reason = f"it is not {known.workload} {known.size} with those weights in {known.precision}: {found.why_wrong}"
        return {"status": "wrong", "reason": reason, "verification": "wrong", **found.columns()}
    return row | {"verification": found.in_words(known.precision)} | found.columns()


def _noted(row: dict[str, Any], error: NotVerifiable) -> dict[str, Any]:
    notes = [row["notes"]] if row.get("notes") else []
    return row | {"notes": ", ".join([*notes, f"not verified: {error}"])}
