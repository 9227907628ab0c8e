"""Evaluations: a judge model classifies, scores or compares answers over a dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator

from together_flows.api._judging import (
    ClassifyParameters,
    CompareParameters,
    EvaluatedModel,
    Judge,
    Parameters,
    ScoreParameters,
)
from together_flows.api._model import Answer, Nested, Time
from together_flows.api._operation import operation

__all__ = [
    "AggregatedScores",
    "ClassifyParameters",
    "ClassifyResults",
    "CompareParameters",
    "CompareResults",
    "EvaluatedModel",
    "Evaluation",
    "EvaluationCreated",
    "EvaluationModels",
    "EvaluationStatus",
    "Failure",
    "Judge",
    "ScoreParameters",
    "ScoreResults",
    "StatusUpdate",
    "create",
    "list",
    "list_models",
    "retrieve",
    "status",
]


def _decoded(counts: Any) -> Any:
    """The label counts, which arrive as a string that holds JSON."""
    return json.loads(counts) if isinstance(counts, str) else counts


class ClassifyResults(Answer):
    """How often each label was given.

    Attributes:
        label_counts: rows by label.
        pass_percentage: percent of the rows that passed, 0 to 100.
        result_file_id: file with the judgement of each row.
    """

    label_counts: Annotated[Mapping[str, int], BeforeValidator(_decoded)] | None = None
    pass_percentage: float | None = None
    invalid_label_count: float | None = None
    generation_fail_count: float | None = None
    judge_fail_count: float | None = None
    result_file_id: str | None = None


class AggregatedScores(Answer):
    """Mean and standard deviation of the scores, and the percent of the rows that passed."""

    mean_score: float | None = None
    std_score: float | None = None
    pass_percentage: float | None = None


class ScoreResults(Answer):
    """The scores, and the file with the judgement of each row."""

    aggregated_scores: AggregatedScores | None = None
    invalid_score_count: float | None = None
    failed_samples: float | None = None
    generation_fail_count: float | None = None
    judge_fail_count: float | None = None
    result_file_id: str | None = None


class CompareResults(Answer):
    """How often each model won, and the file with the judgement of each row."""

    num_samples: int | None = None
    a_wins: int | None = Field(default=None, alias="A_wins")
    b_wins: int | None = Field(default=None, alias="B_wins")
    ties: int | None = Field(default=None, alias="Ties")
    generation_fail_count: float | None = None
    judge_fail_count: float | None = None
    result_file_id: str | None = None


class Failure(Answer):
    """Why an evaluation has no results."""

    error: str


def _kind_of_results(results: Any) -> Any:
    """The results as the model that their keys tell; results of a kind that is not known stay as they are."""
    if not isinstance(results, dict):
        return results
    for key, model in _RESULTS_BY_KEY.items():
        if key in results:
            return model.model_validate(results)
    return results


_RESULTS_BY_KEY: dict[str, type[Answer]] = {
    "aggregated_scores": ScoreResults,
    "A_wins": CompareResults,
    "label_counts": ClassifyResults,
    "pass_percentage": ClassifyResults,
    "error": Failure,
}

Results = Annotated[
    ClassifyResults | ScoreResults | CompareResults | Failure | dict[str, Any], PlainValidator(_kind_of_results)
]


class StatusUpdate(Answer):
    """A change of an evaluation's status. Only administrators see them."""

    status: str
    message: str = ""
    timestamp: Time = None


class EvaluationCreated(Answer):
    """A new evaluation: `eval-…`, and `pending`."""

    workflow_id: str
    status: str


class Evaluation(Answer):
    """An evaluation.

    Attributes:
        workflow_id: `eval-…`.
        status: pending, queued and running go on; completed succeeded; error and user_error did not, the latter for a
            fault of the dataset or a template.
        type: `classify`, `score` or `compare`.
        parameters: as given to `create`. No repr shows them, since they may hold a key.
        results: `None` until it is completed.
    """

    workflow_id: str
    status: str
    type: str | None = None
    owner_id: str | None = None
    status_updates: Sequence[StatusUpdate] = ()
    parameters: dict[str, Any] = Field(default_factory=dict, repr=False)
    results: Results | None = None
    created_at: Time = None
    updated_at: Time = None


class EvaluationStatus(Answer):
    """An evaluation's status, and its results once it is completed."""

    status: str
    results: Results | None = None


class EvaluationModels(Answer):
    """The names of models."""

    model_list: Sequence[str] = ()


@operation("POST", "/evaluation")
def create(*, type: Literal["classify", "score", "compare"], parameters: Nested[Parameters]) -> EvaluationCreated:
    """Start an evaluation. The tokens of judge and models are billed. There is no way to cancel it.

    Args:
        type: what the judge does with each row.
        parameters: `ClassifyParameters`, `ScoreParameters` or `CompareParameters`, after `type`.

    Returns:
        The evaluation's id.

    Raises:
        ArgumentInvalid: the parameters do not fit the type or one another.
        BadRequest: the API refuses the file or a model.
    """


@operation("GET", "/evaluation")
def list(
    *,
    status: Literal["pending", "queued", "running", "completed", "error", "user_error"] | str | None = None,
    limit: Annotated[int, Field(ge=1, le=100)] | None = None,
) -> Sequence[Evaluation]:
    """List evaluations with their statuses and results. There is no way to read further than the limit.

    Args:
        status: only these.
        limit: how many, 10 unless given and at most 100 (source: Together's own skill documents).
    """


@operation("GET", "/evaluation/model-list")
def list_models(
    *, model_source: Literal["all", "serverless", "dedicated", "external"] | str | None = None
) -> EvaluationModels:
    """List the models that evaluations can use.

    Args:
        model_source: only those from there; all unless given.
    """


@operation("GET", "/evaluation/{id}")
def retrieve(id: str, /) -> Evaluation:
    """Read one evaluation in full."""


@operation("GET", "/evaluation/{id}/status")
def status(id: str, /) -> EvaluationStatus:
    """Read the status and the results of one evaluation."""
