"""The Airflow DAGs of tasks that are cleared with a wish, or with other inputs, and of endpoints without a teardown."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from tests.e2e.matrix.jobs import MAKE, PARAMS, die_if_asked_to

#: An argument of each kind that is a number, from a file that a scenario may change.
_NUMBERED = {"fine_tune": "n_epochs", "batch": "max_tokens", "endpoint": "max_replicas"}


def number_in(folder: str) -> int:
    written = Path(folder) / "number.txt"
    return int(written.read_text()) if written.exists() else 1


def dag_of(dag_id: str, kind: str, **wishes: Any) -> DAG:
    with DAG(dag_id, schedule=None, params=PARAMS, user_defined_macros={"number_in": number_in}) as dag:
        MAKE[kind](
            "job",
            together_conn_id="{{ params.connection }}",
            pre_execute=die_if_asked_to,
            poll_interval=1,
            retry_delay=timedelta(seconds=1),
            **wishes,
        )
    return dag


for kind, numbered in _NUMBERED.items():
    for how, deferrable in (("deferred", True), ("in_worker", False)):
        for wish in ("reattach", "rerun"):
            dag_id = f"{kind}_{how}_{wish}"
            globals()[dag_id] = dag_of(dag_id, kind, deferrable=deferrable, on_clear=wish)
        dag_id = f"{kind}_{how}_leave"
        globals()[dag_id] = dag_of(dag_id, kind, deferrable=deferrable, on_kill="leave")
        dag_id = f"{kind}_{how}_alone"
        inputs = {numbered: "{{ number_in(params.folder) }}"}
        globals()[dag_id] = dag_of(dag_id, kind, deferrable=deferrable, **inputs)
