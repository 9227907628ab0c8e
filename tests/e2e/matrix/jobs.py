"""A job of each kind, and the DAGs that run it. A run's parameters say where its process dies, if at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, Param

from airflow_provider.hooks.together import TogetherHook
from airflow_provider.operators.base import TogetherJobOperator
from airflow_provider.operators.batch import TogetherBatchOperator
from airflow_provider.operators.deployment import TogetherDeploymentOperator
from airflow_provider.operators.endpoint import TogetherEndpointOperator
from airflow_provider.operators.evaluation import TogetherEvaluationOperator
from airflow_provider.operators.file import TogetherUploadFileOperator
from airflow_provider.operators.fine_tune import TogetherFineTuneOperator
from airflow_provider.operators.model_upload import TogetherModelUploadOperator
from airflow_provider.operators.teardown import TogetherBillingJobOperator
from together_flows.jobs.pipeline import score_parameters

MODEL = "Qwen/Qwen3-8B"
HARDWARE = "1x_nvidia_h100_80gb_sxm"

#: The operation that creates a job of each kind, and the one that a wait reads it with.
OPERATIONS: Mapping[str, tuple[str, str]] = {
    "file": ("upload", "files.retrieve"),
    "fine_tune": ("send:fine_tunes.create", "fine_tunes.retrieve"),
    "batch": ("send:batches.create", "batches.retrieve"),
    "evaluation": ("send:evaluation.create", "evaluation.retrieve"),
    "endpoint": ("send:endpoints.create", "endpoints.retrieve"),
    "model_upload": ("send:models.upload", "jobs.retrieve"),
    "deployment": ("send:deployments.create", "deployments.retrieve"),
}
#: Where a process dies, in the words of `together_flows.jobs.crash`.
POINTS: Mapping[str, str] = {
    "before the intent is stored": "before:save:intent",
    "after the intent, before the request": "after:save:intent",
    "answer read, id not stored": "after:{create}",
    "id stored, before the wait": "after:save:submitted",
    "while waiting": "after:send:{read}",
    "result ready, before it is returned": "before:save:ended",
}


def die_if_asked_to(context: Any) -> None:
    """Make the task's process die at the point that the run's parameters name, the first time it gets there."""
    task, params = context["ti"], context["params"]
    name = task.task_id if task.map_index < 0 else f"{task.task_id}[{task.map_index}]"
    if point := params["die_at"].get(name):
        os.environ["TOGETHER_FLOWS_CRASH_AT"] = point
        os.environ["TOGETHER_FLOWS_CRASH_ONCE"] = str(Path(params["folder"]) / f"{name}.died")


def upload(task_id: str, **rest: Any) -> TogetherJobOperator:
    return TogetherUploadFileOperator(
        task_id=task_id, path="{{ params.folder }}/{{ task.task_id }}.jsonl", purpose="batch-api", **rest
    )


def fine_tune(task_id: str, **rest: Any) -> TogetherJobOperator:
    return TogetherFineTuneOperator(
        task_id=task_id, training_file="{{ params.training_file }}", model=MODEL, suffix="tuned", **rest
    )


def batch(task_id: str, **rest: Any) -> TogetherJobOperator:
    return TogetherBatchOperator(
        task_id=task_id,
        rows=["hello", "goodbye"],
        model=MODEL,
        output_path="{{ params.folder }}/{{ task.task_id }}.jsonl",
        **rest,
    )


def evaluation(task_id: str, **rest: Any) -> TogetherJobOperator:
    parameters = score_parameters(MODEL, judge_model=MODEL, prompt_column="question")
    return TogetherEvaluationOperator(
        task_id=task_id, evaluation_type="score", input_file_id="{{ params.heldout_file }}", **parameters, **rest
    )


def endpoint(task_id: str, **rest: Any) -> TogetherJobOperator:
    return TogetherEndpointOperator(task_id=task_id, model=MODEL, hardware=HARDWARE, **rest)


def model_upload(task_id: str, **rest: Any) -> TogetherJobOperator:
    return TogetherModelUploadOperator(
        task_id=task_id,
        model_name="mine-{{ task.task_id | replace('_', '-') }}",
        model_source="someone/some-model",
        **rest,
    )


def deployment(task_id: str, **rest: Any) -> TogetherJobOperator:
    return TogetherDeploymentOperator(
        task_id=task_id,
        name="app-{{ task.task_id | replace('_', '-') }}",
        image="registry.together.ai/team/app:1",
        gpu_type="h100-80gb",
        **rest,
    )


MAKE: Mapping[str, Callable[..., TogetherJobOperator]] = {
    "file": upload,
    "fine_tune": fine_tune,
    "batch": batch,
    "evaluation": evaluation,
    "endpoint": endpoint,
    "model_upload": model_upload,
    "deployment": deployment,
}


def use(kind: str, made_by: str, conn_id: str) -> None:
    """Fail unless what the task before made is really there: somebody relies on it until the teardown."""
    from together_flows.jobs import JobReference, JobState, kind_named, run
    from together_flows.jobs.ending import look

    reference = JobReference.parse(made_by)
    with TogetherHook(conn_id).new_client() as client:
        status = run(look(kind_named(kind), reference.id), client=client)
    if status is None or status.state is not JobState.SUCCEEDED:
        raise ValueError(f"{reference} is {status.raw if status else 'gone'}")


def job_task(kind: str, task_id: str, **rest: Any) -> TogetherJobOperator:
    """A task of this kind on the run's account, whose process dies where the run's parameters say."""
    return MAKE[kind](
        task_id,
        together_conn_id="{{ params.connection }}",
        pre_execute=die_if_asked_to,
        retry_delay=timedelta(seconds=1),
        poll_interval=1,
        **rest,
    )


def add_job(kind: str, task_id: str, **rest: Any) -> None:
    """A task of this kind. What it starts and what bills on is used by the next task, and torn down."""
    made = job_task(kind, task_id, **rest)
    if isinstance(made, TogetherBillingJobOperator):
        used = PythonOperator(
            task_id=f"use_{task_id}",
            python_callable=use,
            op_kwargs={
                "kind": kind,
                "made_by": "{{ ti.xcom_pull(task_ids='" + task_id + "', key='together_jobs')[0] }}",
                "conn_id": "{{ params.connection }}",
            },
        )
        made >> used >> made.teardown()


PARAMS = {
    "connection": Param("together_0", type="string"),
    "folder": Param("", type="string"),
    "training_file": Param("", type="string"),
    "heldout_file": Param("", type="string"),
    "die_at": Param({}, type="object"),
}


def dags_of(kind: str) -> dict[str, DAG]:
    """The DAGs of one kind, by id. Each kind has a file of its own, because every task's process reads all of it."""
    with DAG(f"{kind}_at_every_point", schedule=None, params=PARAMS) as at_every_point:
        # A task for each point, all with the same inputs, at the same time.
        for number in range(len(POINTS)):
            add_job(kind, f"job_{number}", retries=2, deferrable=number % 2 == 0)
    made = {at_every_point.dag_id: at_every_point}
    for how, deferrable in (("deferred", True), ("in_worker", False)):
        for retries in (0, 1):
            with DAG(f"{kind}_{how}_{retries}_retries", schedule=None, params=PARAMS) as dag:
                add_job(kind, "job", retries=retries, deferrable=deferrable)
            made[dag.dag_id] = dag
    return made
