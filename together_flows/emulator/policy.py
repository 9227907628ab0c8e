"""The policy that reinforcement learning trains: the chance of a token given the token before it.

Every context has a row of logits: one for each token that was ever a target after it, and one that all other tokens
of the vocabulary share. Gradients are exact, the optimiser is AdamW, so losses fall because something is learned.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import msgspec

__all__ = ["VOCABULARY", "AdamW", "Policy"]

VOCABULARY = 128_256
"""Tokens that there are: ids from 0 up to this."""

PACE = 3_000.0
"""How much faster than a language model so small a model may learn: its steps at the API's default rate are 0.3."""

_OTHERS = -1
"""The key of the logit that all tokens share which the row does not name."""

Row = dict[int, float]
Rows = dict[int, Row]


class AdamW(msgspec.Struct, kw_only=True):
    """Settings of one step of the optimiser; the defaults are the API's."""

    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1


class Policy(msgspec.Struct, kw_only=True):
    """The weights, the gradient gathered so far, and the optimiser's memory.

    Attributes:
        step: optimiser steps made.
    """

    logits: Rows = {}
    gradient: Rows = {}
    mean: Rows = {}
    spread: Rows = {}
    step: int = 0

    def logprob(self, before: int, token: int) -> float:
        """The logarithm of a token's chance."""
        row = self.logits.get(before, {})
        return row.get(token, row.get(_OTHERS, 0.0)) - _log_sum(row)

    def learn(self, before: int, token: int, slope: float) -> None:
        """Adds to the gradient.

        Args:
            before: the context.
            token: the token at hand.
            slope: how the loss changes with the logarithm of the token's chance.
        """
        row = self.logits.setdefault(before, {_OTHERS: 0.0})
        row.setdefault(token, row[_OTHERS])
        log_sum = _log_sum(row)
        gradient = self.gradient.setdefault(before, {})
        for name, logit in row.items():
            chance = math.exp(logit - log_sum) * (_others(row) if name == _OTHERS else 1)
            gradient[name] = gradient.get(name, 0.0) + slope * ((name == token) - chance)

    def optimise(self, learning_rate: float, settings: AdamW) -> None:
        """Takes one step along the gradient and forgets it."""
        self.step += 1
        rate = learning_rate * PACE
        mean_bias, spread_bias = 1 - settings.beta1**self.step, 1 - settings.beta2**self.step
        for before, gradients in self.gradient.items():
            row = self.logits[before]
            mean, spread = self.mean.setdefault(before, {}), self.spread.setdefault(before, {})
            for name, gradient in gradients.items():
                mean[name] = settings.beta1 * mean.get(name, 0.0) + (1 - settings.beta1) * gradient
                spread[name] = settings.beta2 * spread.get(name, 0.0) + (1 - settings.beta2) * gradient**2
                size = math.sqrt(spread[name] / spread_bias) + settings.eps
                row[name] -= rate * mean[name] / mean_bias / size + learning_rate * settings.weight_decay * row[name]
        self.gradient = {}

    def choices(self, before: int, *, temperature: float, top_p: float, top_k: int) -> list[tuple[int, int, float]]:
        """What can come next: tokens, how many each entry stands for, and its weight; -1 is any other token."""
        row = {_OTHERS: 0.0, **self.logits.get(before, {})}
        ranked = sorted(row.items(), key=lambda entry: -entry[1])
        if temperature <= 0:
            ranked, temperature, top_k = ranked[:1], 1.0, 1
        highest = ranked[0][1]
        sized = ((name, _others(row) if name == _OTHERS else 1, logit) for name, logit in ranked)
        weighted = [(name, count, math.exp((logit - highest) / temperature)) for name, count, logit in sized]
        return list(_nucleus(_best(weighted, top_k), top_p))


def _best(entries: Iterable[tuple[int, int, float]], top_k: int) -> list[tuple[int, int, float]]:
    """The first so many tokens; all when the number is not above 0."""
    left = top_k if top_k > 0 else VOCABULARY
    kept = []
    for name, count, weight in entries:
        taken = min(count, left)
        left -= taken
        if taken:
            kept.append((name, taken, weight))
    return kept


def _nucleus(entries: list[tuple[int, int, float]], top_p: float) -> Iterator[tuple[int, int, float]]:
    """The first tokens that together have this share of the chance."""
    left = top_p * sum(count * weight for _, count, weight in entries)
    for name, count, weight in entries:
        taken = min(count, max(1, math.ceil(left / weight - 1e-9))) if weight else 0
        if taken:
            yield name, taken, weight
        left -= taken * weight
        if left <= 0:
            return


def _others(row: Row) -> int:
    """How many tokens share a logit."""
    return VOCABULARY - len(row) + (_OTHERS in row)


def _log_sum(row: Row) -> float:
    """The logarithm of the sum by which chances are divided."""
    shared = row.get(_OTHERS, 0.0)
    highest = max(shared, max(row.values(), default=shared))
    total = _others(row) * math.exp(shared - highest)
    total += sum(math.exp(logit - highest) for name, logit in row.items() if name != _OTHERS)
    return highest + math.log(total)
