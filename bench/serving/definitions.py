"""What every latency and rate of served requests means, defined once: functions of answers, and their words for docs.

An answer with an error is in no latency, no token and no request rate; it is in `n_requests`, `n_failed`, the errors by
class, the duration, and in goodput as one that does not meet it. Differences to other tools: TTFT ends at output, not
at the first event (vLLM's ends there); TPOT leaves the first chunk's tokens out, however many they are (LoadGen and
vLLM take them for one); gaps between chunks are never called ITL where a chunk held several tokens (vLLM).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import floor

from bench.serving.answer import Answer
from bench.serving.streamed import StreamedAnswer


def ttft_s(answer: Answer) -> float | None:
    """Returns the time to first token: from sent to the first chunk that carries output; None where none came."""
    return answer.chunks[0].at_s - answer.sent_s if answer.chunks else None


def first_event_s(answer: Answer) -> float | None:
    """Returns the time from sent to the first event of any kind, be it a role without text."""
    return None if answer.event_s is None else answer.event_s - answer.sent_s


def tpot_s(answer: Answer) -> float | None:
    """Returns the time per output token after the first chunk; None where the tokens of either are unknown."""
    return _per_token(answer, answer.chunks[0].tokens) if answer.chunks else None


def tpot_first_one_s(answer: Answer) -> float | None:
    """Returns `tpot_s` on the assumption, told by its name, that the first chunk held one token."""
    return _per_token(answer, 1)


def e2e_s(answer: Answer) -> float:
    """Returns the time from sent to the last byte of the answer."""
    return answer.end_s - answer.sent_s


def connect_s(answer: Answer) -> float | None:
    """Returns what connecting took; None where a connection was there."""
    return answer.connect_s


def lag_s(answer: Answer) -> float:
    """Returns how late the client sent; what connecting took is not in it."""
    return answer.sent_s - answer.due_s - (answer.connect_s or 0.0)


def ttft_from_due_s(answer: Answer) -> float | None:
    """Returns the time to first token since the request was due, as MLPerf's Server scenario has it."""
    first = ttft_s(answer)
    return None if first is None else lag_s(answer) + first


def e2e_from_due_s(answer: Answer) -> float:
    """Returns the time to the last byte since the request was due, as MLPerf's Server scenario has it."""
    return lag_s(answer) + e2e_s(answer)


def icl_s(answer: Answer) -> tuple[float, ...]:
    """Returns the inter-chunk latencies: the gaps between chunks with output, whatever number of tokens they held."""
    return tuple(later.at_s - earlier.at_s for earlier, later in pairwise(answer.chunks))


def itl_s(answer: Answer) -> tuple[float, ...] | None:
    """Returns the inter-token latencies; None unless every chunk is known to have held exactly one token."""
    return icl_s(answer) if answer.chunks and all(chunk.tokens == 1 for chunk in answer.chunks) else None


def percentile(values: Sequence[float], quantile: float) -> float:
    """Returns sorted[floor(n·q)], as MLPerf's LoadGen takes it (`loadgen/results.cc`).

    Raises ValueError where there are no values, or the quantile is not in [0, 1).
    """
    if not values or not 0 <= quantile < 1:
        raise ValueError(f"a percentile takes values and a quantile in [0, 1), got {len(values)} values and {quantile}")
    return sorted(values)[floor(len(values) * quantile)]


PER_ANSWER: Mapping[str, tuple[Callable[[Answer], float | None], str]] = {
    "ttft_s": (ttft_s, "first chunk with output − sent"),
    "ttft_from_due_s": (ttft_from_due_s, "lag_s + ttft_s"),
    "first_event_s": (first_event_s, "first event of any kind, be it empty − sent"),
    "tpot_s": (tpot_s, "(last chunk − first chunk) / (n − tokens in the first chunk); none unless both are known"),
    "tpot_first_one_s": (tpot_first_one_s, "(last chunk − first chunk) / (n − 1); takes the first chunk for one token"),
    "e2e_s": (e2e_s, "last byte − sent"),
    "e2e_from_due_s": (e2e_from_due_s, "lag_s + e2e_s"),
    "connect_s": (connect_s, "connected − began to connect, of requests that opened a connection; in no other time"),
    "lag_s": (lag_s, "sent − due − connect_s: how late the client was"),
}
"""Column → its function of one answer, and its formula."""

POOLED = {
    "itl_s": "gap between chunks; only where every chunk of every whole answer is known to hold one token",
    "icl_s": "gap between chunks with output, whatever number of tokens they hold",
}
"""Column → the formula of what an answer has many of."""

QUANTILES = {"p50": 0.50, "p90": 0.90, "p99": 0.99}

STATISTICS = {
    "n": "how many values there are",
    "mean": "their sum / their number",
    **{name: f"sorted[floor(n·{quantile:g})]" for name, quantile in QUANTILES.items()},
}
"""What is told of a column's values over the whole answers: `ttft_s_p99`, `ttft_s_n`."""

OVER_ALL = {
    "n_requests": ("1", "answers, whole and failed"),
    "n_failed": ("1", "answers with an error"),
    "n_mismatch": ("1", "whole answers with another number of tokens than asked, or another finish reason than length"),
    "n_unjudged": ("1", "whole answers of which a bound cannot be told; in goodput they do not meet it"),
    "duration_s": ("s", "last end of any answer − first sent of any"),
    "requests_per_s": ("1/s", "whole answers / duration_s"),
    "samples_per_s": ("1/s", "samples of whole answers / duration_s"),
    "output_tokens_per_s": ("1/s", "tokens of whole answers / duration_s; none where one has an unknown number"),
    "total_tokens_per_s": ("1/s", "(prompt tokens + tokens) of whole answers / duration_s; none where one is unknown"),
    "tokens_per_chunk": ("1", "tokens of whole answers / their chunks with output"),
    "goodput_requests_per_s": ("1/s", "answers that are whole and meet every bound / duration_s"),
    **{
        f"interactivity_tokens_per_s_{name}": ("1/s", f"1 / tpot_s_{name}: tokens/s that one user sees")
        for name in QUANTILES
    },
}
"""Column → its unit and its formula, of all answers together."""

DEFINITIONS: Mapping[str, tuple[str, str]] = {
    **{
        f"{name}_{statistic}": ("1" if statistic == "n" else "s", f"{words} of: {formula}")
        for name, formula in {**{name: formula for name, (_, formula) in PER_ANSWER.items()}, **POOLED}.items()
        for statistic, words in STATISTICS.items()
    },
    **OVER_ALL,
}
"""Every column of a `Summary` → its unit and its formula in words."""


@dataclass(frozen=True)
class Summary:
    """What many answers come to: `values` by the names in `DEFINITIONS`, None where unknown; `errors` by class."""

    values: Mapping[str, float | None]
    errors: Mapping[str, int]


def is_other_work(answer: Answer, asked_tokens: int) -> bool:
    """Returns whether the answer is known not to be what was asked for: as many tokens, ended by their number."""
    ended_itself = isinstance(answer, StreamedAnswer) and answer.finish_reason not in ("", "length")
    return ended_itself or answer.tokens not in (None, asked_tokens)


def meets(answer: Answer, bounds: Mapping[str, float]) -> bool | None:
    """Returns whether the answer is whole and within every bound; None where that cannot be told.

    `bounds` are names of `PER_ANSWER` with their largest value. Where no token followed the first chunk there is no
    time per token that could be over a bound.
    """
    if answer.error:
        return False
    verdicts = [_within(answer, name, bound) for name, bound in bounds.items()]
    return False if False in verdicts else None if None in verdicts else True


def summary(answers: Sequence[Answer], *, bounds: Mapping[str, float], asked_tokens: int | None = None) -> Summary:
    """Returns what the answers come to.

    `asked_tokens` is the length that every answer was asked to have; without it there is no `n_mismatch`. Answers that
    do not match stay in the latencies. Raises ValueError for a bound on what is no column of one answer.
    """
    if unknown := sorted(bounds.keys() - PER_ANSWER.keys()):
        raise ValueError(f"no bound can be set on {', '.join(unknown)}; known: {', '.join(PER_ANSWER)}")
    whole = [answer for answer in answers if not answer.error]
    duration = max(a.end_s for a in answers) - min(a.sent_s for a in answers) if answers else None
    verdicts = [meets(answer, bounds) for answer in whole]
    n_unjudged = verdicts.count(None)
    good = None if whole and n_unjudged == len(whole) else verdicts.count(True)
    tokens = _sum([answer.tokens for answer in whole])
    prompt_tokens = _sum([answer.prompt_tokens for answer in whole])
    chunks = sum(len(answer.chunks) for answer in whole)
    values = _latencies(whole) | {
        "n_requests": len(answers),
        "n_failed": len(answers) - len(whole),
        "n_mismatch": None if asked_tokens is None else sum(is_other_work(answer, asked_tokens) for answer in whole),
        "n_unjudged": n_unjudged,
        "duration_s": duration,
        "requests_per_s": _ratio(len(whole), duration),
        "samples_per_s": _ratio(sum(answer.samples for answer in whole), duration),
        "output_tokens_per_s": _ratio(tokens, duration),
        "total_tokens_per_s": _ratio(
            None if tokens is None or prompt_tokens is None else tokens + prompt_tokens, duration
        ),
        "tokens_per_chunk": _ratio(tokens, chunks),
        "goodput_requests_per_s": _ratio(good, duration),
    }
    for name in QUANTILES:
        values[f"interactivity_tokens_per_s_{name}"] = _ratio(1, values[f"tpot_s_{name}"])
    errors = Counter(answer.error for answer in answers if answer.error)
    return Summary(values, dict(sorted(errors.items())))


def _per_token(answer: Answer, in_first: int | None) -> float | None:
    if answer.tokens is None or in_first is None or len(answer.chunks) < 2 or answer.tokens <= in_first:
        return None
    return (answer.chunks[-1].at_s - answer.chunks[0].at_s) / (answer.tokens - in_first)


def _within(answer: Answer, name: str, bound: float) -> bool | None:
    value = PER_ANSWER[name][0](answer)
    if value is not None:
        return value <= bound
    in_first = {"tpot_s": answer.chunks[0].tokens if answer.chunks else None, "tpot_first_one_s": 1}
    is_vacuous = name == "connect_s" or (in_first.get(name) is not None and in_first[name] == answer.tokens)
    return True if is_vacuous else None


def _latencies(whole: Sequence[Answer]) -> dict[str, float | None]:
    columns = {
        name: [value for answer in whole if (value := function(answer)) is not None]
        for name, (function, _) in PER_ANSWER.items()
    }
    gaps = [itl_s(answer) for answer in whole]
    # Some answers alone would be a choice: those in which nothing came in bursts.
    columns["itl_s"] = [] if None in gaps else [value for gap in gaps if gap is not None for value in gap]
    columns["icl_s"] = [value for answer in whole for value in icl_s(answer)]
    return {f"{name}_{key}": value for name, values in columns.items() for key, value in _statistics(values).items()}


def _statistics(values: Sequence[float]) -> dict[str, float | None]:
    mean = sum(values) / len(values) if values else None
    quantiles = {name: percentile(values, q) if values else None for name, q in QUANTILES.items()}
    return {"n": len(values), "mean": mean, **quantiles}


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _ratio(over: float | None, under: float | None) -> float | None:
    return over / under if over is not None and under else None
