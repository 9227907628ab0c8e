"""Tasks that are killed once, each at a named point of its submission, and then retried."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param

from airflow_provider.operators.base import TogetherJobOperator
from airflow_provider.operators.batch import TogetherBatchOperator
from airflow_provider.operators.endpoint import TogetherEndpointOperator
from airflow_provider.operators.evaluation import TogetherEvaluationOperator
from airflow_provider.operators.fine_tune import TogetherFineTuneOperator
from together_flows.jobs.pipeline import score_parameters

MODEL = "Qwen/Qwen3-8B"
POINTS = (
    "before:save:intent",
    "after:save:intent",
    "after:send:{create}",
    "before:save:submitted",
    "after:save:submitted",
)


def killed_at(point: str) -> Callable[[Any], None]:
    """What makes a task's process die when it reaches a point for the first time."""

    def prepare(context: Any) -> None:
        folder = Path(context["params"]["folder"])
        os.environ["TOGETHER_FLOWS_CRASH_AT"] = point
        os.environ["TOGETHER_FLOWS_CRASH_ONCE"] = str(folder / f"{context['ti'].task_id}.died")

    return prepare


def fine_tune(task_id: str, **rest: Any) -> TogetherJobOperator:
    return TogetherFineTuneOperator(
        task_id=task_id, training_file="{{ params.training_file }}", model=MODEL, suffix=task_id[:12], **rest
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
    made = TogetherEndpointOperator(task_id=task_id, model=MODEL, hardware="1x_nvidia_h100_80gb_sxm", **rest)
    made >> made.teardown()
    return made


KINDS = {
    "fine_tunes.create": fine_tune,
    "batches.create": batch,
    "evaluation.create": evaluation,
    "endpoints.create": endpoint,
}

with DAG(
    "crashing",
    schedule=None,
    params={name: Param("", type="string") for name in ("folder", "training_file", "heldout_file")},
) as dag:
    for create, make in KINDS.items():
        for number, point in enumerate(POINTS):
            make(
                f"{make.__name__}_{number}",
                pre_execute=killed_at(point.format(create=create)),
                retries=2,
                retry_delay=timedelta(seconds=1),
                deferrable=number % 2 == 0,
            )
