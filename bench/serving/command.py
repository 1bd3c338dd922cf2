"""`samestep service URL --model NAME`: what users of an OpenAI-compatible endpoint see, at a load of your choice.

What an endpoint computes is not proven: its numbers stand by themselves, beside no verified ones.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import strftime
from typing import Any

from bench.serving.answer import Answer
from bench.serving.arrivals import Concurrency, Scenario, Server, SingleStream
from bench.serving.definitions import DEFINITIONS, PER_ANSWER, Summary, summary
from bench.serving.driver import LateClient, RealClock, drive, why_late
from bench.serving.openai_http import OpenAITarget
from bench.serving.prompts import IdPrompts
from bench.serving.streamed import ERRORS, StreamedAnswer
from bench.serving.text_prompts import fitted
from bench.serving.wire.endpoint import PATHS, Endpoint, Prompt

SHOWN = ("ttft_s", "tpot_s", "itl_s", "icl_s", "e2e_s", "ttft_from_due_s", "lag_s")
RATES = ("requests_per_s", "goodput_requests_per_s", "output_tokens_per_s", "total_tokens_per_s", "tokens_per_chunk")
VERIFICATION = "none: a service"


def parser(prog: str) -> argparse.ArgumentParser:
    """Returns the parser of the command."""
    made = argparse.ArgumentParser(prog=prog, description=__doc__)
    made.add_argument("url", help="the endpoint's base, such as http://127.0.0.1:8000/v1")
    made.add_argument("--model", required=True, help="the model's name there")
    made.add_argument("--kind", choices=tuple(PATHS), default="completions")
    made.add_argument("--key-env", metavar="NAME", default="OPENAI_API_KEY", help="the variable that holds the key")
    made.add_argument("--requests", metavar="N", type=int, default=64)
    made.add_argument("--prompt-tokens", metavar="N", type=int, default=128)
    made.add_argument("--max-tokens", metavar="N", type=int, default=64, help="tokens that each answer is asked for")
    made.add_argument(
        "--vocabulary",
        metavar="N",
        type=int,
        help="send prompts as token ids below N (default: text of as many tokens)",
    )
    load = made.add_mutually_exclusive_group()
    load.add_argument("--concurrency", metavar="N", type=int, help="requests in flight (default: 1, SingleStream)")
    load.add_argument("--rate", metavar="R", type=float, help="Poisson arrivals, on average R per second (Server)")
    made.add_argument("--seed", type=int, default=0, help="of arrivals and prompts")
    made.add_argument("--salt", help="what makes prompts unlike those of before (default: the time)")
    made.add_argument("--timeout", metavar="SECONDS", type=float, default=600.0)
    made.add_argument(
        "--bound", metavar="NAME=SECONDS", action="append", default=[], help=f"for goodput; of {', '.join(PER_ANSWER)}"
    )
    made.add_argument(
        "--field",
        metavar="NAME=JSON",
        action="append",
        default=[],
        help="sent along, dropped where the server refuses it",
    )
    for form in ("csv", "json"):
        made.add_argument(f"--{form}", metavar="FILE", type=Path, help=f"also write all numbers as {form.upper()}")
    return made


def main(words: Sequence[str], prog: str) -> int:
    """Measures, prints, and returns the exit status: 1 where no request was answered whole."""
    command = parser(prog)
    given = command.parse_args(words)
    try:
        bounds = {name: float(value) for name, value in map(_pair, given.bound)}
        fields = {"stream_options.include_usage": True} | {n: _json(v) for n, v in map(_pair, given.field)}
        endpoint = Endpoint(given.url, given.model, given.max_tokens, given.kind, given.timeout, given.key_env, fields)
        scenario = scenario_of(given)
        if given.requests < 1 or given.prompt_tokens < 1:
            raise ValueError(
                f"--requests and --prompt-tokens are 1 or more, not {given.requests}, {given.prompt_tokens}"
            )
        summary([], bounds=bounds)
    except ValueError as error:
        command.error(str(error))
    try:
        answers, dropped = measured(endpoint, scenario, given)
    except (LateClient, OSError, ValueError) as error:
        print(f"{prog}: {given.url}: {error}", file=sys.stderr)
        return 1
    found = summary(answers, bounds=bounds, asked_tokens=given.max_tokens)
    record = record_of(given, scenario, found, answers, dropped)
    print(in_words(record, found, bounds))
    write(record, given)
    return 0 if found.values["n_requests"] != found.values["n_failed"] else 1


def scenario_of(given: argparse.Namespace) -> Scenario:
    """Returns the scenario that was asked for."""
    if given.rate is not None:
        return Server(given.rate, given.seed)
    return SingleStream() if given.concurrency in (None, 1) else Concurrency(given.concurrency)


def measured(
    endpoint: Endpoint, scenario: Scenario, given: argparse.Namespace
) -> tuple[Sequence[Answer], tuple[str, ...]]:
    """Returns the answers, and the optional fields that the server does not take.

    Raises OSError where there is no server, ValueError where it answers nothing or no such prompts can be made, and
    LateClient where this machine sends too late for arrivals that were asked for.
    """
    salt = given.salt or strftime("%Y%m%dT%H%M%S")
    chosen: list[Callable[[int], Prompt]] = []

    def prompt_of(number: int) -> Prompt:  # known when the server has counted
        return chosen[0](number)

    with OpenAITarget(endpoint, prompt_of) as target:
        target.open(1)
        first = target.ask("hello" if given.vocabulary is None else [1, 2, 3], 1)
        if first.error not in ("", "short"):
            raise ValueError(f"the endpoint does not answer: {first.error} ({ERRORS[first.error]}): {first.detail}")
        chosen.append(prompts_of(target, given, salt))
        target.prepare(range(given.requests))
        target.open((scenario.in_flight or 16) - 1)
        answers = drive(target, scenario, RealClock(), given.requests, timeout_s=given.timeout)
        bound_s = min((a.end_s - a.sent_s for a in answers if not a.error), default=None)
        if scenario.in_flight is None and bound_s is not None and (late := why_late(answers, bound_s)):
            raise LateClient(late)
        return answers, target.dropped_fields


def prompts_of(target: OpenAITarget, given: argparse.Namespace, salt: str) -> Callable[[int], Prompt]:
    """Returns what makes a request's prompt. Raises ValueError where the server counts no tokens of a text."""
    if given.vocabulary is not None:
        return IdPrompts(given.vocabulary, given.prompt_tokens, given.seed, salt)

    def count(text: str) -> int:
        tokens = target.ask(text, 1).prompt_tokens
        if tokens is None:
            raise ValueError(
                "the server tells no usage, so that texts of a number of tokens cannot be made: "
                "send token ids (--vocabulary N)"
            )
        return tokens

    return fitted(count, given.prompt_tokens, given.seed, salt)


def record_of(
    given: argparse.Namespace, scenario: Scenario, found: Summary, answers: Sequence[Answer], dropped: tuple[str, ...]
) -> dict[str, Any]:
    """Returns all that is known of the measurement, by column."""
    streamed = [answer for answer in answers if isinstance(answer, StreamedAnswer)]
    return {
        "url": given.url,
        "model": given.model,
        "kind": given.kind,
        "started_utc": strftime("%Y-%m-%d"),
        "verification": VERIFICATION,
        "scenario": type(scenario).__name__,
        "in_flight": scenario.in_flight,
        "rate_per_s": given.rate,
        "prompt_tokens_asked": given.prompt_tokens,
        "output_tokens_asked": given.max_tokens,
        "counted_by": ", ".join(sorted({answer.counted_by for answer in streamed if not answer.error})),
        "notes": ", ".join(sorted({note for answer in streamed for note in answer.notes})),
        "dropped_fields": ", ".join(dropped),
        **{f"n_{error}": n for error, n in found.errors.items()},
        **found.values,
    }


def in_words(record: Mapping[str, Any], found: Summary, bounds: Mapping[str, float]) -> str:
    """Returns what a person reads."""
    load = f"{record['rate_per_s']:g} requests/s" if record["rate_per_s"] else f"{record['in_flight']} in flight"
    lines = [
        f"{record['model']} at {record['url']}: {record['scenario']}, {load}, {record['n_requests']} requests of "
        f"{record['prompt_tokens_asked']} + {record['output_tokens_asked']} tokens",
        "",
        f"{'':16} {'p50':>10} {'p90':>10} {'p99':>10} {'n':>6}   is",
    ]
    for name in SHOWN:
        values = [record[f"{name}_{quantile}"] for quantile in ("p50", "p90", "p99")]
        if values[0] is not None:
            told = " ".join(f"{1e3 * value:>7.2f} ms" for value in values)
            formula = PER_ANSWER[name][1] if name in PER_ANSWER else DEFINITIONS[f"{name}_p50"][1].partition(": ")[2]
            lines.append(f"{name:16} {told} {record[f'{name}_n']:>6}   {formula}")
    lines.append("")
    lines += [f"{name:24} {record[name]:.4g}" for name in RATES if record[name] is not None]
    if bounds:
        lines.append("goodput: " + ", ".join(f"{name} at most {bound:g} s" for name, bound in bounds.items()))
    failed = ", ".join(f"{n} {error} ({ERRORS.get(error, 'in the driver')})" for error, n in found.errors.items())
    lines.append(f"failed: {failed}" if failed else "none failed")
    if record["n_mismatch"]:
        lines.append(f"{record['n_mismatch']} answers have another length than asked: they are not the same work")
    lines += [
        f"{word}: {record[name]}"
        for word, name in (
            ("tokens counted by", "counted_by"),
            ("noted", "notes"),
            ("the server does not take", "dropped_fields"),
        )
        if record[name]
    ]
    lines.append(f"verification {VERIFICATION}: what it computes is not proven, and stands beside no verified number.")
    return "\n".join(lines)


def write(record: Mapping[str, Any], given: argparse.Namespace) -> None:
    """Writes the files that were asked for."""
    if given.json is not None:
        given.json.write_text(json.dumps(record, indent=1) + os.linesep)
    if given.csv is not None:
        with given.csv.open("w", newline="") as file:
            table = csv.DictWriter(file, list(record))
            table.writeheader()
            table.writerow(record)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ValueError(f"expected NAME=VALUE, got {text!r}")
    return name, value


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"a field's value is JSON, such as true or 5; got {text!r}") from error
