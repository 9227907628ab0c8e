"""Tasks for evaluations: a judge model classifies, scores or compares answers over a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import anyio
from prefect import task
from prefect.cache_policies import NO_CACHE

from together_flows.datasets import validate
from together_flows.prefect.credentials import TogetherCredentials
from together_flows.prefect.retries import may_help
from together_flows.prefect.submitting import Job, asubmit, submit
from together_flows.prefect.tasks.files import adownload_file, download_file
from together_flows.prefect.tasks.waiting import await_for_job, wait_for_job
from together_flows.prefect.waits import POLL_INTERVAL

__all__ = ["EvaluationType", "aevaluate", "asubmit_evaluation", "evaluate", "evaluation_spec", "submit_evaluation"]

EvaluationType = Literal["classify", "score", "compare"]


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def submit_evaluation(
    credentials: TogetherCredentials | str,
    *,
    type: EvaluationType,
    parameters: Mapping[str, Any],
    input_path: str | None = None,
) -> Job:
    """Start an evaluation, once. The API cannot cancel it, so a cancelled flow run leaves it to end by itself.

    Args:
        credentials: name of the credentials block, or the block.
        type: what the judge does with each row.
        parameters: as `together_flows.api.evaluation` describes them, in `ClassifyParameters`, `ScoreParameters` and
            `CompareParameters`. Tokens for models elsewhere come from the credentials block.
        input_path: a local file with the rows, instead of `input_data_file_path` in the parameters.

    Raises:
        DatasetInvalid: the local file breaks the rules.
    """
    return submit("evaluation", evaluation_spec(type, parameters, input_path), credentials)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def asubmit_evaluation(
    credentials: TogetherCredentials | str,
    *,
    type: EvaluationType,
    parameters: Mapping[str, Any],
    input_path: str | None = None,
) -> Job:
    """The same as `submit_evaluation`, on the event loop."""
    spec = await anyio.to_thread.run_sync(evaluation_spec, type, parameters, input_path)
    return await asubmit("evaluation", spec, credentials)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def evaluate(
    credentials: TogetherCredentials | str,
    *,
    type: EvaluationType,
    parameters: Mapping[str, Any],
    input_path: str | None = None,
    result_path: str | None = None,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
) -> dict[str, Any]:
    """Evaluate a model, and wait for the result. It runs `submit_evaluation`, `wait_for_job` and `download_file`.

    Args:
        credentials: name of the credentials block, or the block.
        type: what the judge does with each row.
        parameters: as for `submit_evaluation`.
        input_path: a local file with the rows, instead of `input_data_file_path` in the parameters.
        result_path: where to write the judged rows; they stay on the server when it is left out.
        wait_timeout: seconds, counted from the submission, that it may take.
        poll_interval: seconds between two looks, in the long run.

    Returns:
        `id`, `type`, `results` as the API gives them, `result_file_id`, `result_path`, `reference` and `url`.

    Raises:
        JobFailed: the evaluation failed; the message is its own.
    """
    job = submit_evaluation(credentials, type=type, parameters=parameters, input_path=input_path)
    result = wait_for_job(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)
    if result_path and result["result_file_id"]:
        result["result_path"] = download_file(credentials, result["result_file_id"], result_path)
    return result


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def aevaluate(
    credentials: TogetherCredentials | str,
    *,
    type: EvaluationType,
    parameters: Mapping[str, Any],
    input_path: str | None = None,
    result_path: str | None = None,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
) -> dict[str, Any]:
    """The same as `evaluate`, on the event loop."""
    job = await asubmit_evaluation(credentials, type=type, parameters=parameters, input_path=input_path)
    result = await await_for_job(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)
    if result_path and result["result_file_id"]:
        result["result_path"] = await adownload_file(credentials, result["result_file_id"], result_path)
    return result


def evaluation_spec(type_: str, parameters: Mapping[str, Any], input_path: str | None) -> dict[str, Any]:
    spec: dict[str, Any] = {"type": type_, "parameters": dict(parameters)}
    if input_path is None:
        return spec
    report = validate(input_path, purpose="eval")
    report.raise_for_problems()
    return {**spec, "input_path": input_path, "input_sha256": report.sha256}
