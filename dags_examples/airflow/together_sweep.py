"""Find every half hour what runs at Together AI although no task wants it any more; stop it when told to.

It needs the connections `together_default` and `airflow_api`, the second to this Airflow's own REST API. It only
reports until it is triggered with `stop`, or until `stop` is made the default below.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_provider.operators.sweep import TogetherSweepOperator

with DAG(
    "together_sweep",
    description="Report remote jobs that no task wants any more, with what they cost an hour, and stop them when told.",
    schedule="*/30 * * * *",
    catchup=False,
    max_active_runs=1,
    tags=["together"],
    params={
        "stop": Param(False, type="boolean", description="Stop the orphans."),
        "include_unclaimed": Param(
            False, type="boolean", description="Stop also what carries our marker and has no record in this Airflow."
        ),
        "grace_minutes": Param(10, type="number", minimum=0, description="Stop nothing younger than this."),
        "days": Param(7, type="number", minimum=0, description="How far back to look at tasks that have ended."),
        "fail_on_orphans": Param(
            True, type="boolean", description="Fail when orphans are left, so that somebody hears."
        ),
    },
) as dag:
    TogetherSweepOperator(
        task_id="sweep",
        stop="{{ params.stop }}",
        include_unclaimed="{{ params.include_unclaimed }}",
        grace="{{ params.grace_minutes * 60 }}",
        days="{{ params.days }}",
        fail_on_orphans="{{ params.fail_on_orphans }}",
        execution_timeout=timedelta(minutes=20),
        retries=1,
        retry_delay=timedelta(minutes=1),
    )
