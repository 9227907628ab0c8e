"""Ending one job by its reference, and saying so in its record."""

from __future__ import annotations

import anyio

from together_flows.client import async_client_for, client_for
from together_flows.jobs import JobReference, JobState, JobStatus, TaskOutcome, arun, end_job, kind_named, remember, run
from together_flows.jobs.steps import Steps
from together_flows.prefect.credentials import TogetherCredentials, acredentials_of, credentials_of
from together_flows.prefect.identity import owner_of_this_call
from together_flows.prefect.records import kept_by_job, store_with
from together_flows.prefect.view import announce, run_logger

__all__ = ["aend", "end"]


def end(reference: JobReference, credentials: TogetherCredentials | str) -> str:
    """End a job, and confirm it. Ending twice is harmless. Answers with the last status seen."""
    account, owner = credentials_of(credentials), owner_of_this_call()
    client = client_for(api_key=account.api_key, base_url=account.base_url)
    kept = kept_by_job(owner.flow_run_id).get(reference)
    status = run(end_job(kind_named(reference.kind), reference.id), client=client, log=run_logger())
    if kept:
        run(_noted(status), client=client, store=store_with([kept], owner), key=kept.key)
    announce(reference, "ended", status=status.raw)
    return status.raw


async def aend(reference: JobReference, credentials: TogetherCredentials | str) -> str:
    """The same as `end`, on the event loop."""
    account, owner = await acredentials_of(credentials), owner_of_this_call()
    client = async_client_for(api_key=account.api_key, base_url=account.base_url)
    kept = (await anyio.to_thread.run_sync(kept_by_job, owner.flow_run_id)).get(reference)
    status = await arun(end_job(kind_named(reference.kind), reference.id), client=client, log=run_logger())
    if kept:
        await arun(_noted(status), client=client, store=store_with([kept], owner), key=kept.key)
    announce(reference, "ended", status=status.raw)
    return status.raw


def _noted(status: JobStatus) -> Steps[object]:
    """Steps that write down that the job was ended, so that nobody adopts it."""
    return remember(TaskOutcome.SUCCEEDED, status.state if status.state.is_final else JobState.CANCELLED)
