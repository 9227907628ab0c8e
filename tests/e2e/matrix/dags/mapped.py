"""The Airflow DAGs of mapped tasks that all want the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_provider.operators.batch import TogetherBatchOperator
from airflow_provider.operators.fine_tune import TogetherFineTuneOperator
from tests.e2e.matrix.crowd import CROWD
from tests.e2e.matrix.jobs import MODEL, PARAMS, die_if_asked_to


def batches(task_id: str, how_many: int, **rest: Any) -> Any:
    task = TogetherBatchOperator.partial(
        task_id=task_id,
        rows=["hello"],
        model=MODEL,
        output_path="{{ params.folder }}/answers_{{ ti.map_index }}.jsonl",
        **rest,
    )
    return task.expand(poll_interval=[1] * how_many)


def fine_tunes(task_id: str, how_many: int, **rest: Any) -> Any:
    task = TogetherFineTuneOperator.partial(
        task_id=task_id, training_file="{{ params.training_file }}", model=MODEL, suffix="tuned", **rest
    )
    return task.expand(poll_interval=[1] * how_many)


#: Mapped tasks by kind. They are mapped over what is no input of the job, so that nothing but the map index differs.
MAPPED: Mapping[str, Callable[..., Any]] = {"batch": batches, "fine_tune": fine_tunes}

_WISHES: dict[str, Any] = {
    "together_conn_id": "{{ params.connection }}",
    "pre_execute": die_if_asked_to,
    "retry_delay": timedelta(seconds=1),
    "retries": 2,
}

for kind, mapped in MAPPED.items():
    for how, deferrable in (("deferred", True), ("in_worker", False)):
        with DAG(f"{kind}_{how}_twins", schedule=None, params=PARAMS) as dag:
            mapped("job", 2, deferrable=deferrable, **_WISHES)
        globals()[dag.dag_id] = dag

with DAG("crowd", schedule=None, params=PARAMS, max_active_tasks=2 * CROWD) as crowd:
    for kind, mapped in MAPPED.items():
        mapped(kind, CROWD, deferrable=True, **_WISHES)
