"""Secret arguments are sent, and shown neither in a serialized DAG nor in a rendered template nor in a log."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any, get_type_hints

import pytest
from airflow.sdk import DAG
from airflow.sdk._shared.secrets_masker import redact
from airflow.sdk.execution_time.task_runner import _serialize_rendered_fields
from airflow.serialization.serialized_objects import DagSerialization
from pydantic import BaseModel, SecretStr

from airflow_provider.hidden import SECRET_ARGUMENTS, revealed
from airflow_provider.operators.base import TogetherJobOperator
from airflow_provider.operators.evaluation import TogetherEvaluationOperator
from airflow_provider.operators.fine_tune import TogetherFineTuneOperator
from airflow_provider.operators.model_upload import TogetherModelUploadOperator
from airflow_provider.operators.operation import TogetherOperator
from together_flows.api import OPERATIONS

#: Written otherwise in JSON and in Python.
SECRET = 'pass"word\\of the tests'


def taken_as_secret(annotation: Any, name: str, seen: set[Any]) -> Iterator[str]:
    """The names under which a type takes a secret, at any depth."""
    if annotation is SecretStr:
        yield name
    elif inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        if annotation not in seen:
            seen.add(annotation)
            for field, info in annotation.model_fields.items():
                yield from taken_as_secret(info.annotation, field, seen)
    else:
        for part in getattr(annotation, "__args__", ()):
            yield from taken_as_secret(part, name, seen)


def test_every_secret_that_the_api_takes_is_known_by_its_name() -> None:
    taken = {
        name
        for entry in OPERATIONS.values()
        for parameter, annotation in get_type_hints(entry.function, include_extras=False).items()
        if parameter != "return"
        for name in taken_as_secret(annotation, parameter, set())
    }
    assert taken == SECRET_ARGUMENTS | {"value"}


def test_no_other_argument_is_called_like_the_secret_ones() -> None:
    assert {name for name, entry in OPERATIONS.items() if "value" in entry.parameters} == {
        "deployments.create_secret",
        "deployments.update_secret",
    }


def evaluated(token: str) -> dict[str, Any]:
    return {"model": "m", "model_source": "external", "external_api_token": token}


def operators(secret: str) -> list[Any]:
    """Each operator that takes a secret, with that secret wherever it takes one."""
    variables = [{"name": "A", "value": secret}]
    return [
        TogetherFineTuneOperator(task_id="tune", training_file="f", hf_api_token=secret, wandb_api_key=secret),
        TogetherModelUploadOperator(task_id="copy", model_name="m", model_source="s", hf_token=secret),
        TogetherEvaluationOperator(
            task_id="judge",
            evaluation_type="compare",
            input_file_id="f",
            judge=evaluated(secret),
            model_a=evaluated(secret),
            parameters={"model_b": evaluated(secret)},
        ),
        TogetherOperator(task_id="keep", operation="deployments.create_secret", arguments={"value": secret}),
        TogetherOperator(
            task_id="serve",
            operation="deployments.create",
            arguments={"environment_variables": variables, "nested": [{"hf_token": [secret]}]},
        ),
    ]


def sent(operator: Any) -> Any:
    return operator.job_specs({}) if isinstance(operator, TogetherJobOperator) else revealed(operator.arguments)


TASKS = ["tune", "copy", "judge", "keep", "serve"]


@pytest.mark.parametrize("task", TASKS)
def test_a_secret_in_the_dag_file_is_not_in_the_serialized_dag(task: str) -> None:
    with DAG("d", schedule=None) as dag:
        operators(SECRET)
    [dag.task_dict.pop(other) for other in TASKS if other != task]
    dag.task_group.children = {task: dag.task_dict[task]}
    assert json.dumps(SECRET)[1:-1] not in json.dumps(DagSerialization.to_dict(dag))


@pytest.mark.parametrize("task", TASKS)
def test_a_secret_out_of_a_template_is_sent_and_not_shown(task: str) -> None:
    with DAG("d", schedule=None):
        operator = operators("{{ params.secret }}")[TASKS.index(task)]
    operator.render_template_fields({"params": {"secret": SECRET}})
    shown = json.dumps(_serialize_rendered_fields(operator))
    assert json.dumps(SECRET)[1:-1] not in shown
    assert "***" in shown
    [given] = {item.get_secret_value() if isinstance(item, SecretStr) else item for item in secrets_of(sent(operator))}
    assert given == SECRET


def secrets_of(value: Any) -> Iterator[Any]:
    """What stands where a secret should."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in SECRET_ARGUMENTS | {"value"}:
                yield from item if isinstance(item, list) else [item]
            else:
                yield from secrets_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from secrets_of(item)


@pytest.mark.parametrize("form", [SECRET, json.dumps({"sent": SECRET}), repr(SECRET)], ids=["plain", "json", "python"])
def test_a_rendered_secret_is_masked_by_airflow_however_it_is_written(form: str) -> None:
    operator = operators("{{ params.secret }}")[0]
    operator.render_template_fields({"params": {"secret": SECRET}})
    assert "word" not in str(redact(f"refused: {form}"))
