"""The Airflow DAGs of a pipeline around an endpoint that bills. It fails, or stays to be killed, where it is told."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, Param

from airflow_provider.operators.teardown import TogetherBillingJobOperator
from tests.e2e.matrix.jobs import PARAMS, job_task

_PARAMS = {**PARAMS, "fails_at": Param("", type="string"), "stays_at": Param("", type="string")}


def step(name: str, fails_at: str, stays_at: str) -> None:
    """Do nothing; or fail; or stay until somebody ends this process."""
    if fails_at == name:
        raise ValueError(f"{name} went wrong")
    while stays_at == name:
        time.sleep(0.5)


def other(task_id: str) -> PythonOperator:
    told = {"name": task_id, "fails_at": "{{ params.fails_at }}", "stays_at": "{{ params.stays_at }}"}
    return PythonOperator(task_id=task_id, python_callable=step, op_kwargs=told)


def pipeline(dag_id: str, **wishes: Any) -> DAG:
    with DAG(dag_id, schedule=None, params=_PARAMS) as dag:
        made = job_task("endpoint", "job", **wishes)
        assert isinstance(made, TogetherBillingJobOperator)
        stop = made.teardown(retries=2, retry_delay=timedelta(seconds=1))
        other("prepare") >> made >> other("use") >> other("publish") >> stop
    return dag


for how, deferrable in (("deferred", True), ("in_worker", False)):
    for words, retries in (("", 0), ("_retried", 1)):
        dag_id = f"pipeline_{how}{words}"
        globals()[dag_id] = pipeline(dag_id, retries=retries, deferrable=deferrable)
