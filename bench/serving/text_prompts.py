"""Prompts as text of an exact number of tokens, for servers that take no token ids: fitted by what the server counts.

Only words that count alike are used, so that any order of them has the same count, and what is fitted with one salt
holds for the prompts of another: the fitted ones themselves are never sent again, since the server knows them now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from bench.serving.prompts import drawn, n_distinct

WORDS = (
    "time year life hand part case week home room fact book word side kind head city "
    "name team door body face line game road form town food land idea area wife girl"
)
"""Common nouns of English of four letters: one token each, with the space before it, in most vocabularies."""
TAILS = ("", ".", " a", ";", " I", "..", " a.", "!?", " a b", " a b.", ". a b.", " x y z", " a b c d")
"""What may stand at the end, to fill up with what a word is too long for."""
FEWEST_WORDS = 8
REPEATED = 16
MOST_STEPS = 40


@dataclass(frozen=True)
class TextPrompts:
    """Prompts of `n_words` of `words`, and `tail`: that many tokens by the server's own count (`fitted`)."""

    words: tuple[str, ...]
    n_words: int
    tail: str
    seed: int
    salt: str

    def __call__(self, number: int) -> str:
        """Returns prompt `number`. Raises ValueError where there are no more."""
        symbols = drawn(number, self.n_words, len(self.words), self.seed, self.salt)
        return " ".join([self.words[symbol] for symbol in symbols]) + self.tail


def fitted(count: Callable[[str], int], n_tokens: int, seed: int, salt: str, words: str = WORDS) -> TextPrompts:
    """Returns prompts that have `n_tokens` each, as `count` says of such ones; some 70 calls of it.

    `count` returns the tokens of a text, what the server adds to it included: `usage.prompt_tokens` of a request with
    it. Whether the prompts of the run have as many is told by their own answers. Raises ValueError where there are
    none: too few words that count alike, or a number of tokens that no number of words and tail gives.
    """
    alike, each, besides = _alike(count, words)
    n_words = (n_tokens - besides) // each
    if n_words < n_distinct(len(alike)):
        least = besides + each * n_distinct(len(alike))
        raise ValueError(f"{n_tokens} tokens are too few for prompts that all differ; the fewest are about {least}")
    tried: dict[tuple[int, str], int] = {}
    tail = 0
    for _ in range(MOST_STEPS):
        prompts = TextPrompts(alike, n_words, TAILS[tail], seed, f"{salt}, while fitting")
        tried[n_words, TAILS[tail]] = got = count(prompts(len(tried)))
        if got == n_tokens and count(prompts(len(tried) + 1)) == n_tokens:
            return TextPrompts(alike, n_words, TAILS[tail], seed, salt)
        step = (n_tokens - got) // each
        if step and (n_words + step, TAILS[tail]) not in tried:
            n_words += step
        elif tail + 1 < len(TAILS):
            tail += 1
        else:
            break
    near = sorted(set(tried.values()), key=lambda got: abs(got - n_tokens))[:3]
    raise ValueError(f"no text of {n_tokens} tokens was found; near to it are {', '.join(map(str, near))}")


def _alike(count: Callable[[str], int], words: str) -> tuple[tuple[str, ...], int, int]:
    """Returns the words of the most frequent count, that count, and what is counted besides the words."""
    by_count: dict[tuple[int, int], list[str]] = defaultdict(list)
    for word in words.split():
        twice, more = count(f"{word} {word}"), count(" ".join([word] * (REPEATED + 2)))
        each, left = divmod(more - twice, REPEATED)
        if each > 0 and not left:
            by_count[each, twice - 2 * each].append(word)
    counts, found = max(by_count.items(), key=lambda item: len(item[1]), default=((0, 0), []))
    if len(found) < FEWEST_WORDS:
        raise ValueError(
            f"only {len(found)} of {len(words.split())} words count alike; at least {FEWEST_WORDS} are needed"
        )
    return tuple(found), *counts
