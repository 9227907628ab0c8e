"""The Airflow DAGs in which a task of every kind waits in the triggerer."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from tests.e2e.matrix.every_kind import add_every_job
from tests.e2e.matrix.jobs import PARAMS

_PARAMS = {**PARAMS, "rl_session": Param("", type="string")}

with DAG("every_kind_waits", schedule=None, params=_PARAMS) as every_kind_waits:
    add_every_job(retries=0)

with DAG("every_kind_waits_with_retries", schedule=None, params=_PARAMS) as every_kind_waits_with_retries:
    add_every_job(retries=4, retry_delay=timedelta(seconds=20))
