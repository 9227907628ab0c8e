"""Runs the example DAG once, in this process, in an Airflow of its own. Started by the demo as a process of its own."""

from __future__ import annotations

import json
import sys


def main() -> int:
    """Run the pipeline with the params given as JSON, and answer with an exit code."""
    params = json.loads(sys.argv[1])

    from airflow.utils.db import initdb

    initdb()
    from dags_examples.airflow.fine_tune_pipeline import dag

    register(dag)
    # The emulator's hours pass in seconds: an endpoint must not idle away while Airflow takes a breath.
    run = dag.test(run_conf={**params, "inactive_timeout": 24 * 60})
    for task in sorted(run.get_task_instances(), key=lambda task: task.end_date.timestamp() if task.end_date else 0.0):
        print(f"task {task.task_id}: {task.state}", flush=True)
    return 0 if run.state == "success" else 1


def register(dag: object) -> None:
    """Write the DAG into Airflow's database, as its DAG processor does."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.collection import update_dag_parsing_results_in_db
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from airflow.utils.session import create_session

    with create_session() as session:
        DagBundlesManager().sync_bundles_to_db(session=session)
        session.commit()
        parsed = [LazyDeserializedDAG.from_dag(dag)]  # type: ignore[arg-type] # a DAG
        update_dag_parsing_results_in_db("dags-folder", None, parsed, {}, None, set(), session=session)


if __name__ == "__main__":
    sys.exit(main())
