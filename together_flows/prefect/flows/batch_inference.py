"""Run a file of prompts through a model at the batch price."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
from prefect import task
from prefect.cache_policies import NO_CACHE

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
    model: str = "Qwen/Qwen3-8B",
    system: str | None = None,
    max_tokens: int = 256,
    max_rows: int = 50_000,
    row_retries: int = 1,
    max_failed_share: float = 0.05,
    budget: float | None = None,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
) -> dict[str, Any]:
    """Answer every prompt, in order, each accounted for.

    Args:
        credentials: name of the credentials block.
        prompts_path: path or fsspec URL of a `.jsonl` or `.csv` file with one prompt a row.
        output_folder: local folder for `batch_results.jsonl` and `summary.json`.
        model: the model for rows that name none.
        system: the system message for rows that begin with none.
        max_tokens: most tokens of an answer, for rows that do not say.
        max_rows: most rows in one batch job; the API takes 50,000.
        row_retries: how often rows that came to nothing are sent again.
        max_failed_share: share of the rows, 0 to 1, that may come to nothing before the run fails.
        budget: US dollars that it may cost at list prices; no limit of ours when left out.
        wait_timeout: seconds that each job may take.
        poll_interval: seconds between two looks, in the long run.

    Returns:
        The counts, the jobs, and where the results are. They are also in `summary.json` in the output folder.

    Raises:
        DatasetInvalid: rows break the rules; nothing was submitted.
        BudgetExceeded: they would cost too much; nothing was submitted.
        JobFailed: too many rows came to nothing. The results are written all the same.
    """
    results: dict[str, Any] = await abatch.with_options(task_run_name="batch")(
        credentials,
        prompts_path,
        str(Path(output_folder) / "batch_results.jsonl"),
        model=model,
        system=system,
        max_tokens=max_tokens,
        max_rows=max_rows,
        row_retries=row_retries,
        max_failed_share=max_failed_share,
        budget=budget,
        wait_timeout=wait_timeout,
        poll_interval=poll_interval,
    )
    await summary(results, output_folder)
    return results


@task(cache_policy=NO_CACHE)
async def summary(results: dict[str, Any], output_folder: str) -> None:
    """Write the counts as JSON beside the results."""
    text = json.dumps(results, indent=2, ensure_ascii=False)
    await anyio.Path(output_folder, "summary.json").write_text(text + "\n", encoding="utf-8")
