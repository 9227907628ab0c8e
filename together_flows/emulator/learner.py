"""A language model small enough to train in pure Python: the chance of a word given the word before it.

A word is a leaf of a binary tree, and a logistic regression at each branch says which way it lies, from a bias and
from the word before. Training is stochastic gradient descent on the surprise at each word, so that a loss falls
because something was learned and not because a curve was drawn. Losses are in nats per word; each word is measured
before it is learned from.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator

import msgspec

from together_flows.emulator.examples import Example
from together_flows.emulator.tokens import words

__all__ = ["Learned", "StepMetric", "train"]

_MAX_WORDS = 60_000
"""Words learned from in a whole run; longer runs read a sample of each batch. It bounds a run to about a second."""

_MAX_METRICS = 400
"""Logged steps in a whole run."""

_VALIDATION_WORDS = 4_000

_VOCABULARY = 2_000
"""Words that the model tells apart; all others are one word to it."""


class StepMetric(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is logged of a training step.

    Attributes:
        step: from 1.
        loss: mean surprise at the words of the batch.
        grad_norm: mean size of the gradient at a word.
        eval_loss: mean surprise at the validation file, where the step ends with an evaluation.
    """

    step: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    eval_loss: float | None = None


class Learned(msgspec.Struct):
    """The outcome of a run: its log, and each word with the logarithm of its chance."""

    metrics: list[StepMetric]
    vocabulary: dict[str, float]


class _Model:
    """The tree. A branch is numbered as in a heap: 1 is the root, 2n and 2n+1 are below n."""

    def __init__(self, texts: list[list[str]]) -> None:
        counts = Counter(word for text in texts for word in text)
        self.leaves = {word: index for index, (word, _) in enumerate(counts.most_common(_VOCABULARY), start=1)}
        self.depth = max(1, math.ceil(math.log2(len(self.leaves) + 1)))
        self.bias: defaultdict[int, float] = defaultdict(float)
        self.after: defaultdict[tuple[str, int], float] = defaultdict(float)

    def branches(self, word: str) -> Iterator[tuple[int, int]]:
        """The branches on the way to a word, each with the way taken: 1 or -1."""
        leaf = self.leaves.get(word, 0)
        branch = 1
        for bit in range(self.depth - 1, -1, -1):
            way = leaf >> bit & 1
            yield branch, 1 if way else -1
            branch = 2 * branch + way

    def surprise(self, before: str, word: str) -> float:
        """How unexpected a word is, in nats."""
        return sum(
            math.log1p(math.exp(-way * (self.bias[branch] + self.after[before, branch])))
            for branch, way in self.branches(word)
        )

    def learn(self, before: str, word: str, rate: float) -> tuple[float, float]:
        """One step of gradient descent.

        Returns:
            The surprise before the step, and the size of the gradient.
        """
        surprise = squares = 0.0
        for branch, way in self.branches(word):
            doubt = math.exp(-way * (self.bias[branch] + self.after[before, branch]))
            surprise += math.log1p(doubt)
            gradient = way * doubt / (1 + doubt)
            squares += gradient * gradient
            self.bias[branch] += rate * gradient
            self.after[before, branch] += rate * gradient
        return surprise, math.sqrt(2 * squares)

    def loss(self, texts: list[list[str]]) -> float:
        """Mean surprise over texts."""
        surprises = [self.surprise(before, word) for text in texts for before, word in _pairs(text)]
        return sum(surprises) / len(surprises) if surprises else 0.0

    def chances(self) -> dict[str, float]:
        """The logarithm of each word's chance, whatever stands before it."""
        return {
            word: round(-sum(math.log1p(math.exp(-way * self.bias[branch])) for branch, way in self.branches(word)), 6)
            for word in self.leaves
        }


def train(
    examples: list[Example],
    validation: list[Example],
    *,
    epochs: int,
    batch_size: int,
    total_steps: int,
    evals: int,
    learning_rate: float,
    seed: int,
) -> Learned:
    """Trains on the completions of the examples.

    Args:
        examples: what to learn.
        validation: what to measure on, apart from learning.
        epochs: passes over the examples.
        batch_size: examples a step.
        total_steps: steps in all epochs together.
        evals: how many times the validation examples are measured.
        learning_rate: decays along a cosine, as the service's default schedule does.
        seed: fixes the order of the examples.
    """
    texts = [words(example.completion) for example in examples]
    held_out = _first([words(example.completion) for example in validation], _VALIDATION_WORDS)
    model = _Model(texts)
    budget = max(1, _MAX_WORDS // total_steps)
    log_every = math.ceil(total_steps / _MAX_METRICS)
    eval_every = max(1, total_steps // evals) if evals and held_out else total_steps + 1
    metrics = []
    for step, batch in enumerate(_batches(texts, epochs, batch_size, seed), start=1):
        rate = learning_rate * 0.5 * (1 + math.cos(math.pi * (step - 1) / total_steps))
        time.sleep(0)  # lets the event loop have the interpreter, so that requests are answered meanwhile
        loss, gradient = _learn(model, _first(batch, budget), rate=_pace(rate))
        evaluates = step % eval_every == 0
        if step % log_every == 0 or step == 1 or evaluates:
            metrics.append(
                StepMetric(
                    step=step,
                    epoch=round(step * epochs / total_steps, 4),
                    loss=round(loss, 6),
                    learning_rate=rate,
                    grad_norm=round(gradient, 6),
                    eval_loss=round(model.loss(held_out), 6) if evaluates else None,
                )
            )
    return Learned(metrics, model.chances())


def _learn(model: _Model, texts: list[list[str]], rate: float) -> tuple[float, float]:
    learned = [model.learn(before, word, rate) for text in texts for before, word in _pairs(text)]
    count = len(learned) or 1
    return sum(loss for loss, _ in learned) / count, sum(gradient for _, gradient in learned) / count


def _pace(rate: float) -> float:
    """The little model's own learning rate: 0.3 at the API's default of 1e-5, and never so high that it diverges."""
    return min(1.5, 0.3 * math.sqrt(rate / 1e-5))


def _batches(texts: list[list[str]], epochs: int, batch_size: int, seed: int) -> Iterator[list[list[str]]]:
    order = list(range(len(texts)))
    shuffle = random.Random(seed).shuffle  # noqa: S311 - an order, not a secret
    for _ in range(epochs):
        shuffle(order)
        for start in range(0, len(order), batch_size):
            yield [texts[index] for index in order[start : start + batch_size]]


def _pairs(text: list[str]) -> Iterator[tuple[str, str]]:
    return zip(["", *text], [*text, "."], strict=False)


def _first(texts: list[list[str]], budget: int) -> list[list[str]]:
    """As many texts as hold the budget of words; at least one."""
    kept: list[list[str]] = []
    total = 0
    for text in texts:
        if total >= budget:
            break
        kept.append(text)
        total += len(text)
    return kept
