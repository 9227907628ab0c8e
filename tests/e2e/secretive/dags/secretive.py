"""Tasks that take a secret everywhere the API takes one: most do their work, and others fail in all ways they can.

The names of the variables tell Airflow nothing: it does not hide them by their names.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param

from airflow_provider.operators.deployment import TogetherDeploymentOperator
from airflow_provider.operators.evaluation import TogetherEvaluationOperator
from airflow_provider.operators.fine_tune import TogetherFineTuneOperator
from airflow_provider.operators.model_upload import TogetherModelUploadOperator
from airflow_provider.operators.operation import TogetherOperator
from airflow_provider.operators.queue import TogetherQueueOperator
from tests.e2e.secretive.account import ECHOES

MODEL = "Qwen/Qwen3-8B"
JUDGE = {"model": MODEL, "model_source": "serverless", "system_template": "Is it right?"}
TESTED = {
    "model": "openai/gpt-5",
    "model_source": "external",
    "external_base_url": "https://models.example/v1",
    "external_api_token": "{{ var.value.elsewhere }}",
    "system_template": "Answer.",
    "input_template": "{{ question }} {{ reference }}",
    "max_tokens": 16,
    "temperature": 0,
}
IMAGE = {"image": "registry.together.ai/me/detector:1", "gpu_type": "h100-80gb", "gpu_count": 1}
VARIABLES = [
    {"name": "PASSWORD", "value": "{{ var.value.container }}"},
    {"name": "PEM", "value": "{{ var.value.pem }}"},
]


def in_the_file(name: str) -> str:
    """A secret that stands in the DAG itself, as far as Airflow can see."""
    return os.environ[f"IN_THE_FILE_{name}".upper()]


def fine_tune(task_id: str, **rest: Any) -> Any:
    arguments: dict[str, Any] = {
        "training_file": "{{ params.training_file }}",
        "model": MODEL,
        "suffix": task_id[:20].replace("_", "-"),
        "hf_api_token": "{{ var.value.hf }}",
        "wandb_api_key": "{{ var.value.wandb }}",
        "wandb_project_name": "parcels",
    }
    return TogetherFineTuneOperator(task_id=task_id, poll_interval=1, **{**arguments, **rest})


def model_upload(task_id: str, **rest: Any) -> Any:
    arguments = {"model_name": f"me/{task_id}", "model_source": "me/private", "hf_token": "{{ var.value.hf }}"}
    return TogetherModelUploadOperator(task_id=task_id, poll_interval=1, **{**arguments, **rest})


def evaluation(task_id: str, **rest: Any) -> Any:
    arguments: dict[str, Any] = {
        "evaluation_type": "score",
        "judge": JUDGE,
        "model_to_evaluate": TESTED,
        "input_file_id": "{{ params.heldout_file }}",
        "min_score": 1,
        "max_score": 10,
        "pass_threshold": 5,
    }
    return TogetherEvaluationOperator(task_id=task_id, poll_interval=1, **{**arguments, **rest})


def deployment(task_id: str, **rest: Any) -> Any:
    arguments: dict[str, Any] = {"name": task_id.replace("_", "-"), **IMAGE, "environment_variables": VARIABLES}
    return TogetherDeploymentOperator(task_id=task_id, poll_interval=1, **{**arguments, **rest})


def operation(task_id: str, called: str, **arguments: Any) -> Any:
    return TogetherOperator(task_id=task_id, operation=called, arguments=arguments)


with DAG(
    "secretive",
    schedule=None,
    # What is refused is not retried; what Airflow's SQLite could not start at once, is.
    default_args={"retries": 2, "retry_delay": timedelta(seconds=1)},
    params={name: Param("", type="string") for name in ("training_file", "heldout_file")},
) as dag:
    # What does its work.
    fine_tune("tunes_deferred", deferrable=True)
    fine_tune("tunes", hf_api_token=in_the_file("hf"), wandb_api_key=in_the_file("wandb"))
    model_upload("copies", deferrable=True)
    evaluation("judges")
    serving = deployment("serves", deferrable=True)
    work = TogetherQueueOperator(
        task_id="works",
        model="serves",
        payload={"image": "a.png", "login": {"password": "{{ var.value.queue }}"}},
        wait=False,
    )
    look = operation("looks", "deployments.retrieve", id="serves")
    serving >> [work, look] >> serving.teardown()
    operation("keeps", "deployments.create_secret", name="registry", value="{{ var.value.registry }}")
    operation("keeps_what_is_in_the_file", "deployments.create_secret", name="pem", value=in_the_file("pem"))
    operation(
        "serves_by_hand",
        "deployments.create",
        name="by-hand",
        **IMAGE,
        environment_variables=[{"name": "PASSWORD", "value": in_the_file("container")}, *VARIABLES],
    )

    # What fails.
    text, list_, page, _ = ECHOES
    fine_tune("tunes_and_is_refused", suffix=text)
    model_upload("copies_and_is_refused", description=list_, deferrable=True)
    evaluation("judges_and_is_refused", model_to_evaluate={**TESTED, "model": page})
    deployment("serves_and_is_refused", description=text)
    stored = {"name": "registry", "value": "{{ var.value.registry }}"}
    for way in ECHOES:
        operation(f"keeps_and_is_refused_{way[10:]}", "deployments.create_secret", **stored, description=way)
    sent = {"training_file": list_, "model": MODEL, "hf_api_token": in_the_file("hf")}
    operation("sends_and_is_refused", "fine_tunes.create", **sent, wandb_api_key="{{ var.value.wandb }}")
    fine_tune("tunes_refused_here", n_epochs="many", wandb_api_key=["{{ var.value.wandb }}"])
    model_upload("copies_refused_here", model_type="{{ var.value.hf }}", hf_token={"token": in_the_file("hf")})
    evaluation("judges_refused_here", model_to_evaluate={**TESTED, "max_tokens": "many"})
    deployment(
        "serves_refused_here", environment_variables=[*VARIABLES, {**VARIABLES[0], "value_from_secret": "registry"}]
    )
    operation("keeps_refused_here", "deployments.create_secret", name="not a name", value="{{ var.value.registry }}")
    operation("sends_refused_here", "models.upload", hf_token="{{ var.value.hf }}", hf_tokens="{{ var.value.hf }}")
    fine_tune("tunes_with_a_wrong_key", together_conn_id="together_wrong")
    fine_tune("tunes_with_a_wrong_key_deferred", together_conn_id="together_wrong", deferrable=True)
