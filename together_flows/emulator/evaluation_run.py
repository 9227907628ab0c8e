"""The run of an evaluation: each row answered, judged, written down and counted."""

from __future__ import annotations

import csv
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from together_flows.emulator.dataset_check import read_lines
from together_flows.emulator.evaluation_request import (
    TEMPLATES,
    Classify,
    Compare,
    ModelUnderTest,
    Parameters,
    Score,
    columns_of,
    under_test,
)
from together_flows.emulator.files import content_path
from together_flows.emulator.judge import Verdict, classify, compare, score
from together_flows.emulator.minds import BaseMind, Mind
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.serving import serve
from together_flows.emulator.tokens import split_tokens
from together_flows.emulator.world import World

__all__ = ["EvaluationRun", "UserError"]


class UserError(Exception):
    """The evaluation cannot be done as asked, and the user can mend it."""


class EvaluationRun:
    """One pass over a dataset, in a worker thread.

    Args:
        world: where the dataset lies and the models are.
        parameters: what is to be evaluated, and how.

    Raises:
        UserError: a model has gone since the job was created.
    """

    def __init__(self, world: World, parameters: Parameters) -> None:
        self.world = world
        self.parameters = parameters
        self.tested = under_test(parameters)
        self.minds = [self._mind(model) for model in self.tested]
        self.asked_columns = _asked_columns(self.tested)
        self.generation_failed = self.judge_failed = 0
        self.verdicts: list[str | float] = []

    def judge_all(self, target: Path, wanted: Callable[[], bool]) -> dict[str, Any]:
        """Judges every row, as long as it is wanted, and adds up.

        Args:
            target: the result file; it gets a row for each row.
            wanted: asked before each row.

        Raises:
            UserError: the dataset and the parameters do not fit together.
        """
        source = content_path(self.world, self.parameters.input_data_file_path)
        _check_columns(self.parameters, self.tested, set(next(_rows(source), {})))
        with target.open("wb") as results:
            for row in _rows(source):
                if not wanted():
                    break
                results.write(msgspec.json.encode(row | self._judged(row)) + b"\n")
        failed = {"generation_fail_count": self.generation_failed, "judge_fail_count": self.judge_failed}
        return self._summary() | failed

    def _judged(self, row: dict[str, Any]) -> dict[str, Any]:
        """What the result file adds to a row."""
        try:
            answers, references = self._answers(row)
        except _RenderFailed as error:
            self.generation_failed += 1
            return {"error": f"generation failed: {error}"}
        shown = {name: answer for name, answer in zip(self._output_names(), answers, strict=False) if name}
        try:
            _rendered(self.parameters.judge.system_template, row)
        except _RenderFailed as error:
            self.judge_failed += 1
            return {**shown, "error": f"judging failed: {error}"}
        verdict = self._verdict(answers, references)
        self.verdicts.append(verdict.value)
        return {**shown, self._verdict_name(): verdict.value, **self._passes(verdict), "feedback": verdict.feedback}

    def _answers(self, row: dict[str, Any]) -> tuple[list[str], list[str]]:
        """What is judged of a row, and what it is held against.

        When no model and no column is under test, the row itself is: its last column against the others.
        """
        if not self.tested:
            *others, last = map(str, row.values())
            return [last], others
        answers = [self._answer(model, mind, row) for model, mind in zip(self.tested, self.minds, strict=True)]
        return answers, self._references(row)

    def _answer(self, model: ModelUnderTest | str, mind: Mind | None, row: dict[str, Any]) -> str:
        if isinstance(model, str) or mind is None:
            return str(row.get(str(model), ""))
        _rendered(model.system_template, row)
        prompt = _rendered(model.input_template, row)
        return "".join(split_tokens(mind.answer(prompt))[: model.max_tokens])

    def _references(self, row: dict[str, Any]) -> list[str]:
        """The columns that no question was made of; where there are none, the question itself."""
        others = [str(value) for name, value in row.items() if name not in self.asked_columns]
        columns = {model for model in self.tested if isinstance(model, str)}
        return others or [str(value) for name, value in row.items() if name not in columns]

    def _verdict(self, answers: list[str], references: list[str]) -> Verdict:
        match self.parameters:
            case Compare():
                return compare(answers[0], answers[1], references)
            case Score(min_score=low, max_score=high):
                return score(low, high, answers[0], references)
            case Classify():
                return classify(self.parameters, answers[0], references)

    def _summary(self) -> dict[str, Any]:
        match self.parameters:
            case Compare():
                counts = Counter(self.verdicts)
                return {
                    "num_samples": len(self.verdicts) + self.generation_failed + self.judge_failed,
                    "A_wins": counts["A"],
                    "B_wins": counts["B"],
                    "Ties": counts["Tie"],
                }
            case Score(pass_threshold=threshold):
                scores = [float(value) for value in self.verdicts]
                return {
                    "aggregated_scores": {
                        "mean_score": round(statistics.fmean(scores), 6) if scores else 0.0,
                        "std_score": round(statistics.pstdev(scores), 6) if scores else 0.0,
                        "pass_percentage": _percentage(sum(value >= threshold for value in scores), len(scores)),
                    },
                    "invalid_score_count": 0,
                    "failed_samples": self.generation_failed + self.judge_failed,
                }
            case Classify(labels=labels, pass_labels=pass_labels):
                counts = Counter(self.verdicts)
                label_counts = {label: counts[label] for label in labels}
                passed = sum(counts[label] for label in pass_labels)
                return {
                    "invalid_label_count": 0,
                    "pass_percentage": _percentage(passed, len(self.verdicts)),
                    "label_counts": msgspec.json.encode(label_counts).decode(),
                }

    def _passes(self, verdict: Verdict) -> dict[str, bool]:
        match self.parameters:
            case Score(pass_threshold=threshold):
                return {"passed": float(verdict.value) >= threshold}
            case Classify(pass_labels=pass_labels):
                return {"passed": verdict.value in pass_labels}
        return {}

    def _output_names(self) -> list[str]:
        """The result file's column for each answer; empty for one that is a column already."""
        names = ["output_a", "output_b"] if isinstance(self.parameters, Compare) else ["output"]
        return ["" if isinstance(model, str) else name for name, model in zip(names, self.tested, strict=False)]

    def _verdict_name(self) -> str:
        match self.parameters:
            case Compare():
                return "winner"
            case Score():
                return "score"
            case Classify():
                return "label"

    def _mind(self, model: ModelUnderTest | str) -> Mind | None:
        if isinstance(model, str):
            return None
        if model.model_source == "external":
            return BaseMind(model.model)
        try:
            return serve(self.world, model.model).mind(self.world)
        except Refusal as refusal:
            raise UserError(refusal.message) from None


class _RenderFailed(Exception):
    """A template cannot be rendered with a row."""


def _rendered(template: str, row: dict[str, Any]) -> str:
    try:
        return TEMPLATES.from_string(template).render(row)
    except Exception as error:  # a template can fail in any way that Python can
        raise _RenderFailed(f"{type(error).__name__}: {error}") from None


def _asked_columns(tested: list[ModelUnderTest | str]) -> set[str]:
    """The columns that questions were made of, or that are answers themselves."""
    asked: set[str] = set()
    for model in tested:
        asked |= {model} if isinstance(model, str) else columns_of(model.system_template, model.input_template)
    return asked


def _check_columns(parameters: Parameters, tested: list[ModelUnderTest | str], columns: set[str]) -> None:
    """Every column must be used, and every column that is used must be there."""
    used = _asked_columns(tested) | columns_of(parameters.judge.system_template)
    if used - columns:
        raise UserError(f"Columns are used that the dataset does not have: {sorted(used - columns)}.")
    if columns - used:
        raise UserError(
            f"Columns of the dataset are used by no template and no column reference: {sorted(columns - used)}."
        )


def _rows(source: Path) -> Iterator[dict[str, Any]]:
    """The rows of a dataset in JSON lines or, when it does not begin like that, in CSV."""
    with source.open("rb") as file:
        is_jsonl = file.read(64).lstrip().startswith(b"{")
    if is_jsonl:
        for line in read_lines(source):
            try:
                yield msgspec.json.decode(line.content, type=dict[str, Any])
            except msgspec.MsgspecError as error:
                raise UserError(f"Line {line.number} of the dataset is no JSON object: {error}") from None
    else:
        with source.open(encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)


def _percentage(part: int, whole: int) -> float:
    return round(100 * part / whole, 4) if whole else 0.0
