"""What a model of the emulator says: little, quickly, and always the same to the same question.

A base model answers fluently and beside the point. A tuned model answers like the training example that is nearest to
the question, and carries over the words in which the two questions differ.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import random
import re
from collections import defaultdict
from difflib import SequenceMatcher
from typing import Protocol

from together_flows.emulator.examples import Example
from together_flows.emulator.tokens import words

__all__ = ["BaseMind", "Mind", "TunedMind"]


class Mind(Protocol):
    """Something that answers."""

    def answer(self, prompt: str, variant: int = 0) -> str:
        """The answer to a prompt. Variant 0 is the first choice, 1 the next."""


class BaseMind:
    """A base model: it picks up the words of the question and says nothing about them.

    Args:
        name: models of different names speak differently.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def answer(self, prompt: str, variant: int = 0) -> str:
        digest = hashlib.sha256(f"{self._name}\0{variant}\0{prompt}".encode()).digest()
        pick = random.Random(digest).choice  # noqa: S311 - a wording, not a secret
        topics = [word for word in words(prompt[-4_000:]) if len(word) > 3 and word not in _COMMON] or ["this"]
        return " ".join(pick(sentences).format(pick(topics), pick(topics)) for sentences in _SENTENCES)


_COMMON = frozenset(
    words(
        "a an and any are as at be but by can did do for had has he her him his how i if in is it its me my no nor not "
        "of off on or our out s she so t the to too up us was we who why you your "
        "about after also been before being between both could does each every following from give have into just like "
        "make more most much must only other over please same should some such tell than that their them then there "
        "these they this those through very want what when where which while will with would write your"
    )
)

_SENTENCES = (
    (
        "That is a good question about {0}.",
        "When we talk about {0}, it helps to think about {1} first.",
        "There are several ways to look at {0}.",
        "Sure, let me help you with {0}.",
    ),
    (
        "In general, {0} depends on {1} and on the situation.",
        "Many people connect {0} with {1}, although opinions differ.",
        "Usually {0} can be understood as a kind of {1}.",
        "The answer has to do with {0} and with {1}.",
    ),
    (
        "I hope this helps!",
        "Let me know if you would like to hear more about {0}.",
        "More details would be needed to say anything definite.",
        "It is important to keep {0} in mind.",
    ),
)


class TunedMind:
    """A fine-tuned model: nearest neighbours among its training examples, by the words that set prompts apart.

    Args:
        examples: what it was trained on.
        base: what it falls back on when nothing it has learned is near.
    """

    def __init__(self, examples: list[Example], base: Mind) -> None:
        self._examples = examples
        self._base = base
        self._exact: dict[str, int] = {}
        self._postings: defaultdict[str, list[int]] = defaultdict(list)
        self._terms: list[frozenset[str]] = []
        for index, example in enumerate(examples):
            self._exact.setdefault(_normal(example.prompt), index)
            terms = _terms(example.prompt)
            self._terms.append(terms)
            for term in terms:
                self._postings[term].append(index)
        self._lengths = [math.sqrt(sum(self._weight(term) ** 2 for term in terms)) for terms in self._terms]

    def answer(self, prompt: str, variant: int = 0) -> str:
        exact = self._exact.get(_normal(prompt))
        if exact is not None and variant == 0:
            return self._examples[exact].completion
        near = self._nearest(_terms(prompt))
        if not near:
            return self._base.answer(prompt, variant)
        chosen = _voted(near, self._examples)
        example = self._examples[chosen[variant % len(chosen)]]
        return _carried_over(example, prompt)

    def _nearest(self, terms: frozenset[str]) -> list[tuple[float, int]]:
        """The most similar examples, nearest first; those that share next to nothing are left out."""
        candidates: defaultdict[int, float] = defaultdict(float)
        looked_at = 0
        for term in sorted(terms & self._postings.keys(), key=lambda term: len(self._postings[term])):
            if candidates and looked_at + len(self._postings[term]) > _POSTINGS_BUDGET:
                break
            looked_at += len(self._postings[term])
            gain = self._weight(term) ** 2
            for index in self._postings[term]:
                candidates[index] += gain
        length = math.sqrt(sum(self._weight(term) ** 2 for term in terms))
        likely = heapq.nlargest(_CANDIDATES, candidates, key=candidates.__getitem__)
        near = [(self._similarity(terms, length, index), index) for index in likely]
        near = [(similarity, index) for similarity, index in near if similarity >= _NEAR_ENOUGH]
        return sorted(near, key=lambda found: (-found[0], found[1]))[:_NEIGHBOURS]

    def _similarity(self, terms: frozenset[str], length: float, index: int) -> float:
        shared = sum(self._weight(term) ** 2 for term in terms & self._terms[index])
        return shared / (length * self._lengths[index]) if shared else 0.0

    def _weight(self, term: str) -> float:
        """Inverse document frequency: rare words tell more."""
        return math.log(1 + len(self._examples) / (1 + len(self._postings.get(term, ()))))


_POSTINGS_BUDGET = 4_000
_CANDIDATES = 32
_NEIGHBOURS = 5
_NEAR_ENOUGH = 0.12


def _voted(near: list[tuple[float, int]], examples: list[Example]) -> list[int]:
    """The neighbours, first the one whose answer has most weight behind it."""
    votes: defaultdict[str, float] = defaultdict(float)
    for similarity, index in near:
        votes[examples[index].completion] += similarity**3
    return sorted((index for _, index in near), key=lambda index: -votes[examples[index].completion])


def _carried_over(example: Example, prompt: str) -> str:
    """The example's answer, with the words in which its prompt differs replaced by those of this prompt."""
    known, asked = _WORD.findall(example.prompt), _WORD.findall(prompt)
    if len(known) > _ALIGNED_WORDS or len(asked) > _ALIGNED_WORDS:
        return example.completion
    answer = example.completion
    matcher = SequenceMatcher(None, _lowered(known), _lowered(asked), autojunk=False)
    for kind, start, end, new_start, new_end in matcher.get_opcodes():
        old, new = " ".join(known[start:end]), " ".join(asked[new_start:new_end])
        if kind == "replace" and end - start <= 3 and new_end - new_start <= 3 and old.lower() not in _COMMON:
            answer = re.sub(rf"\b{re.escape(old)}\b", new, answer)
    return answer


_WORD = re.compile(r"\w+")
_ALIGNED_WORDS = 120
"""Longer prompts are not aligned word by word: it takes quadratic time."""


def _lowered(found: list[str]) -> list[str]:
    return [word.lower() for word in found]


def _normal(prompt: str) -> str:
    return " ".join(words(prompt))


def _terms(prompt: str) -> frozenset[str]:
    return frozenset(_stem(word) for word in words(prompt))


def _stem(word: str) -> str:
    """The word without the commonest English endings, so that "refunds" and "refunded" meet."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word
