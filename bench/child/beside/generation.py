"""What users of a generation feel, from the times of its tokens: the definitions are those of served requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backends._generate import GenerateStep
from backends.base import Request, Step
from bench.serving.answer import Answer, Chunk
from bench.serving.definitions import summary
from workloads.generate import Generating

Times = Sequence[Sequence[float]]
"""Of each generation its begin, and when each of its tokens was on the host, in seconds."""
COLUMNS = {
    "ttft_p50_s": ("ttft_s_p50", 1),
    "tpot_p50_s": ("tpot_s_p50", 1),
    "itl_p50_s": ("itl_s_p50", 1),
    "itl_p90_s": ("itl_s_p90", 100),
    "itl_p99_s": ("itl_s_p99", 1000),
}
"""The row's column: its name among the definitions, and how many gaps it takes: a percentile needs ten beyond it."""


def take_times(step: Step) -> Times:
    """Returns the times of the generations since the last call; of other steps none."""
    return step.take_times() if isinstance(step, GenerateStep) else ()


def answer_of(times: Sequence[float], prompt_tokens: int) -> Answer:
    """Returns a generation as what one sequence of its batch was answered, token by token."""
    begin, *tokens = times
    chunks = tuple(Chunk(at_s, 1) for at_s in tokens)
    return Answer(begin, begin, tokens[-1], chunks=chunks, tokens=len(tokens), prompt_tokens=prompt_tokens)


def generation_columns(times: Times, request: Request) -> dict[str, Any]:
    """Returns the row's columns of generations: by token, and what they are made of; of other steps none."""
    program = request.program
    if not times or not isinstance(program, Generating):
        return {}
    values = summary([answer_of(one, program.prompt_tokens) for one in times], bounds={}).values
    gaps = values["itl_s_n"] or 0
    return {column: values[name] for column, (name, least) in COLUMNS.items() if gaps >= least}
