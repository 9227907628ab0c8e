"""Answer a file of prompts every night: rows in, rows out, in order, each accounted for.

It needs the connection `together_default`. Trigger it with your own file and model as params.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider.operators.batch import TogetherBatchOperator
from airflow_provider.retries import together_retry_policy

with DAG(
    "together_batch_inference",
    description="Run prompts through a model as batches, and write the answers in the order of the prompts.",
    schedule="@daily",
    catchup=False,
    tags=["together"],
    params={
        "prompts_path": Param("prompts.jsonl", type="string", description="JSONL or CSV, a `prompt` in each row."),
        "output_path": Param("answers.jsonl", type="string", description="Where the answers go."),
        "model": Param("Qwen/Qwen3-8B", type="string", description="Model for rows that name none."),
        "system": Param("Answer briefly.", type="string", description="What the model is told beforehand."),
        "max_tokens": Param(256, type="integer", minimum=1, description="Most tokens of an answer."),
        "budget": Param(5.0, type="number", minimum=0, description="US dollars that the batch may cost."),
        "max_failed_share": Param(0.05, type="number", minimum=0, maximum=1, description="Rows that may fail."),
    },
) as dag:
    answer = TogetherBatchOperator(
        task_id="answer",
        rows="{{ params.prompts_path }}",
        output_path="{{ params.output_path }}",
        model="{{ params.model }}",
        system="{{ params.system }}",
        max_tokens="{{ params.max_tokens }}",
        budget="{{ params.budget }}",
        max_failed_share="{{ params.max_failed_share }}",
        deferrable=True,
        timeout=timedelta(hours=72),  # the API's own window is 24 hours, best effort
        retries=2,
        retry_policy=together_retry_policy(),
    )

    @task
    def report(result: dict[str, Any]) -> str:
        """One line for the people who wait for it."""
        return f"{result['succeeded']} of {result['rows']} prompts are answered: {result['output_path']}"

    report(answer.output)
