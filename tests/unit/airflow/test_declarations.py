"""Operators, sensors and triggers as Airflow sees them before anything runs."""

from __future__ import annotations

import copy
import importlib
import inspect
import json
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator, TriggerRule, task
from airflow.sdk.execution_time.task_runner import _serialize_rendered_fields
from airflow.sdk.module_loading import import_string
from airflow.sdk.serde import deserialize, serialize
from airflow.serialization.serialized_objects import DagSerialization
from airflow.triggers.base import BaseTrigger

from airflow_provider import get_provider_info
from airflow_provider.operators.base import TogetherJobOperator
from airflow_provider.operators.batch import TogetherBatchOperator
from airflow_provider.operators.cluster import (
    TogetherClusterOperator,
    TogetherClusterTeardownOperator,
    TogetherSharedVolumeOperator,
)
from airflow_provider.operators.deployment import TogetherDeploymentOperator, TogetherDeploymentTeardownOperator
from airflow_provider.operators.endpoint import TogetherEndpointOperator, TogetherEndpointTeardownOperator
from airflow_provider.operators.evaluation import TogetherEvaluationOperator
from airflow_provider.operators.file import TogetherDownloadFileOperator, TogetherUploadFileOperator
from airflow_provider.operators.fine_tune import TogetherDownloadModelOperator, TogetherFineTuneOperator
from airflow_provider.operators.inference import TogetherInferenceOperator
from airflow_provider.operators.model_upload import TogetherModelUploadOperator
from airflow_provider.operators.operation import TogetherOperator
from airflow_provider.operators.queue import TogetherQueueOperator
from airflow_provider.operators.rl import (
    TogetherRLOperationOperator,
    TogetherRLSessionOperator,
    TogetherRLSessionTeardownOperator,
)
from airflow_provider.operators.sweep import TogetherSweepOperator
from airflow_provider.operators.teardown import TogetherBillingJobOperator, TogetherTeardownOperator
from airflow_provider.operators.video import TogetherVideoOperator
from airflow_provider.sensors.job import TogetherBatchSensor, TogetherJobSensor, TogetherQueueSensor
from airflow_provider.triggers.job import TogetherJobTrigger, TogetherSensorTrigger
from together_flows.jobs import KINDS, kind_named

NEEDED: dict[type[BaseOperator], dict[str, Any]] = {
    TogetherUploadFileOperator: {"path": "train.jsonl"},
    TogetherDownloadFileOperator: {"file_id": "file-1", "output_path": "out"},
    TogetherFineTuneOperator: {"training_file": "file-1", "model": "m"},
    TogetherDownloadModelOperator: {"ft_id": "ft-1", "output_path": "out"},
    TogetherEvaluationOperator: {"evaluation_type": "score", "judge": {"model": "m", "system_template": "{{ a }}"}},
    TogetherEndpointOperator: {"model": "m", "hardware": "h"},
    TogetherEndpointTeardownOperator: {"endpoint_id": "e"},
    TogetherBatchOperator: {"rows": ["Hello?"], "output_path": "out"},
    TogetherInferenceOperator: {"operation": "chat.create", "rows": ["Hello?"], "output_path": "out"},
    TogetherModelUploadOperator: {"model_name": "n", "model_source": "s"},
    TogetherDeploymentOperator: {"name": "n", "image": "i", "gpu_type": "g"},
    TogetherDeploymentTeardownOperator: {"job_id": "d"},
    TogetherClusterOperator: {
        "cluster_name": "n",
        "region": "r",
        "gpu_type": "g",
        "num_gpus": 8,
        "billing_type": "ON_DEMAND",
    },
    TogetherClusterTeardownOperator: {"job_id": "c"},
    TogetherSharedVolumeOperator: {"volume_name": "n", "size_tib": 1, "region": "r"},
    TogetherVideoOperator: {"model": "m", "prompt": "p"},
    TogetherQueueOperator: {"model": "m", "payload": {"a": 1}},
    TogetherRLSessionOperator: {"base_model": "m"},
    TogetherRLSessionTeardownOperator: {"job_id": "s"},
    TogetherRLOperationOperator: {"session_id": "s", "operation": "optim_step"},
    TogetherOperator: {"operation": "models.list"},
    TogetherSweepOperator: {"stop": False, "days": 2.0},
    TogetherBatchSensor: {"batch_id": "b"},
}


def public_classes() -> set[type]:
    info = get_provider_info()
    modules = [name for kind in ("operators", "sensors") for entry in info[kind] for name in entry["python-modules"]]
    found = set()
    for name in modules:
        module = importlib.import_module(name)
        found |= {getattr(module, public) for public in module.__all__ if inspect.isclass(getattr(module, public))}
    return found


def test_every_operator_is_tried_here() -> None:
    operators = {cls for cls in public_classes() if not issubclass(cls, TogetherJobSensor)}
    shared = {TogetherJobOperator, TogetherBillingJobOperator, TogetherTeardownOperator}
    assert operators - set(NEEDED) == shared


@pytest.mark.parametrize("operator", NEEDED, ids=lambda cls: cls.__name__)
def test_each_can_be_rendered_copied_serialized_and_mapped(operator: type[BaseOperator]) -> None:
    arguments = NEEDED[operator]
    with DAG("d", schedule=None) as dag:
        made = operator(task_id="plain", **arguments)
        (name, value), *others = arguments.items()
        operator.partial(task_id="mapped", **dict(others)).expand(**{name: [value, value]})
    for field in made.template_fields:
        assert hasattr(made, field)
    made.render_template_fields({"params": {}})
    copy.deepcopy(dag)
    again = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))
    assert set(again.task_dict) == {"plain", "mapped"}


@pytest.mark.parametrize("cls", sorted(public_classes(), key=lambda cls: cls.__name__), ids=lambda cls: cls.__name__)
def test_every_argument_is_documented(cls: type) -> None:
    documented = " ".join(base.__doc__ or "" for base in cls.__mro__ if base.__module__.startswith("airflow_provider"))
    for name, parameter in inspect.signature(cls.__init__).parameters.items():
        if name != "self" and parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            assert f":param {name}:" in documented, name


@pytest.mark.parametrize("cls", sorted(public_classes(), key=lambda cls: cls.__name__), ids=lambda cls: cls.__name__)
def test_what_is_said_to_be_templated_is(cls: type[BaseOperator]) -> None:
    for base in (base for base in cls.__mro__ if base.__module__.startswith("airflow_provider")):
        for part in (base.__doc__ or "").split(":param ")[1:]:
            name, _, text = part.partition(":")
            if name in inspect.signature(cls.__init__).parameters and "(templated)" in text:
                assert name in cls.template_fields or name == "job_id"


def test_judges_keep_their_templates_and_airflow_renders_the_rest() -> None:
    operator = TogetherEvaluationOperator(
        task_id="t",
        evaluation_type="score",
        judge={"model": "{{ params.judge }}", "system_template": "Is {{ answer }} right?"},
        parameters={"model_to_evaluate": {"model": "{{ params.model }}", "input_template": "{{ question }}"}},
    )
    operator.render_template_fields({"params": {"judge": "J", "model": "M"}})
    assert operator.judge == {"model": "J", "system_template": "Is {{ answer }} right?"}
    assert operator.parameters == {"model_to_evaluate": {"model": "M", "input_template": "{{ question }}"}}


def test_the_teardown_runs_whatever_became_of_the_setup_and_after_the_work() -> None:
    with DAG("d", schedule=None) as dag:
        endpoint = TogetherEndpointOperator(task_id="endpoint", model="m", hardware="h")
        with endpoint.teardown():

            @task
            def work() -> None: ...

            work()
    stop: Any = dag.get_task("stop_endpoint")
    assert stop.is_teardown
    assert endpoint.is_setup
    assert stop.trigger_rule == TriggerRule.ALL_DONE
    assert stop.upstream_task_ids == {"endpoint", "work"}
    assert stop.retries > 0


@pytest.mark.parametrize("job_id", ["batch-1", "{{ params.batch }}", "{{ var.value.batch }}", "titanic"])
def test_a_sensor_begins_in_the_triggerer_where_the_id_can_be_rendered_there(job_id: str) -> None:
    sensor = TogetherBatchSensor(task_id="sensor", batch_id=job_id)
    assert sensor.start_from_trigger
    assert sensor.start_trigger_args is not None
    assert (sensor.start_trigger_args.trigger_kwargs or {})["references"] == [f"batch:{job_id}"]


def test_a_sensor_of_what_one_task_returns_begins_in_the_triggerer_with_a_template_for_one_xcom() -> None:
    with DAG("d", schedule=None):
        batch = TogetherBatchOperator(task_id="batch", rows=["Hello?"], output_path="out", wait=False)
        sensor: Any = TogetherBatchSensor(task_id="sensor", batch_id=batch.output["id"])
    assert sensor.upstream_task_ids == {"batch"}
    [reference] = sensor.start_trigger_args.trigger_kwargs["references"]
    assert reference == "batch:{{ ti.xcom_pull(task_ids='batch', key='id', map_indexes=-1) }}"


def test_a_sensor_that_calls_its_job_by_the_plain_word_waits_for_the_task_that_submits_it() -> None:
    with DAG("d", schedule=None):
        submitted = TogetherQueueOperator(task_id="submit", model="m", payload={}, wait=False)
        sensor = TogetherQueueSensor(task_id="sensor", job_id=submitted.output["id"])
    assert sensor.upstream_task_ids == {"submit"}


@pytest.mark.parametrize("job_id", ["{{ ti.xcom_pull('batch') }}", "{{ task_instance.xcom_pull('b')['id'] }}"])
def test_a_sensor_whose_template_would_hang_a_triggerer_begins_in_a_worker(job_id: str) -> None:
    assert not TogetherBatchSensor(task_id="sensor", batch_id=job_id).start_from_trigger


def test_a_sensor_of_a_mapped_task_begins_in_a_worker() -> None:
    with DAG("d", schedule=None):
        batches = TogetherBatchOperator.partial(task_id="batch", output_path="out").expand(rows=[["Hello?"], ["Bye?"]])
        assert not TogetherBatchSensor(task_id="sensor", batch_id=batches.output["id"]).start_from_trigger


TRIGGERS: list[BaseTrigger] = [
    TogetherJobTrigger("c", ["batch:1", "batch:2"], deadline=12.5, interval=3.0, on_clear="reattach", on_kill="leave"),
    TogetherSensorTrigger("c", ["batch:1"], interval=3.0),
]


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda trigger: type(trigger).__name__)
def test_a_trigger_is_the_same_after_it_was_stored(trigger: BaseTrigger) -> None:
    classpath, kwargs = trigger.serialize()
    stored = json.loads(json.dumps(serialize(kwargs)))
    again = import_string(classpath)(**deserialize(stored))
    assert again.serialize() == (classpath, kwargs)


@pytest.mark.parametrize("trigger", [TogetherJobTrigger, TogetherSensorTrigger])
def test_a_trigger_stored_by_an_older_version_can_be_made(trigger: type[BaseTrigger]) -> None:
    parameters = inspect.signature(trigger.__init__).parameters
    required = [name for name, value in parameters.items() if value.default is inspect.Parameter.empty]
    assert required == ["self", "together_conn_id", "references"]


TOKEN = "a-token-of-mine"
VARIABLES = [{"name": "TOKEN", "value": "{{ params.token }}"}, {"name": "KEY", "value_from_secret": "key"}]


def deployment(variables: Any) -> TogetherDeploymentOperator:
    return TogetherDeploymentOperator(
        task_id="t", name="n", image="i", gpu_type="g", environment_variables=variables, params={"token": TOKEN}
    )


def shown(operator: BaseOperator) -> str:
    """The rendered templates, as Airflow stores them for its interface."""
    return json.dumps(_serialize_rendered_fields(operator))


def test_the_value_of_an_environment_variable_is_rendered_and_sent_but_not_shown() -> None:
    operator = deployment(VARIABLES)
    operator.render_template_fields({"params": {"token": TOKEN}})
    [spec] = operator.job_specs({})
    assert spec["environment_variables"] == [
        {"name": "TOKEN", "value": TOKEN},
        {"name": "KEY", "value_from_secret": "key"},
    ]
    assert TOKEN not in shown(operator)
    assert '"TOKEN"' in shown(operator)


def test_environment_variables_that_come_out_of_one_template_are_not_shown_either() -> None:
    with DAG("d", schedule=None, render_template_as_native_obj=True):
        operator = deployment("{{ params.variables }}")
    operator.render_template_fields({"params": {"variables": [{"name": "TOKEN", "value": TOKEN}]}})
    assert operator.job_specs({})[0]["environment_variables"] == [{"name": "TOKEN", "value": TOKEN}]
    assert TOKEN not in shown(operator)


def test_rendering_leaves_the_dags_own_operator_as_it_was() -> None:
    operator = deployment(VARIABLES)
    for token in ("first", "second"):
        attempt = operator.prepare_for_execution()
        attempt.render_template_fields({"params": {"token": token}})
        assert attempt.job_specs({})[0]["environment_variables"][0]["value"] == token


def test_a_value_that_stands_in_the_dag_file_is_not_in_the_serialized_dag() -> None:
    with DAG("d", schedule=None) as dag:
        deployment([{"name": "TOKEN", "value": TOKEN}]).params = {}
    assert TOKEN not in json.dumps(DagSerialization.to_dict(dag))


@pytest.mark.parametrize(
    "started",
    [
        TogetherDeploymentOperator(task_id="t", **NEEDED[TogetherDeploymentOperator]),
        TogetherClusterOperator(task_id="t", **NEEDED[TogetherClusterOperator]),
        TogetherRLSessionOperator(task_id="t", **NEEDED[TogetherRLSessionOperator]),
        TogetherEndpointOperator(task_id="t", **NEEDED[TogetherEndpointOperator]),
    ],
    ids=lambda operator: operator.kind,
)
def test_whatever_bills_has_a_teardown_of_its_own_kind(started: TogetherBillingJobOperator) -> None:
    assert started.teardown_operator.kind == started.kind
    assert kind_named(started.kind).bills_until_stopped


def test_every_kind_that_bills_until_it_is_stopped_has_a_teardown() -> None:
    billing = {cls.kind for cls in NEEDED if issubclass(cls, TogetherBillingJobOperator)}
    assert billing == {name for name in KINDS if kind_named(name).bills_until_stopped}


def test_every_kind_has_an_operator_and_a_sensor() -> None:
    operators = {cls.kind for cls in NEEDED if issubclass(cls, TogetherJobOperator)}
    sensors = {
        cls.kind for cls in public_classes() if issubclass(cls, TogetherJobSensor) and cls is not TogetherJobSensor
    }
    assert operators == sensors == set(KINDS)
