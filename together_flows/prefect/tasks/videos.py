"""Tasks that make videos."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Literal, TypedDict, Unpack
from urllib.parse import urlsplit

import anyio
from prefect import task
from prefect.cache_policies import NO_CACHE

from together_flows.client import download_signed
from together_flows.errors import AnswerInvalid
from together_flows.prefect.credentials import TogetherCredentials
from together_flows.prefect.retries import may_help
from together_flows.prefect.submitting import Job, asubmit, given, submit
from together_flows.prefect.tasks.waiting import await_for_job, wait_for_job
from together_flows.prefect.waits import POLL_INTERVAL

__all__ = [
    "VideoArguments",
    "amake_video",
    "asubmit_video",
    "make_video",
    "submit_video",
]


class VideoArguments(TypedDict, total=False):
    """The arguments of `together_flows.api.videos.create`, which describes each of them."""

    model: str
    prompt: str | None
    height: int | None
    width: int | None
    resolution: str | None
    ratio: str | None
    seconds: int | str | None
    fps: int | None
    steps: int | None
    seed: int | None
    guidance_scale: int | None
    output_format: Literal["MP4", "WEBM"] | str | None
    output_quality: int | None
    negative_prompt: str | None
    generate_audio: bool | None
    media: Mapping[str, Any] | None


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def submit_video(credentials: TogetherCredentials | str, **arguments: Unpack[VideoArguments]) -> Job:
    """Start to make a video, once. The API can neither list videos nor cancel one.

    If the answer is lost, this fails rather than pay twice.

    Args:
        credentials: name of the credentials block, or the block.
        arguments: see `VideoArguments`.
    """
    return submit("video", given(arguments), credentials)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def asubmit_video(credentials: TogetherCredentials | str, **arguments: Unpack[VideoArguments]) -> Job:
    """The same as `submit_video`, on the event loop."""
    return await asubmit("video", given(arguments), credentials)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def make_video(
    credentials: TogetherCredentials | str,
    *,
    output_path: str | None = None,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[VideoArguments],
) -> dict[str, Any]:
    """Make a video, wait for it, and download it if a place for it is given. It runs `submit_video` and `wait_for_job`.

    Args:
        credentials: name of the credentials block, or the block.
        output_path: a local file, or a folder written with a slash at its end; the file is then named after the job.
        wait_timeout: seconds, counted from the submission, after which the wait fails.
        poll_interval: seconds between two looks, in the long run.
        arguments: see `VideoArguments`.

    Returns:
        `id`, `video_url` (a signed address, good for a while only), `cost_usd`, `model`, `seconds`, `size`,
        `reference` and `url`, and with `output_path` also `path`.

    Raises:
        JobFailed: it failed; the message is the API's.
    """
    job = submit_video(credentials, **arguments)
    made = wait_for_job(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)
    return _with_file(made, output_path)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def amake_video(
    credentials: TogetherCredentials | str,
    *,
    output_path: str | None = None,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[VideoArguments],
) -> dict[str, Any]:
    """The same as `make_video`, on the event loop."""
    job = await asubmit_video(credentials, **arguments)
    made = await await_for_job(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)
    return await anyio.to_thread.run_sync(_with_file, made, output_path)


def _with_file(made: dict[str, Any], output_path: str | None) -> dict[str, Any]:
    """What was made, and where it was put."""
    if output_path is None:
        return made
    address = made["video_url"]
    if not address:
        raise AnswerInvalid(f"The video {made['id']} is done, but the API gave no address of it.")
    file_name = made["id"] + PurePosixPath(urlsplit(address).path).suffix
    return {**made, "path": str(download_signed(address, output_path, file_name=file_name))}
