"""The operator that has a judge look at a model's answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import literal

from airflow_provider.attempt import Ending, JobAttempt
from airflow_provider.hidden import SecretField, revealed
from airflow_provider.operators.base import TogetherJobOperator, given
from airflow_provider.storage import download, fetch
from together_flows.errors import ArgumentInvalid

if TYPE_CHECKING:
    from airflow.sdk import Context

    from together_flows.jobs.model import Spec

__all__ = ["TogetherEvaluationOperator"]

_PARAMETERS = (
    "judge",
    "labels",
    "pass_labels",
    "min_score",
    "max_score",
    "pass_threshold",
    "model_to_evaluate",
    "model_a",
    "model_b",
)
_TEMPLATES = ("system_template", "input_template")
_MODELS = ("judge", "model_to_evaluate", "model_a", "model_b")


class TogetherEvaluationOperator(TogetherJobOperator):
    """
    Have a judge classify, score or compare a model's answers to the rows of a dataset.

    .. code-block:: python

        TogetherEvaluationOperator(
            task_id="score",
            evaluation_type="score",
            input_path="heldout.jsonl",
            judge={"model": "…", "system_template": "Give 1 to 10 for how well the answer fits {{ answer }}."},
            model_to_evaluate={"model": "…", "system_template": "Be brief.", "input_template": "{{ question }}"},
            min_score=1,
            max_score=10,
            pass_threshold=7,
        )

    Every ``system_template`` and ``input_template`` is for Together AI, so that Airflow leaves it as it is. The rest of
    the models, such as their names and tokens, it renders.

    Returns ``id``, ``type``, ``results`` (such as ``results["aggregated_scores"]["mean_score"]``), ``result_file_id``,
    ``result_path``, ``reference`` and ``url``; each is an XCom of its own too. The API has no way to cancel an
    evaluation: it is left to end by itself where another job would be ended.

    :param evaluation_type: ``classify``, ``score`` or ``compare``. (templated)
    :param judge: the model that judges: ``model``, ``system_template``, and ``model_source``, which is ``serverless``
        unless given. (templated)
    :param input_file_id: id of a file uploaded for evaluations. (templated)
    :param input_path: a file to check and upload instead: a path as the worker sees it, or a URL that
        ``ObjectStoragePath`` understands. (templated)
    :param model_to_evaluate: a model, or the name of the column that holds ready answers. (templated)
    :param model_a: for ``compare``: a model, or the name of a column. (templated)
    :param model_b: for ``compare``: the other one. (templated)
    :param labels: for ``classify``: the labels. (templated)
    :param pass_labels: for ``classify``: those that count as passed. (templated)
    :param min_score: for ``score``: the lowest score. (templated)
    :param max_score: for ``score``: the highest score. (templated)
    :param pass_threshold: for ``score``: the score from which a row has passed. (templated)
    :param parameters: the API's own ``parameters``, in place of or beside the arguments above, which win. (templated)
    :param result_path: where the judged rows go, if they are wanted: a path as the worker sees it, or a URL that
        ``ObjectStoragePath`` understands. (templated)

    It also takes what :class:`~airflow_provider.operators.base.TogetherJobOperator` takes.
    """

    kind = "evaluation"
    template_fields: Sequence[str] = (
        "evaluation_type",
        "input_file_id",
        "input_path",
        *_PARAMETERS,
        "parameters",
        "result_path",
        *TogetherJobOperator.template_fields,
    )
    template_fields_renderers = dict.fromkeys((*_MODELS, "parameters"), "json")
    judge = SecretField.within()
    model_to_evaluate = SecretField.within()
    model_a = SecretField.within()
    model_b = SecretField.within()
    parameters = SecretField.within()

    def __init__(
        self,
        *,
        evaluation_type: Literal["classify", "score", "compare"] | str,
        judge: Mapping[str, Any] | None = None,
        input_file_id: str | None = None,
        input_path: str | None = None,
        model_to_evaluate: Mapping[str, Any] | str | None = None,
        model_a: Mapping[str, Any] | str | None = None,
        model_b: Mapping[str, Any] | str | None = None,
        labels: Sequence[str] | None = None,
        pass_labels: Sequence[str] | None = None,
        min_score: float | str | None = None,
        max_score: float | str | None = None,
        pass_threshold: float | str | None = None,
        parameters: Mapping[str, Any] | None = None,
        result_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.evaluation_type = evaluation_type
        self.judge = _left_alone(judge)
        self.input_file_id = input_file_id
        self.input_path = input_path
        self.model_to_evaluate = _left_alone(model_to_evaluate)
        self.model_a = _left_alone(model_a)
        self.model_b = _left_alone(model_b)
        self.labels = labels
        self.pass_labels = pass_labels
        self.min_score = min_score
        self.max_score = max_score
        self.pass_threshold = pass_threshold
        self.parameters = _left_alone(parameters)
        self.result_path = result_path

    def job_specs(self, context: Context) -> Sequence[Spec]:
        """The evaluation, with its data either on the server or in a local file known by its content."""
        parameters = {**(revealed(self.parameters) or {}), **given(self, _PARAMETERS)}
        for name in _MODELS:
            if isinstance(parameters.get(name), Mapping):
                parameters[name] = _complete(parameters[name])
        spec: dict[str, Any] = {"type": self.evaluation_type, "parameters": parameters}
        if bool(self.input_path) == bool(self.input_file_id or parameters.get("input_data_file_path")):
            raise ArgumentInvalid(
                "An evaluation takes either input_path or input_file_id.", mend="Give exactly one of the two."
            )
        if self.input_file_id:
            parameters["input_data_file_path"] = self.input_file_id
        elif self.input_path:
            spec |= self._checked_input(self.input_path, parameters)
            parameters.setdefault("input_data_file_path", "uploaded")  # the id comes with the upload
        return [spec]

    def result(self, attempt: JobAttempt, endings: Sequence[Ending]) -> Any:
        """The judge's verdict, after the judged rows were downloaded."""
        manifest = super().result(attempt, endings)
        if self.result_path and manifest.get("result_file_id"):
            from together_flows.api import files

            judged = download(self.hook.client, files.content(manifest["result_file_id"]), self.result_path)
            manifest["result_path"] = judged["path"]
        return manifest

    def _checked_input(self, location: str, parameters: Mapping[str, Any]) -> dict[str, str]:
        from together_flows.datasets import validate

        local = fetch(location, self.scratch)
        report = validate(local, purpose="eval", columns_used=_columns_used(parameters))
        report.raise_for_problems()
        self.log.info("%s is fine: %d rows with the columns %s.", location, report.rows, ", ".join(report.columns))
        return {"input_path": str(local), "input_sha256": report.sha256}


def _complete(model: Mapping[str, Any]) -> dict[str, Any]:
    """A model with its usual source, and with its token hidden from logs and fingerprints."""
    from pydantic import SecretStr

    complete = {"model_source": "serverless", **model}
    token = complete.get("external_api_token")
    if isinstance(token, str):
        complete["external_api_token"] = SecretStr(token)
    return complete


def _left_alone(value: Any) -> Any:
    """The same value, in which Airflow renders everything but the templates that are Together AI's."""
    if not isinstance(value, Mapping):
        return value
    return {
        key: literal(part) if key in _TEMPLATES and isinstance(part, str) else _left_alone(part)
        for key, part in value.items()
    }


def _columns_used(parameters: Mapping[str, Any]) -> set[str]:
    """The columns that the templates and the models of an evaluation read. The API refuses data with any other."""
    from jinja2 import Environment, TemplateSyntaxError, meta

    used: set[str] = set()
    for name in _MODELS:
        model = parameters.get(name)
        if isinstance(model, str):
            used.add(model)
            continue
        for field in _TEMPLATES:
            template = (model or {}).get(field)
            if not isinstance(template, str):
                continue
            try:
                used |= meta.find_undeclared_variables(Environment(autoescape=False).parse(template))  # noqa: S701 - parsed, never rendered
            except TemplateSyntaxError as error:
                raise ArgumentInvalid(f"The {field} of {name} is no Jinja template: {error}.") from None
    return used
