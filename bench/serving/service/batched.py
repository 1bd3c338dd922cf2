"""A request of several samples, as MLPerf's MultiStream has it, over a target whose requests have one each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

from bench.serving.answer import Answer, Target


@dataclass(frozen=True)
class Numbered:
    """The target, with numbers from `first` on: no two trials of one service send the same prompt."""

    target: Target
    first: int

    def start(self, number: int, due_s: float, done: Callable[[Answer], None]) -> None:
        """Sends request `first + number`."""
        self.target.start(self.first + number, due_s, done)


@dataclass(frozen=True)
class Batched:
    """Sends the samples of a request at once; it has ended when its slowest has."""

    target: Target
    samples: int

    def start(self, number: int, due_s: float, done: Callable[[Answer], None]) -> None:
        """Sends samples `number · samples` on, and returns at once."""
        answers: list[Answer] = []
        lock = Lock()

        def collect(answer: Answer) -> None:
            with lock:
                answers.append(answer)
                is_last = len(answers) == self.samples
            if is_last:
                done(together(answers))

        for sample in range(self.samples):
            self.target.start(number * self.samples + sample, due_s, collect)


def together(answers: Sequence[Answer]) -> Answer:
    """Returns the answer that several are together: from the first sent to the last end, the error of any.

    It has no chunks: what came first of one sample is no time to first token of all.
    """
    failed = next((answer for answer in answers if answer.error), None)
    return Answer(
        due_s=answers[0].due_s,
        sent_s=min(answer.sent_s for answer in answers),
        end_s=max(answer.end_s for answer in answers),
        tokens=_sum([answer.tokens for answer in answers]),
        prompt_tokens=_sum([answer.prompt_tokens for answer in answers]),
        error="" if failed is None else failed.error,
        detail="" if failed is None else failed.detail,
        samples=len(answers),
    )


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
