"""The options of a run that name a service, and the services that they ask for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from bench.parent.plans.parse import PlanError
from bench.service_cell import KINDS, REQUESTS, ServiceCell, known_model
from workloads.precision import BF16

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "--service": {"metavar": "URL", "help": "also measure an OpenAI-compatible endpoint; alone, nothing else"},
    "--service-model": {"metavar": "NAME", "help": "the model's name there"},
    "--service-key-env": {"metavar": "NAME", "help": "the variable that holds its key (default: OPENAI_API_KEY)"},
    "--service-kind": {"metavar": "KIND", "help": f"one of: {', '.join(KINDS)} (default: completions)"},
    "--scenario": {
        "metavar": "LIST",
        "help": "how its requests arrive: single_stream (default), multi_stream, offline, concurrency:N, server:RATE, "
        "server:max; without --service the steps of this machine are put under these loads",
    },
    "--service-requests": {
        "metavar": "N",
        "help": f"requests of each scenario (default: {REQUESTS}; of server:max thousands)",
    },
    "--service-prompt": {"metavar": "N", "help": "tokens of each prompt (default: 128)"},
    "--service-output": {"metavar": "N", "help": "tokens that each answer is asked for (default: 64)"},
    "--service-vocabulary": {"metavar": "N", "help": "send prompts as token ids below N (default: fitted text)"},
    "--service-bound": {"metavar": "LIST", "help": "NAME=SECONDS, for goodput and for server:max"},
    "--service-field": {"metavar": "NAME=JSON", "action": "append", "help": "sent along, dropped where it is refused"},
    "--service-seed": {"metavar": "N", "help": "of its arrivals and prompts (default: 0)"},
    "--service-salt": {"metavar": "TEXT", "help": "what makes its prompts unlike those of before (default: the time)"},
    "--service-timeout": {"metavar": "SECONDS", "help": "of each of its requests (default: 600)"},
    "--service-model-is": {
        "metavar": "WORKLOAD:SIZE",
        "help": "what it computes: its log-probabilities are held against this model",
    },
    "--service-weights": {"metavar": "PATH", "help": "safetensors of that model's weights, the ones that it serves"},
    "--service-precision": {"metavar": "NAME", "help": f"what it computes in (default: {BF16.name})"},
    "--mlperf": {"action": "store_true", "default": None, "help": "keep MLPerf's least duration and queries for it"},
}
OF_STEPS = ("--scenario", "--service-requests", "--service-bound", "--service-seed", "--mlperf")
"""Options that without `--service` are about the steps of this machine."""
NAMES = tuple(name.removeprefix("--") for name in OPTIONS)
OF_CELLS = ("backends", "workloads", "phases", "precision", "batch", "sequence", "depth", "suite", "weights", "ab")
"""Options with one of which a run with a service has cells, too."""


def services_of(option: Callable[[str], Any]) -> tuple[ServiceCell, ...]:
    """Returns a service for each scenario that was asked for; nothing without --service. Raises PlanError."""
    url = option("--service")
    if url is None:
        if given := [name for name in OPTIONS if option(name) is not None and not is_of_steps(option, name)]:
            raise PlanError(f"{', '.join(given)} without --service URL: say which service is meant")
        return ()
    if option("--service-model") is None:
        raise PlanError("--service needs --service-model NAME: the model's name there")
    scenarios = scenarios_of(option)
    chosen = {
        "kind": option("--service-kind"),
        "key_variable": option("--service-key-env"),
        "salt": option("--service-salt"),
        **{
            field: whole(option, name)
            for field, name in (
                ("requests", "--service-requests"),
                ("prompt_tokens", "--service-prompt"),
                ("output_tokens", "--service-output"),
                ("vocabulary", "--service-vocabulary"),
                ("seed", "--service-seed"),
            )
        },
    }
    known = {field: value for field, value in chosen.items() if value is not None}
    try:
        if option("--service-timeout") is not None:
            known["timeout_s"] = _seconds(option("--service-timeout"), "the timeout")
        bounds = bounds_of(texts_of(option("--service-bound")))
        fields = fields_of(option("--service-field") or [])
        of_model = (option(f"--service-{name}") for name in ("model-is", "weights", "precision"))
        known["known"] = known_model(*of_model)
        shared = known | {"bounds": bounds, "fields": fields, "mlperf": bool(option("--mlperf"))}
        model = option("--service-model")
        return tuple(ServiceCell(url=url, model=model, scenario=scenario, **shared) for scenario in scenarios)
    except ValueError as error:
        raise PlanError(f"--service: {error}") from error


def is_of_steps(option: Callable[[str], Any], name: str) -> bool:
    """Returns whether the option says how steps of this machine are loaded: where `--scenario` names no service's."""
    return name in OF_STEPS and option("--scenario") is not None


def scenarios_of(option: Callable[[str], Any]) -> list[str]:
    """Returns the scenarios that were asked for, `single_stream` where none was. Raises PlanError."""
    scenarios = [word.strip() for word in (option("--scenario") or "single_stream").split(",")]
    if len({*scenarios}) < len(scenarios):
        raise PlanError(f"--scenario has one twice: {', '.join(scenarios)}; give each once")
    return scenarios


def texts_of(text: str | None) -> list[str]:
    """Returns the comma-separated parts of an option; none where it was not given."""
    return text.split(",") if text else []


def is_alone(option: Callable[[str], Any]) -> bool:
    """Returns whether the options ask for a service and for no cells beside it."""
    return option("--service") is not None and all(option(f"--{name}") is None for name in OF_CELLS)


def bounds_of(texts: list[str]) -> dict[str, float]:
    """Returns bounds from `NAME=SECONDS`. Raises ValueError."""
    pairs = [_pair(text) for text in texts]
    bounds = {name: _seconds(value, f"the bound on {name}") for name, value in pairs}
    if len(bounds) < len(pairs):
        raise ValueError(f"a bound stands there twice: {', '.join(texts)}; give each once")
    return bounds


def fields_of(texts: list[str]) -> dict[str, object]:
    """Returns optional fields of requests from `NAME=JSON`. Raises ValueError."""
    return {name: _json(value) for name, value in map(_pair, texts)}


def whole(option: Callable[[str], Any], name: str) -> int | None:
    """Returns the whole number that was given for an option, None where none was. Raises PlanError."""
    text = option(name)
    if text is None:
        return None
    if not str(text).isdecimal():
        raise PlanError(f"{name} takes a whole number, got {text!r}")
    return int(text)


def _seconds(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{what} is a number of seconds, such as 0.5; got {text!r}") from None


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.strip().partition("=")
    if not (name and equals and value):
        raise ValueError(f"expected NAME=VALUE, got {text!r}")
    return name, value


def _json(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_no_json)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a field's value is JSON, such as true or 5; got {text!r}") from error


def _no_json(word: str) -> object:
    raise ValueError(f"{word} is Python's, and no JSON")
