"""What an evaluation may ask for, and every way in which it is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import jinja2
import jinja2.meta
import msgspec
from jinja2.sandbox import SandboxedEnvironment
from msgspec import Meta

from together_flows.emulator.files import FILES, File, usable
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.serving import serve
from together_flows.emulator.world import World

__all__ = [
    "TEMPLATES",
    "Classify",
    "Compare",
    "EvaluationRequest",
    "Judge",
    "ModelUnderTest",
    "Parameters",
    "Score",
    "columns_of",
    "masked",
    "read_parameters",
    "under_test",
]

Source = Literal["serverless", "dedicated", "external"]

TEMPLATES = SandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
"""Renders the templates of strangers: no reach into Python, and a column that is missing is an error."""


class Judge(msgspec.Struct, kw_only=True):
    """The model that judges."""

    model: str
    system_template: str
    model_source: Source
    external_api_token: str | None = None
    external_base_url: str | None = None
    num_workers: Annotated[int, Meta(ge=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] = 32_768
    temperature: Annotated[float, Meta(ge=0, le=2)] = 0.05


class ModelUnderTest(msgspec.Struct, kw_only=True):
    """A model that is to answer each row."""

    model: str
    model_source: Source
    system_template: str
    input_template: str
    max_tokens: Annotated[int, Meta(ge=1)]
    temperature: Annotated[float, Meta(ge=0, le=2)]
    external_api_token: str | None = None
    external_base_url: str | None = None
    num_workers: Annotated[int, Meta(ge=1)] | None = None


class _Judged(msgspec.Struct, kw_only=True):
    judge: Judge
    input_data_file_path: str


class Classify(_Judged, kw_only=True, tag="classify"):
    """Parameters of a classification."""

    labels: Annotated[list[str], Meta(min_length=2)]
    pass_labels: Annotated[list[str], Meta(min_length=1)]
    model_to_evaluate: ModelUnderTest | str | None = None


class Score(_Judged, kw_only=True, tag="score"):
    """Parameters of a scoring."""

    min_score: float
    max_score: float
    pass_threshold: float
    model_to_evaluate: ModelUnderTest | str | None = None


class Compare(_Judged, kw_only=True, tag="compare"):
    """Parameters of a comparison."""

    model_a: ModelUnderTest | str
    model_b: ModelUnderTest | str
    disable_position_bias_correction: bool = False


Parameters = Classify | Score | Compare


class EvaluationRequest(msgspec.Struct):
    """The body of a creation."""

    type: Literal["classify", "score", "compare"]
    parameters: dict[str, Any]


def read_parameters(world: World, request: EvaluationRequest) -> tuple[Parameters, File]:
    """The parameters of a request, checked, and the dataset they name.

    Raises:
        Refusal: 400, naming what is wrong.
    """
    given = {key: value for key, value in request.parameters.items() if value is not None}
    try:
        parameters: Parameters = msgspec.convert(given | {"type": request.type}, Parameters)
    except msgspec.ValidationError as error:
        raise Refusal(400, f"parameters: {error}") from None
    _check_bounds(parameters)
    for model in (parameters.judge, *under_test(parameters)):
        if not isinstance(model, str):
            _check_model(world, model)
    return parameters, _dataset(world, parameters.input_data_file_path)


def under_test(parameters: Parameters) -> list[ModelUnderTest | str]:
    """What is evaluated: models that answer, or columns that hold answers. None for the rows themselves."""
    if isinstance(parameters, Compare):
        return [parameters.model_a, parameters.model_b]
    return [] if parameters.model_to_evaluate is None else [parameters.model_to_evaluate]


def columns_of(*templates: str) -> set[str]:
    """The columns that templates use."""
    return set().union(*(jinja2.meta.find_undeclared_variables(TEMPLATES.parse(template)) for template in templates))


def masked(value: Any) -> Any:
    """The parameters as they may be shown again: word for word, but for the secrets."""
    if isinstance(value, dict):
        return {
            key: "***" if key == "external_api_token" and item is not None else masked(item)
            for key, item in value.items()
        }
    return value


def _check_bounds(parameters: Parameters) -> None:
    match parameters:
        case Classify():
            unknown = set(parameters.pass_labels) - set(parameters.labels)
            if unknown:
                raise Refusal(400, f"pass_labels has labels that are not in labels: {sorted(unknown)}.")
        case Score():
            if not parameters.min_score < parameters.max_score:
                raise Refusal(400, "min_score must be below max_score.", param="min_score")
            if not parameters.min_score <= parameters.pass_threshold <= parameters.max_score:
                raise Refusal(400, "pass_threshold must lie between min_score and max_score.", param="pass_threshold")


def _check_model(world: World, model: Judge | ModelUnderTest) -> None:
    for template in (model.system_template, getattr(model, "input_template", "")):
        try:
            TEMPLATES.parse(template)
        except jinja2.TemplateSyntaxError as error:
            raise Refusal(400, f"A template is not valid Jinja: {error.message}", param="system_template") from None
    if model.model_source == "external":
        if not model.external_api_token:
            raise Refusal(400, "external_api_token is required for an external model.", param="external_api_token")
        return
    try:
        serve(world, model.model)
    except Refusal as refusal:
        raise Refusal(400, refusal.message, param="model", code=refusal.code) from None


def _dataset(world: World, file_id: str) -> File:
    file = usable(world, file_id, field="input_data_file_path")
    if file.purpose != "eval":
        raise Refusal(400, f"input_data_file_path: {file_id} has purpose {file.purpose}, not eval.")
    if file.status(world.clock.now()) in ("INVALID_FORMAT", FILES.failure):
        raise Refusal(400, f"input_data_file_path: {file_id} is invalid: {file.error}")
    return file
