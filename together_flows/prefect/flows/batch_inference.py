"""Run a file of prompts through a model at the batch price."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from together_flows.prefect.flows.fine_tune_pipeline import summary
from together_flows.prefect.hooks import together_flow
from together_flows.prefect.tasks import abatch
from together_flows.prefect.waits import POLL_INTERVAL

__all__ = ["batch_inference"]


@together_flow(name="together-batch-inference")
async def batch_inference(
    credentials: str = "together",
    *,
    prompts_path: str,
    output_folder: str,
    model: str = "meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo",
    system: str | None = None,
    max_tokens: int = 256,
    max_rows: int = 50_000,
    row_retries: int = 1,
    max_failed_rows: int | None = None,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
) -> dict[str, Any]:
    """Answer every prompt, in order, each accounted for.

    Args:
        credentials: name of the credentials block.
        prompts_path: path or fsspec URL of a `.jsonl` or `.csv` file with one prompt a row.
        output_folder: local folder for `results.jsonl` and `summary.json`.
        model: the model for rows that name none.
        system: the system message for rows that begin with none.
        max_tokens: most tokens of an answer, for rows that do not say.
        max_rows: most rows in one batch job; the API takes 50,000.
        row_retries: how often rows that came to nothing are sent again.
        max_failed_rows: how many rows may come to nothing before the run fails; any number unless given.
        wait_timeout: seconds that each job may take.
        poll_interval: seconds between two looks, in the long run.

    Returns:
        The counts, the jobs, and where the results are.
    """
    results = await abatch.with_options(task_run_name="batch")(
        credentials,
        prompts_path,
        str(Path(output_folder) / "results.jsonl"),
        model=model,
        system=system,
        defaults={"max_tokens": max_tokens},
        max_rows=max_rows,
        row_retries=row_retries,
        max_failed_rows=max_failed_rows,
        wait_timeout=wait_timeout,
        poll_interval=poll_interval,
    )
    return await summary.with_options(task_run_name="summary")(results, output_folder)
