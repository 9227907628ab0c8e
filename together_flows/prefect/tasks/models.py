"""Tasks that copy a model from Hugging Face or S3 to Together."""

from __future__ import annotations

from typing import Any, Literal, TypedDict, Unpack

from prefect import task
from prefect.cache_policies import NO_CACHE

from together_flows.prefect.credentials import TogetherCredentials
from together_flows.prefect.lineage import amaterialized, materialized, model_asset
from together_flows.prefect.retries import may_help
from together_flows.prefect.submitting import Job, asubmit, given, submit
from together_flows.prefect.tasks.waiting import await_for_job, wait_for_job
from together_flows.prefect.waits import POLL_INTERVAL

__all__ = ["ModelUploadArguments", "asubmit_model_upload", "aupload_model", "submit_model_upload", "upload_model"]


class ModelUploadArguments(TypedDict, total=False):
    """The arguments of `together_flows.api.models.upload`, which describes each of them.

    The token for Hugging Face is not among them: it comes from the credentials block.
    """

    model_name: str
    model_source: str
    model_type: Literal["model", "adapter"] | str | None
    description: str | None
    base_model: str | None
    lora_model: str | None


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def submit_model_upload(credentials: TogetherCredentials | str, **arguments: Unpack[ModelUploadArguments]) -> Job:
    """Start the upload of a model, once. The API cannot cancel it; it ends by itself and costs nothing.

    Args:
        credentials: name of the credentials block, or the block; its `hf_token` is used.
        arguments: those of `together_flows.api.models.upload`.
    """
    return submit("model_upload", given(arguments), credentials)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def asubmit_model_upload(
    credentials: TogetherCredentials | str, **arguments: Unpack[ModelUploadArguments]
) -> Job:
    """The same as `submit_model_upload`, on the event loop."""
    return await asubmit("model_upload", given(arguments), credentials)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def upload_model(
    credentials: TogetherCredentials | str,
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[ModelUploadArguments],
) -> dict[str, Any]:
    """Copy a model to Together and wait until it is there. It runs `submit_model_upload` and `wait_for_job`.

    Returns:
        `model`, `source`, `id`, `status`, `reference` and `url`.

    Raises:
        JobFailed: it could not be copied; the message is the API's.
    """
    job = submit_model_upload(credentials, **arguments)
    uploaded = wait_for_job(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)
    materialized(_asset(uploaded), upstream=(), facts={"source": uploaded["source"]})
    return uploaded


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def aupload_model(
    credentials: TogetherCredentials | str,
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[ModelUploadArguments],
) -> dict[str, Any]:
    """The same as `upload_model`, on the event loop."""
    job = await asubmit_model_upload(credentials, **arguments)
    uploaded = await await_for_job(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)
    await amaterialized(_asset(uploaded), upstream=(), facts={"source": uploaded["source"]})
    return uploaded


def _asset(uploaded: dict[str, Any]) -> Any:
    return model_asset(uploaded["model"], page=uploaded["url"])
