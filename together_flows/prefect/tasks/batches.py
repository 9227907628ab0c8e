"""Tasks for batches: rows in, rows out, each accounted for."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
from prefect import task
from prefect.cache_policies import NO_CACHE

from together_flows.api import files
from together_flows.client import async_client_for, client_for
from together_flows.datasets import MergeSummary, Shard, validate
from together_flows.errors import JobFailed
from together_flows.jobs import arun, check_budget, run
from together_flows.prefect.batching import (
    Ran,
    Requests,
    Rounds,
    Rows,
    allowed_failures,
    files_to_download,
    price_of,
    result_of,
    rounds,
)
from together_flows.prefect.credentials import TogetherCredentials, acredentials_of, credentials_of
from together_flows.prefect.retries import may_help
from together_flows.prefect.submitting import Job, asubmit, submit
from together_flows.prefect.tasks.waiting import await_many, wait_many
from together_flows.prefect.view import ashow_table, show_table
from together_flows.prefect.waits import POLL_INTERVAL

__all__ = ["abatch", "asubmit_batch", "batch", "batch_spec", "submit_batch"]


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def submit_batch(
    credentials: TogetherCredentials | str,
    *,
    input_path: str | None = None,
    input_file_id: str | None = None,
    endpoint: str = "/v1/chat/completions",
    completion_window: str = "24h",
) -> Job:
    """Start one batch job, once. `batch` takes any number of rows and brings their results back in order.

    Args:
        credentials: name of the credentials block, or the block.
        input_path: a local file of at most 50,000 lines and 100 MB, each `{"custom_id": …, "body": …}`. A copy with a
            marker in its white space is uploaded, so that the job can be found again after any crash.
        input_file_id: a file on the server, instead. If the answer is lost then, the task fails rather than pay twice.
        endpoint: the API that each row goes to.
        completion_window: the API takes only `24h`.
    """
    spec = batch_spec(input_path, input_file_id, endpoint, completion_window)
    return submit("batch", spec, credentials)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def asubmit_batch(
    credentials: TogetherCredentials | str,
    *,
    input_path: str | None = None,
    input_file_id: str | None = None,
    endpoint: str = "/v1/chat/completions",
    completion_window: str = "24h",
) -> Job:
    """The same as `submit_batch`, on the event loop."""
    spec = await anyio.to_thread.run_sync(batch_spec, input_path, input_file_id, endpoint, completion_window)
    return await asubmit("batch", spec, credentials)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def batch(
    credentials: TogetherCredentials | str,
    rows: Rows,
    output_path: str,
    *,
    model: str | None = None,
    system: str | None = None,
    max_tokens: int | None = None,
    defaults: Mapping[str, Any] | None = None,
    endpoint: str = "/v1/chat/completions",
    max_rows: int = 50_000,
    row_retries: int = 1,
    max_failed_rows: int | None = None,
    max_failed_share: float | None = None,
    budget: float | None = None,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
) -> dict[str, Any]:
    """Run rows through a model at the batch price, and write one line for each row, in the order of the rows.

    The rows are checked and split into as many batch jobs as they need; `submit_batch` runs for each, and `wait_many`
    for all. Rows that come to nothing are sent again on their own. A row that still fails appears with its error, and
    what a job that expired or failed has left is kept. A retry adopts the jobs that were submitted.

    Args:
        credentials: name of the credentials block, or the block.
        rows: prompts; or mappings with `prompt`, with `messages`, or with `custom_id` and `body`; or the path or fsspec
            URL of a `.jsonl` or `.csv` file of these. Give a file for more than a few thousand.
        output_path: where the results go, a local path or an fsspec URL. Each line has `custom_id`, `index`, `status`,
            `response`, `error` and `status_code`.
        model: the model for rows that name none.
        system: the system message for rows that begin with none.
        max_tokens: most tokens of an answer, for rows that do not say.
        defaults: further members of each request, such as `temperature`, for rows that do not set them.
        endpoint: the API that each row goes to.
        max_rows: most rows in one batch job; the API takes 50,000.
        row_retries: how often rows that came to nothing are sent again.
        max_failed_rows: how many rows may come to nothing before the task fails; all but one unless given.
        max_failed_share: the same as a share of the rows, 0 to 1.
        budget: US dollars. Rows that would cost more at the models' list prices are not submitted. Answers are counted
            at `max_tokens`, and not at all where that is missing.
        wait_timeout: seconds, counted from its submission, that each job may take.
        poll_interval: seconds between two looks, in the long run.

    Returns:
        `output_path`, `jobs`, and the counts of `MergeSummary`: `rows`, `succeeded`, `failed`, `missing`,
        `prompt_tokens`, `completion_tokens` and more.

    Raises:
        DatasetInvalid: rows break the rules; each is named, and nothing was submitted.
        BudgetExceeded: they would cost more than the budget; nothing was submitted.
        JobFailed: no row, or too few, came to anything. The results are written all the same.
    """
    requests = Requests(model, endpoint, system, _bounded(defaults, max_tokens), max_rows, row_retries)
    jobs: list[str] = []
    with tempfile.TemporaryDirectory(prefix="together-batch-") as work:
        folder = Path(work)
        steps = rounds(rows, folder, output_path, requests)
        step = _advance(steps, None)
        if budget is not None and not isinstance(step, MergeSummary):
            account = credentials_of(credentials)
            client = client_for(api_key=account.api_key, base_url=account.base_url)
            check_budget(run(price_of(step, requests), client=client), budget)
        while not isinstance(step, MergeSummary):
            submitted = [submit_batch(credentials, **_arguments(shard, endpoint)) for shard in step]
            jobs += [job["reference"] for job in submitted]
            entries = wait_many(
                credentials, submitted, wait_timeout=wait_timeout, poll_interval=poll_interval, allow_failures=True
            )
            ran = [_downloaded(credentials, entry, folder) for entry in entries]
            step = _advance(steps, ran)
    result = _result(step, output_path, jobs)
    show_table("together-batch-results", [result])
    return _enough(result, allowed_failures(step.rows, max_failed_rows, max_failed_share))


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def abatch(
    credentials: TogetherCredentials | str,
    rows: Rows,
    output_path: str,
    *,
    model: str | None = None,
    system: str | None = None,
    max_tokens: int | None = None,
    defaults: Mapping[str, Any] | None = None,
    endpoint: str = "/v1/chat/completions",
    max_rows: int = 50_000,
    row_retries: int = 1,
    max_failed_rows: int | None = None,
    max_failed_share: float | None = None,
    budget: float | None = None,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
) -> dict[str, Any]:
    """The same as `batch`, on the event loop."""
    requests = Requests(model, endpoint, system, _bounded(defaults, max_tokens), max_rows, row_retries)
    jobs: list[str] = []
    with tempfile.TemporaryDirectory(prefix="together-batch-") as work:
        folder = Path(work)
        steps = rounds(rows, folder, output_path, requests)
        step = await anyio.to_thread.run_sync(_advance, steps, None)
        if budget is not None and not isinstance(step, MergeSummary):
            account = await acredentials_of(credentials)
            client = async_client_for(api_key=account.api_key, base_url=account.base_url)
            check_budget(await arun(price_of(step, requests), client=client), budget)
        while not isinstance(step, MergeSummary):
            submitted = [await asubmit_batch(credentials, **_arguments(shard, endpoint)) for shard in step]
            jobs += [job["reference"] for job in submitted]
            entries = await await_many(
                credentials, submitted, wait_timeout=wait_timeout, poll_interval=poll_interval, allow_failures=True
            )
            ran = [await _adownloaded(credentials, entry, folder) for entry in entries]
            step = await anyio.to_thread.run_sync(_advance, steps, ran)
    result = _result(step, output_path, jobs)
    await ashow_table("together-batch-results", [result])
    return _enough(result, allowed_failures(step.rows, max_failed_rows, max_failed_share))


def batch_spec(
    input_path: str | None, input_file_id: str | None, endpoint: str, completion_window: str
) -> dict[str, Any]:
    spec: dict[str, Any] = {"endpoint": endpoint, "completion_window": completion_window}
    if input_file_id is not None:
        spec["input_file_id"] = input_file_id
    if input_path is not None:
        report = validate(input_path, purpose="batch-api", endpoint=endpoint)
        report.raise_for_problems()
        spec |= {"input_path": input_path, "input_sha256": report.sha256}
    return spec


def _arguments(shard: Shard, endpoint: str) -> dict[str, Any]:
    return {"input_path": str(shard.path), "endpoint": endpoint}


def _advance(steps: Rounds, ran: Sequence[Ran] | None) -> Sequence[Shard] | MergeSummary:
    """The shards to run next, or the end. A generator's own way of ending cannot cross a thread."""
    try:
        return next(steps) if ran is None else steps.send(ran)
    except StopIteration as end:
        summary: MergeSummary = end.value
        return summary


def _downloaded(credentials: TogetherCredentials | str, entry: Mapping[str, Any], folder: Path) -> Ran:
    account = credentials_of(credentials)
    client = client_for(api_key=account.api_key, base_url=account.base_url)
    ids = files_to_download(entry)
    output, errors = (client.download(files.content(id_), folder / f"{id_}.jsonl") if id_ else None for id_ in ids)
    return result_of(entry, output, errors)


async def _adownloaded(credentials: TogetherCredentials | str, entry: Mapping[str, Any], folder: Path) -> Ran:
    account = await acredentials_of(credentials)
    client = async_client_for(api_key=account.api_key, base_url=account.base_url)
    output, errors = [
        await client.download(files.content(id_), folder / f"{id_}.jsonl") if id_ else None
        for id_ in files_to_download(entry)
    ]
    return result_of(entry, output, errors)


def _result(summary: MergeSummary, output_path: str, jobs: Sequence[str]) -> dict[str, Any]:
    return {"output_path": output_path, "jobs": list(jobs), **summary.to_dict()}


def _bounded(defaults: Mapping[str, Any] | None, max_tokens: int | None) -> dict[str, Any] | None:
    return {**(defaults or {}), "max_tokens": max_tokens} if max_tokens is not None else dict(defaults or {}) or None


def _enough(result: dict[str, Any], allowed: int) -> dict[str, Any]:
    """The result, if enough rows came to something."""
    lost = result["failed"] + result["missing"]
    if lost > allowed:
        raise JobFailed(
            f"{lost} of {result['rows']} rows came to nothing; at most {allowed} may.",
            mend=f"Their errors are in {result['output_path']}.",
            retryable=False,
        )
    return result
