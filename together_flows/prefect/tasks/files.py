"""Tasks for files: checked here, uploaded once by content, checked by the server; and downloaded."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
from prefect import task
from prefect.cache_policies import NO_CACHE

from together_flows.api import files
from together_flows.client import async_client_for, client_for
from together_flows.datasets import validate
from together_flows.datasets.storage import local_copy, name_of
from together_flows.prefect.credentials import TogetherCredentials, acredentials_of, credentials_of
from together_flows.prefect.lineage import amaterialized, file_asset, materialized
from together_flows.prefect.retries import may_help
from together_flows.prefect.submitting import Job, asubmit, submit
from together_flows.prefect.tasks.waiting import await_for_job, wait_for_job
from together_flows.prefect.waits import POLL_INTERVAL

__all__ = [
    "Purpose",
    "adownload_file",
    "asubmit_file",
    "aupload_file",
    "download_file",
    "ready",
    "submit_file",
    "upload_file",
]

Purpose = Literal["fine-tune", "eval", "batch-api"]


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def submit_file(
    credentials: TogetherCredentials | str,
    path: str,
    *,
    purpose: Purpose,
    file_name: str | None = None,
    check: bool = True,
) -> Job:
    """Upload a file, without waiting for the server's check. Content that the account has already is not sent again.

    Args:
        credentials: name of the credentials block, or the block.
        path: a local path, or an fsspec URL such as `s3://bucket/train.jsonl`.
        purpose: what the file is for.
        file_name: its name on the server; its own by default.
        check: check the content before it is sent, and fail with every line that is wrong.

    Raises:
        DatasetInvalid: the content breaks the rules of its purpose.
    """
    with ready(path, purpose, file_name, check) as spec:
        return submit("file", spec, credentials)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def asubmit_file(
    credentials: TogetherCredentials | str,
    path: str,
    *,
    purpose: Purpose,
    file_name: str | None = None,
    check: bool = True,
) -> Job:
    """The same as `submit_file`, on the event loop."""
    async with _in_a_thread(ready(path, purpose, file_name, check)) as spec:
        return await asubmit("file", spec, credentials)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def upload_file(
    credentials: TogetherCredentials | str,
    path: str,
    *,
    purpose: Purpose,
    file_name: str | None = None,
    check: bool = True,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
) -> dict[str, Any]:
    """Upload a file and wait until the server has checked it. It runs `submit_file` and `wait_for_job`.

    Returns:
        `file_id`, `file_name`, `bytes`, `purpose`, `rows`, `reference` and `url`.

    Raises:
        DatasetInvalid: the content breaks the rules of its purpose.
        JobFailed: the server refused the content.
    """
    job = submit_file(credentials, path, purpose=purpose, file_name=file_name, check=check)
    file = wait_for_job(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)
    asset = file_asset(file["file_id"], name=file["file_name"], page=file["url"])
    materialized(asset, upstream=(), facts=_facts(file))
    return file


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def aupload_file(
    credentials: TogetherCredentials | str,
    path: str,
    *,
    purpose: Purpose,
    file_name: str | None = None,
    check: bool = True,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
) -> dict[str, Any]:
    """The same as `upload_file`, on the event loop."""
    job = await asubmit_file(credentials, path, purpose=purpose, file_name=file_name, check=check)
    file = await await_for_job(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)
    asset = file_asset(file["file_id"], name=file["file_name"], page=file["url"])
    await amaterialized(asset, upstream=(), facts=_facts(file))
    return file


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def download_file(credentials: TogetherCredentials | str, file_id: str, target: str) -> str:
    """Download a file in constant memory.

    Args:
        credentials: name of the credentials block, or the block.
        file_id: `file-…`.
        target: a local file, or a folder written with a slash at its end; the file then keeps its name.

    Returns:
        Where it is.
    """
    account = credentials_of(credentials)
    client = client_for(api_key=account.api_key, base_url=account.base_url)
    return str(client.download(files.content(file_id), target))


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def adownload_file(credentials: TogetherCredentials | str, file_id: str, target: str) -> str:
    """The same as `download_file`, on the event loop."""
    account = await acredentials_of(credentials)
    client = async_client_for(api_key=account.api_key, base_url=account.base_url)
    return str(await client.download(files.content(file_id), target))


@contextmanager
def ready(path: str, purpose: Purpose, file_name: str | None, check: bool) -> Iterator[dict[str, Any]]:
    """The specification of an upload, for as long as the local file is there."""
    with local_copy(path) as local:
        if check:
            report = validate(path, purpose=purpose)
            report.raise_for_problems()
            digest = report.sha256
        else:
            digest = _sha256(local)
        yield {
            "path": str(local),
            "purpose": purpose,
            "file_name": file_name or name_of(path),
            "input_sha256": digest,
        }


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@asynccontextmanager
async def _in_a_thread(manager: AbstractContextManager[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    """A context manager whose beginning and end may block."""
    value = await anyio.to_thread.run_sync(manager.__enter__)
    try:
        yield value
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(manager.__exit__, None, None, None)


def _facts(file: dict[str, Any]) -> dict[str, Any]:
    return {name: file.get(name) for name in ("file_name", "purpose", "bytes", "rows")}
