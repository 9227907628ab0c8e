"""The judge of the emulator: it reads what was answered, compares it with what the row holds, and says what it found.

A real judge is a model that follows its instructions. This one follows one: an answer is as good as the words it
shares with the best of its references, which are the row's columns that the question was not made of. That makes it
deterministic, and fair enough that a model which has learned scores above one which has not.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from together_flows.emulator.evaluation_request import Classify
from together_flows.emulator.tokens import words

__all__ = ["Verdict", "classify", "closeness", "compare", "score"]

_TIE = 0.02
"""Answers whose closeness differs by less are equally good."""


@dataclass(frozen=True)
class Verdict:
    """What the judge says of a row: a label, a number or a winner, and why."""

    value: str | float
    feedback: str


def closeness(answer: str, references: list[str]) -> float:
    """How near an answer comes to the nearest reference: the F1 measure over their words, from 0 to 1."""
    return max((_f1(words(answer), words(reference)) for reference in references), default=0.0)


def classify(parameters: Classify, answer: str, references: list[str]) -> Verdict:
    """A label for an answer: the one it is itself, or else one that goes with how close it is."""
    spoken = " ".join(words(answer))
    for label in parameters.labels:
        if spoken == " ".join(words(label)):
            return Verdict(label, f"The answer is the label {label}.")
    near = closeness(answer, references)
    passing = list(parameters.pass_labels)
    failing = [label for label in parameters.labels if label not in passing] or passing
    ladder = failing if near < 0.5 else passing
    place = near * 2 if near < 0.5 else (near - 0.5) * 2
    best_first = ladder[min(len(ladder) - 1, int((1 - place) * len(ladder)))]
    return Verdict(best_first, _why(near))


def score(low: float, high: float, answer: str, references: list[str]) -> Verdict:
    """A number for an answer, between the bounds."""
    near = closeness(answer, references)
    return Verdict(round(low + near * (high - low), 4), _why(near))


def compare(first: str, second: str, references: list[str]) -> Verdict:
    """Which of two answers is better: "A", "B" or "Tie". The order in which they are read does not matter to it."""
    near_first, near_second = closeness(first, references), closeness(second, references)
    winner = "Tie" if abs(near_first - near_second) < _TIE else "A" if near_first > near_second else "B"
    return Verdict(winner, f"A: {_why(near_first)} B: {_why(near_second)}")


def _why(near: float) -> str:
    return f"The answer shares {100 * near:.0f}% of its words with the reference."


def _f1(answer: list[str], reference: list[str]) -> float:
    if not answer or not reference:
        return 0.0
    shared = sum((Counter(answer) & Counter(reference)).values())
    return 2 * shared / (len(answer) + len(reference))
