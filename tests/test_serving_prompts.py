"""Prompts of exact lengths of which no two begin alike, as token ids and as text."""

import re

import pytest

from bench.serving.prompts import ENOUGH, IdPrompts, drawn, n_distinct
from bench.serving.text_prompts import WORDS, fitted

SALTS = ("a", "b")


def test_prompts_are_the_same_for_good():
    assert drawn(3, 6, 50_257, seed=1, salt="a") == (15905, 14257, 31931, 35399, 20696, 21153)


def test_a_prompt_has_its_length_and_ids_of_the_vocabulary():
    prompts = IdPrompts(100, 33, seed=0, salt="a", excluded={0, 1, 99})
    for number in range(50):
        prompt = prompts(number)
        assert len(prompt) == 33
        assert {*prompt} <= {*range(2, 99)}
        assert prompt == prompts(number)


@pytest.mark.parametrize("n_symbols", [2, 7, 32, 1000, 128_256])
def test_no_two_prompts_begin_alike(n_symbols):
    width = n_distinct(n_symbols)
    assert n_symbols ** (width - 1) < ENOUGH <= n_symbols**width
    numbers = [*range(2000), ENOUGH - 1, n_symbols, n_symbols**2 % ENOUGH]
    begun = {number: drawn(number, width + 3, n_symbols, seed=0, salt="a")[:width] for number in numbers}
    assert len({*begun.values()}) == len(begun)
    few = [drawn(number, width + 3, n_symbols, seed=0, salt="a")[0] for number in range(n_symbols)][:2000]
    assert len({*few}) == len(few)


def test_another_salt_or_seed_gives_other_prompts():
    made = [IdPrompts(1000, 20, seed, salt)(number) for seed in (0, 1) for salt in SALTS for number in range(100)]
    assert len({prompt[:8] for prompt in made}) == 400


def test_ids_are_of_the_whole_vocabulary():
    prompts = IdPrompts(50, 500, seed=0, salt="a")
    assert {one for number in range(4) for one in prompts(number)} == {*range(50)}


@pytest.mark.parametrize(
    ("number", "length", "n_symbols"), [(10, 1, 10), (-1, 5, 10), (0, 5, 1), (0, 0, 10), (1, 0, 10)]
)
def test_prompts_that_cannot_differ_are_refused(number, length, n_symbols):
    with pytest.raises(ValueError, match="different"):
        drawn(number, length, n_symbols, seed=0, salt="a")


def per_byte(text):
    return len(text.encode()) + 3


def per_word(text):
    return len(re.findall(r"\w+|[^\w\s]", text)) + 11


def per_half_word(text):
    """Words of the first half of the alphabet are two tokens."""
    return sum(2 if word[0] < "n" else 1 for word in re.findall(r"\w+|[^\w\s]", text)) + 1


def first_counts_more(text):
    """As where a word without the space before it is no token of the vocabulary, but for some words."""
    return per_word(text) + (text[:1] in "abcdefgh")


@pytest.mark.parametrize("count", [per_byte, per_word, per_half_word, first_counts_more])
@pytest.mark.parametrize("n_tokens", [64, 65, 66, 67, 68, 257, 1000])
def test_text_has_exactly_as_many_tokens_as_asked(count, n_tokens):
    prompts = fitted(count, n_tokens, seed=0, salt="a")
    texts = [prompts(number) for number in range(300)]
    assert {count(text) for text in texts} == {n_tokens}
    assert len({text[: 5 * 7 - 1] for text in texts}) == 300


def test_what_was_fitted_is_never_sent_again():
    seen = []

    def count(text):
        seen.append(text)
        return per_word(text)

    prompts = fitted(count, 100, seed=0, salt="a")
    assert len(seen) < 80
    long = [text[:80] for text in seen if len(text) > 80]
    assert not {*long} & {prompts(number)[:80] for number in range(1000)}


def test_too_few_tokens_for_prompts_that_differ():
    with pytest.raises(ValueError, match="15 tokens are too few for prompts that all differ; the fewest are about 18"):
        fitted(per_word, 15, seed=0, salt="a")


def test_a_number_of_tokens_that_no_text_has():
    with pytest.raises(ValueError, match=r"no text of 101 tokens was found; near to it are 100, "):
        fitted(lambda text: 10 * len(text.split()), 101, seed=0, salt="a")


def test_words_that_all_count_otherwise():
    costs = {word: place + 1 for place, word in enumerate(WORDS.split())}
    with pytest.raises(ValueError, match="only 1 of 32 words count alike; at least 8 are needed"):
        fitted(lambda text: sum(costs[word] for word in text.split()), 1000, seed=0, salt="a")


def test_words_are_all_different():
    assert len({*WORDS.split()}) == len(WORDS.split()) == 32
    assert {len(word) for word in WORDS.split()} == {4}
