"""Makes rows of services, and refuses what no such row can be."""

from __future__ import annotations

from collections.abc import Mapping

from results.record.row import Row, checked
from results.record.services.columns import (
    BACKEND,
    COLUMN,
    KEY,
    MEASURED,
    NOT_VERIFIED,
    PROVEN,
    SERVICE_FORMAT,
    STATUSES,
    UNVERIFIED,
    VERIFICATION,
    VERIFIED,
    WRONG,
)
from results.record.text import one_line


def make_service_row(**values: object) -> Row:
    """Returns a row: every column in order, None where `values` has none; backend and verification are always said.

    Raises TypeError for an unknown column or a value of another kind, ValueError for a value or a combination that a
    row cannot have.
    """
    if unknown := [name for name in values if name not in COLUMN]:
        raise TypeError(f"unknown columns {unknown}; a row of a service has: {', '.join(COLUMN)}")
    said = values.pop("verification", None)
    always = {"service_format": SERVICE_FORMAT, "backend": BACKEND}
    given = always | {name: value for name, value in values.items() if value is not None}
    row = {name: checked(column, given.get(name)) for name, column in COLUMN.items()}
    otherwise = VERIFICATION if row["backend"] == BACKEND else NOT_VERIFIED
    row["verification"] = otherwise if said is None else one_line(str(said))
    _check_verification(row)
    _check_together(row)
    return row


def key_of(row: Mapping[str, object]) -> tuple[object, ...]:
    """Returns what identifies the row."""
    return tuple(row.get(name) for name in KEY)


def not_run_service(planned: Mapping[str, object], reason: str) -> Row:
    """Returns the row of a service that was planned and not measured."""
    return make_service_row(**planned, status="not_run", reason=reason)


def _check_verification(row: Row) -> None:
    """Refuses what is said to be proven and is not: of another status, or without what it was held against."""
    said, status = str(row["verification"]), row["status"]
    if row["backend"] != BACKEND:
        _check_of_step(said, str(status))
        return
    if said == VERIFICATION:
        if status == WRONG:
            raise ValueError(f"status is {WRONG!r} and verification is {said!r}; expected {WRONG!r}")
        return
    if said != WRONG and not said.startswith(VERIFIED):
        raise ValueError(f"verification is {said!r}; expected {VERIFICATION!r}, {VERIFIED + '…'!r} or {WRONG!r}")
    if (said == WRONG) != (status == WRONG) or status not in ("ok", WRONG):
        raise ValueError(f"verification is {said!r} and status is {status!r}; these do not go together")
    needed = ("model_is", "weights_sha256", "precision", "logprobs_compared", "logprobs_rms", "logprobs_allowed")
    if missing := [name for name in needed if row[name] is None]:
        raise ValueError(f"verification is {said!r} and {', '.join(missing)} missing; say what it was held against")


def _check_of_step(said: str, status: str) -> None:
    """Refuses a number of a step without its verification, and a verification without a number."""
    fitting = {"ok": (*PROVEN, UNVERIFIED), WRONG: (WRONG,)}.get(status, (NOT_VERIFIED,))
    if said not in fitting:
        raise ValueError(f"verification is {said!r} and status is {status!r}; expected {' or '.join(fitting)}")


def _check_together(row: Row) -> None:
    if row["service_format"] != SERVICE_FORMAT:
        raise ValueError(f"service_format is {row['service_format']}, expected {SERVICE_FORMAT}: update samestep")
    if missing := [name for name in ("service", "model", "scenario", "source") if row[name] is None]:
        raise ValueError(f"{', '.join(missing)} missing; every row says what was asked, how, and who measured")
    status = row["status"]
    if status not in STATUSES:
        raise ValueError(f"unknown status {status!r}; known: {', '.join(STATUSES)}")
    if status == "ok":
        n_requests, n_failed = row["n_requests"], row["n_failed"]
        if not isinstance(n_requests, int) or n_requests <= (n_failed if isinstance(n_failed, int) else 0):
            raise ValueError(f"status is 'ok' and of {n_requests} requests {n_failed} failed; expected a whole answer")
        return
    if row["reason"] is None:
        raise ValueError(f"status is {status!r} and reason is missing; say why there is no number")
    if status != "broken" and (given := [name for name in MEASURED if row[name] is not None]):
        raise ValueError(f"status is {status!r} and {given} are given; only an answered service has numbers")
