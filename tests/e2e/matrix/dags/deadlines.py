"""The Airflow DAGs of tasks that may not take long: by their own deadline, or by Airflow's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from tests.e2e.matrix.jobs import PARAMS, job_task

#: Seconds that a job may take, and a task.
LIMIT = 40

_LIMITS: dict[str, dict[str, Any]] = {
    "timeout": {"timeout": LIMIT},
    "execution_timeout": {"execution_timeout": timedelta(seconds=LIMIT)},
}

for kind in ("fine_tune", "batch"):
    for how, deferrable in (("deferred", True), ("in_worker", False)):
        for name, limit in _LIMITS.items():
            with DAG(f"{kind}_{how}_{name}", schedule=None, params=PARAMS) as dag:
                job_task(kind, "job", retries=0, deferrable=deferrable, **limit)
            globals()[dag.dag_id] = dag
