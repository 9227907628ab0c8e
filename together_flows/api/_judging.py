"""How an evaluation judges: the nested arguments of `evaluation.create`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainValidator, ValidationInfo, model_validator

from together_flows.api._model import Request, Secret

__all__ = [
    "ClassifyParameters",
    "CompareParameters",
    "EvaluatedModel",
    "Judge",
    "Parameters",
    "ScoreParameters",
]

ModelSource = Literal["serverless", "dedicated", "external"] | str
Workers = Annotated[int, Field(ge=1)]


class _Asked(Request):
    """A model that the evaluation asks, by where it runs."""

    model: str
    model_source: ModelSource
    system_template: str
    external_api_token: Secret | None = None
    external_base_url: str | None = None
    num_workers: Workers | None = None

    @model_validator(mode="after")
    def _token_for_external(self) -> Self:
        if self.model_source == "external" and self.external_api_token is None:
            raise ValueError("needs external_api_token, because its model_source is 'external'")
        return self


class Judge(_Asked):
    """The model that judges each row.

    Attributes:
        model: its name; for a dedicated one, the endpoint's id.
        model_source: `serverless`, `dedicated` or `external`.
        system_template: what it is told, as a Jinja2 template over the columns of the dataset.
        external_api_token: key for an external model, which needs one. No repr or error shows it.
        external_base_url: address of an external API that speaks OpenAI's protocol; short names such as
            `openai/gpt-5` do without.
        num_workers: requests at a time, at least 1. The API's defaults: 25 serverless, 5 dedicated, 2 external.
    """


class EvaluatedModel(_Asked):
    """A model whose answers are judged. They are generated for the evaluation.

    Attributes:
        model: its name; for a dedicated one, the endpoint's id.
        model_source: `serverless`, `dedicated` or `external`.
        system_template: what it is told, as a Jinja2 template over the columns of the dataset.
        input_template: what it is asked, as a Jinja2 template.
        max_tokens: tokens to answer with at most, at least 1.
        temperature: randomness, 0 to 2.
        external_api_token: key for an external model, which needs one. No repr or error shows it.
        external_base_url: address of an external API that speaks OpenAI's protocol.
        num_workers: requests at a time, at least 1.
    """

    input_template: str
    max_tokens: Annotated[int, Field(ge=1)]
    temperature: Annotated[float, Field(ge=0, le=2)]


class ClassifyParameters(Request):
    """Have the judge put each row under a label.

    Attributes:
        judge: the model that judges.
        labels: the labels, at least 2.
        pass_labels: those that count as passed, at least 1 out of `labels`.
        input_data_file_path: id of a file uploaded for evaluations (the API calls it a path).
        model_to_evaluate: a model, or the name of the column that holds ready answers.
    """

    judge: Judge
    labels: Annotated[Sequence[str], Field(min_length=2)]
    pass_labels: Annotated[Sequence[str], Field(min_length=1)]
    input_data_file_path: str
    model_to_evaluate: str | EvaluatedModel | None = None

    @model_validator(mode="after")
    def _known_pass_labels(self) -> Self:
        if unknown := [label for label in self.pass_labels if label not in self.labels]:
            raise ValueError(f"has pass_labels that are not among its labels: {', '.join(map(repr, unknown))}")
        return self


class ScoreParameters(Request):
    """Have the judge give each row a score.

    Attributes:
        judge: the model that judges.
        min_score: lowest score.
        max_score: highest score, above the lowest.
        pass_threshold: score from which a row has passed, between the two.
        input_data_file_path: id of a file uploaded for evaluations (the API calls it a path).
        model_to_evaluate: a model, or the name of the column that holds ready answers.
    """

    judge: Judge
    min_score: float
    max_score: float
    pass_threshold: float
    input_data_file_path: str
    model_to_evaluate: str | EvaluatedModel | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.min_score < self.max_score:
            raise ValueError(f"needs a min_score below its max_score (got {self.min_score} and {self.max_score})")
        if not self.min_score <= self.pass_threshold <= self.max_score:
            raise ValueError(f"needs a pass_threshold from min_score to max_score (got {self.pass_threshold})")
        return self


class CompareParameters(Request):
    """Have the judge choose between two answers to each row.

    Attributes:
        judge: the model that judges.
        model_a: a model, or the name of the column that holds ready answers. The official client requires both.
        model_b: the other one.
        input_data_file_path: id of a file uploaded for evaluations (the API calls it a path).
    """

    judge: Judge
    model_a: str | EvaluatedModel
    model_b: str | EvaluatedModel
    input_data_file_path: str


_BY_TYPE: dict[str, type[ClassifyParameters | ScoreParameters | CompareParameters]] = {
    "classify": ClassifyParameters,
    "score": ScoreParameters,
    "compare": CompareParameters,
}


def _fitting(parameters: Any, info: ValidationInfo) -> Any:
    """The parameters as the model that the argument `type`, which is checked before them, asks for."""
    if "type" not in info.data:  # it was refused, and without it there is nothing to say of the parameters
        return parameters
    wanted = _BY_TYPE[info.data["type"]]
    if isinstance(parameters, Request) and not isinstance(parameters, wanted):
        raise ValueError(f"must be {wanted.__name__}, because type is {info.data['type']!r}")
    foreign = _foreign_fields(parameters, wanted)
    if foreign:
        raise ValueError(f"takes no {', '.join(foreign)}, because type is {info.data['type']!r}")
    return wanted.model_validate(parameters)


def _foreign_fields(parameters: Any, wanted: type[Request]) -> list[str]:
    if not isinstance(parameters, dict):
        return []
    others = {name for model in _BY_TYPE.values() for name in model.model_fields} - wanted.model_fields.keys()
    return [name for name, value in parameters.items() if name in others and value is not None]


Parameters = Annotated[ClassifyParameters | ScoreParameters | CompareParameters, PlainValidator(_fitting)]
