"""What the command line's lists and numbers mean; what is refused says what was got and what is possible."""

from __future__ import annotations

import re
from collections.abc import Sequence

import backends
from workloads import catalog

WHY_REFUSED = {"backend": backends.why_refused, "workload": catalog.why_refused}


class PlanError(ValueError):
    """An option that cannot be planned; the message says what was got, what is possible."""


def words(text: str | None, option: str, choices: Sequence[str]) -> tuple[str, ...] | None:
    """Returns the comma-separated names in `text`, each of `choices`, none twice. Raises PlanError."""
    if text is None:
        return None
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise PlanError(f"{option} is empty; known: {', '.join(choices)}")
    for name in names:
        if name not in choices:
            kind = option.removeprefix("--").removesuffix("s")
            why = WHY_REFUSED[kind](name) if kind in WHY_REFUSED else ""
            raise PlanError(f"unknown {kind} {name!r}; known: {', '.join(choices)}{why}")
    return names


def numbers(text: str | None, option: str) -> tuple[int, ...] | None:
    """Returns the comma-separated whole numbers in `text`, each at least 1. Raises PlanError."""
    if text is None:
        return None
    values = []
    for part in text.split(","):
        if not re.fullmatch(r"0*[1-9][0-9]{0,8}", part.strip(), re.ASCII):
            raise PlanError(
                f"{option} takes whole numbers, at least 1 and at most 999999999, comma-separated; got {part.strip()!r}"
            )
        values.append(int(part))
    return tuple(dict.fromkeys(values))


def number(text: str | None, option: str) -> int | None:
    """Returns the one whole number in `text`, at least 1. Raises PlanError."""
    values = numbers(text, option) or (None,)
    if len(values) > 1:
        raise PlanError(f"{option} takes one number, got {', '.join(map(str, values))}")
    return values[0]


def index(text: str | None, option: str) -> int:
    """Returns the one whole number in `text`, from 0; 0 where there is none. Raises PlanError."""
    if text is not None and not re.fullmatch(r"[0-9]{1,4}", text.strip(), re.ASCII):
        raise PlanError(f"{option} takes one whole number, from 0 to 9999; got {text.strip()!r}")
    return 0 if text is None else int(text)
