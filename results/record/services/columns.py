"""The columns of a row of a load: of a service, or of a step of this machine that answers queries.

They are not those of a step by itself. Of a service nothing of what it computes is proven, unless it says so.

The latencies and rates are those of `bench.serving.definitions`, by their names; a test holds the two together.
"""

from __future__ import annotations

from results.record.dimensions import DIMENSIONS
from results.record.schema import Column

SERVICE_FORMAT = 1
"""Raised when the meaning of a column changes."""
VERIFICATION = "none: a service"
"""What stands in a row of a service that was held against nothing."""
VERIFIED = "logprobs: "
"""How it begins where its log-probabilities are those of the reference; what follows says how near they are."""
WRONG = "wrong"
"""What stands where they are another model's, which is a status, too."""
BACKEND = "openai_http"
NOT_VERIFIED = "none"
"""What stands in a row of a step that was not verified, since it did not come to that."""
PROVEN = ("passed", "before only")
"""What stands in a row of a step that was verified before its load, and after it where it can begin anew."""
UNVERIFIED = "unverified"
"""What stands in a row of a step that there is no reference for."""
LATENCIES = (
    "ttft_s",
    "ttft_from_due_s",
    "first_event_s",
    "tpot_s",
    "tpot_first_one_s",
    "e2e_s",
    "e2e_from_due_s",
    "connect_s",
    "lag_s",
    "itl_s",
    "icl_s",
)
"""Each has the statistics behind it."""
STATISTICS = {
    "n": "How many values of `{}` there are.",
    "mean": "Their mean.",
    "p50": "Their median.",
    "p90": "Their 90th percentile.",
    "p99": "Their 99th percentile.",
}


def _text(name: str, description: str) -> Column:
    return Column(name, "text", "", description)


def _integer(name: str, description: str) -> Column:
    return Column(name, "integer", "1", description)


def _number(name: str, unit: str, description: str) -> Column:
    return Column(name, "number", unit, description, measured=True)


def _count(name: str, description: str) -> Column:
    return Column(name, "integer", "1", description, measured=True)


COLUMNS: tuple[Column, ...] = (
    _integer("service_format", "The format of this row."),
    _text("run_id", "The run that it belongs to; empty where another tool measured."),
    _text("machine", "The machine of the client."),
    _text("machine_id", "Twelve hex digits over its hardware."),
    _text("software_id", "Twelve hex digits over its software."),
    _text("started_utc", "When it began, UTC, ISO 8601."),
    _text("source", "Who measured: tool and version. The definitions of another tool are not all ours."),
    _text("backend", "`openai_http`, or the runtime whose step answered."),
    _text("service", "The endpoint's URL; of a step of this machine its backend."),
    _text("model", "The model's name there; of a step WORKLOAD:SIZE."),
    _text("kind", "`completions` or `chat`; of a step its phase."),
    _integer("batch", "Samples of each query of a step."),
    _integer("sequence", "Tokens of each sample of a step, where it has any."),
    _integer("threads", "Threads of a step."),
    _text("device", "What a step ran on."),
    _text("workload_digest", "Of all that decides what a step computes."),
    _text(
        "scenario",
        "`single_stream`, `multi_stream`, `offline`, `server:RATE`, `server:max` or `concurrency:N`, MLPerf's words.",
    ),
    _integer("in_flight", "Requests in flight at once; empty where they came when they were due."),
    Column("rate_per_s", "number", "1/s", "Mean Poisson rate of the requests behind the latencies."),
    _integer("prompt_tokens_asked", "Tokens of each prompt."),
    _integer("output_tokens_asked", "Tokens that each answer was asked to have."),
    _integer("seed", "Of arrivals and prompts."),
    _text("bounds", "JSON: the largest value of each latency with which an answer is a good one."),
    _text(
        "verification",
        "`none: a service`; `logprobs: …` where its outputs are the reference's; of a step `passed`, as in a row of its"
        " own, or `none` where it did not come to that; `wrong`.",
    ),
    _text("model_is", "What it is said to compute, WORKLOAD:SIZE of ours; empty where nobody said."),
    _text("weights_sha256", "Of the weights that it is said to have."),
    _text("precision", "The precision of a step; of a service what it is said to compute in."),
    _integer("logprobs_compared", "Log-probabilities that were held against the reference."),
    Column("logprobs_rms", "number", "1", "By how much they are off, in root mean square; natural logarithms."),
    Column("logprobs_allowed", "number", "1", "By how much they may be: 8 times what noise makes of them."),
    _integer("tokens_compared", "Generated tokens that were held against the reference."),
    _integer("tokens_equal", "Those of them that the reference has for the likeliest, too; others are ties."),
    _text("status", "What came of it: one of `STATUSES`."),
    _text("reason", "In words, why there is no number."),
    _text("failures", "Failed requests by class: `refused_429:3 timeout:1`."),
    _text("counted_by", "What told the number of tokens."),
    _text("notes", "What was odd about answers, or is not known of another tool's numbers."),
    _text("dropped_fields", "Optional fields of the request that the server does not take."),
    _count("n_requests", "Answers, whole and failed."),
    _count("n_failed", "Answers with an error."),
    _count("n_mismatch", "Whole answers with another number of tokens than asked."),
    _count("n_unjudged", "Whole answers of which a bound cannot be told."),
    _number("duration_s", "s", "From the first request sent to the last end."),
    _number("requests_per_s", "1/s", "Whole answers over the duration."),
    _number("samples_per_s", "1/s", "Samples of whole answers over the duration."),
    _number("output_tokens_per_s", "1/s", "Tokens of whole answers over the duration."),
    _number("total_tokens_per_s", "1/s", "The same with the tokens of the prompts."),
    _number("tokens_per_chunk", "1", "Tokens for each chunk with output."),
    _number("goodput_requests_per_s", "1/s", "Whole answers within all bounds over the duration."),
    *(_number(f"interactivity_tokens_per_s_{name}", "1/s", f"1 / tpot_s_{name}.") for name in ("p50", "p90", "p99")),
    *(
        _count(f"{name}_{statistic}", words.format(name))
        if statistic == "n"
        else _number(f"{name}_{statistic}", "s", words)
        for name in LATENCIES
        for statistic, words in STATISTICS.items()
    ),
    _number("highest_rate_per_s", "1/s", "`server:max`: the highest Poisson rate at which 99 % are within the bounds."),
    _number("highest_rate_low_per_s", "1/s", "Lower end of its 90 % interval."),
    _number("highest_rate_high_per_s", "1/s", "Upper end of its 90 % interval."),
    _number("offline_per_s", "1/s", "`server:max`: whole answers per second where all requests are due at once."),
    _count("search_n", "`server:max`: requests that the search took."),
    _text("early_stopping", "LoadGen's verdict on the run behind the latencies: `passes`, or what it lacks."),
    _number("early_stopping_latency_s", "s", "Its percentile of `e2e_s` with 99 % confidence: no more than this."),
)
COLUMN: dict[str, Column] = {column.name: column for column in COLUMNS}
MEASURED = tuple(column.name for column in COLUMNS if column.measured)
OF_STEP = tuple(d.column for d in DIMENSIONS if d.column in COLUMN and not d.in_label)
"""What tells steps apart that are the same but for it."""
KEY = (
    "run_id",
    "source",
    "service",
    "model",
    "kind",
    "scenario",
    "prompt_tokens_asked",
    "output_tokens_asked",
    *OF_STEP,
)
"""What identifies a row."""
STATUSES = {
    "ok": "answered",
    "unavailable": "nobody listens there, or its name or certificate is none; no such device or library here",
    "unsupported": "it cannot be asked such a thing",
    "wrong": "what it computes is not the model that it was said to be",
    "refused": "cannot be believed: our own client sent late, or the step runs otherwise than asked",
    "disturbed": "too much else happened on the machine",
    "broken": "it answers, and no request whole; a runtime that fails",
    "known_failure": "declared by its adapter",
    "out_of_memory": "memory was not enough",
    "error": "a mistake of ours",
    "crashed": "the process ended by a signal",
    "timeout": "the process did not end in time",
    "not_run": "planned, and the run ended first",
}
