"""`samestep service URL --model NAME`: what users of an OpenAI-compatible endpoint see, at a load of your choice.

What an endpoint computes is not proven: its numbers stand by themselves, beside no verified ones. A run measures the
same (`samestep run --service URL`), with rows in its journal.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backends._probes import versions
from bench.parent.plans.services import bounds_of, fields_of
from bench.service_cell import KINDS, REQUESTS, ServiceCell, known_model
from bench.serving.definitions import DEFINITIONS, PER_ANSWER
from bench.serving.service.measure import VERIFICATION, measure
from bench.serving.streamed import ERRORS
from results.record.services.csvfile import write_services
from workloads.precision import BF16

SHOWN = ("ttft_s", "tpot_s", "itl_s", "icl_s", "e2e_s", "ttft_from_due_s", "lag_s")
RATES = ("requests_per_s", "goodput_requests_per_s", "output_tokens_per_s", "total_tokens_per_s", "tokens_per_chunk")
OF_SEARCH = ("highest_rate_per_s", "highest_rate_low_per_s", "highest_rate_high_per_s", "offline_per_s")


def parser(prog: str) -> argparse.ArgumentParser:
    """Returns the parser of the command."""
    made = argparse.ArgumentParser(prog=prog, description=__doc__)
    made.add_argument("url", help="the endpoint's base, such as http://127.0.0.1:8000/v1")
    made.add_argument("--model", required=True, help="the model's name there")
    made.add_argument("--kind", choices=KINDS, default="completions")
    made.add_argument("--key-env", metavar="NAME", default="OPENAI_API_KEY", help="the variable that holds the key")
    made.add_argument("--requests", metavar="N", type=int, default=REQUESTS)
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
    load.add_argument(
        "--scenario",
        metavar="NAME",
        help="single_stream, multi_stream, offline, concurrency:N, server:RATE, server:max",
    )
    made.add_argument("--mlperf", action="store_true", help="keep MLPerf's least duration and number of queries")
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
    made.add_argument("--model-is", metavar="WORKLOAD:SIZE", help="what it computes, to be held against it")
    made.add_argument("--weights", metavar="PATH", help="safetensors of that model's weights, the ones that it serves")
    made.add_argument("--precision", metavar="NAME", help=f"what it computes in (default: {BF16.name})")
    for form in ("csv", "json"):
        made.add_argument(f"--{form}", metavar="FILE", type=Path, help=f"also write all numbers as {form.upper()}")
    return made


def main(words: Sequence[str], prog: str) -> int:
    """Measures, prints, and returns the exit status: 1 where no request was answered whole, 2 where a file failed."""
    command = parser(prog)
    given = command.parse_args(words)
    try:
        cell = cell_of(given)
    except ValueError as error:
        command.error(str(error))
    record = measure(cell)
    if record["status"] != "ok":
        print(f"{prog}: {given.url}: {record['status']}: {record['reason']}", file=sys.stderr)
        if "n_requests" not in record:
            return 1
    print(in_words(record, cell))
    try:
        write(record, given)
    except OSError as error:
        print(f"{prog}: the numbers are not written: {error}", file=sys.stderr)
        return 2
    return 0 if record["status"] == "ok" else 1


def cell_of(given: argparse.Namespace) -> ServiceCell:
    """Returns what was asked for. Raises ValueError."""
    scenario = given.scenario or "single_stream"
    if given.rate is not None:
        scenario = f"server:{given.rate}"
    elif given.concurrency not in (None, 1):
        scenario = f"concurrency:{given.concurrency}"
    return ServiceCell(
        url=given.url,
        model=given.model,
        scenario=scenario,
        kind=given.kind,
        key_variable=given.key_env,
        requests=given.requests,
        prompt_tokens=given.prompt_tokens,
        output_tokens=given.max_tokens,
        vocabulary=given.vocabulary,
        seed=given.seed,
        salt=given.salt,
        timeout_s=given.timeout,
        bounds=bounds_of(given.bound),
        fields=fields_of(given.field),
        mlperf=given.mlperf,
        known=known_model(given.model_is, given.weights, given.precision),
    )


def in_words(record: Mapping[str, Any], cell: ServiceCell) -> str:
    """Returns what a person reads."""
    lines = [
        f"{cell.model} at {cell.url}: {cell.scenario}, {record['n_requests']} requests of "
        f"{cell.prompt_tokens} + {cell.output_tokens} tokens",
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
    lines += [f"{name:24} {record[name]:.4g}" for name in (*RATES, *OF_SEARCH) if record.get(name) is not None]
    if cell.bounds:
        lines.append("goodput: " + ", ".join(f"{name} at most {bound:g} s" for name, bound in cell.bounds.items()))
    failed = [part.rpartition(":") for part in (record["failures"] or "").split()]
    told_of = ", ".join(f"{n} {error} ({ERRORS.get(error, 'in the driver')})" for error, _, n in failed)
    lines.append(f"failed: {told_of}" if told_of else "none failed")
    if record["n_mismatch"]:
        lines.append(f"{record['n_mismatch']} answers have another length than asked: they are not the same work")
    lines += [
        f"{word}: {record[name]}"
        for word, name in (
            ("early stopping", "early_stopping"),
            ("tokens counted by", "counted_by"),
            ("noted", "notes"),
            ("the server does not take", "dropped_fields"),
        )
        if record.get(name)
    ]
    said = record["verification"]
    proven = ": what it computes is not proven, and stands beside no verified number." if said == VERIFICATION else ""
    lines.append(f"verification {said}{proven}")
    return "\n".join(lines)


def write(record: Mapping[str, Any], given: argparse.Namespace) -> None:
    """Writes the files that were asked for."""
    if given.json is not None:
        given.json.write_text(json.dumps(record, indent=1) + os.linesep)
    if given.csv is not None:
        write_services([{**record, "source": f"samestep {versions(('samestep',))['samestep']}"}], given.csv)
