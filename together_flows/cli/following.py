"""One job from the command line: upload a file, wait for a job, end a job."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

from together_flows import Together
from together_flows.cli.console import say
from together_flows.datasets.report import Purpose
from together_flows.errors import ArgumentInvalid, JobFailed
from together_flows.jobs import (
    JobReference,
    JobStatus,
    MemoryStore,
    WaitPolicy,
    conclude,
    end_job,
    kind_named,
    run,
    submit_once,
)
from together_flows.jobs.ending import look
from together_flows.jobs.waiting import waiting

__all__ = ["end_reference", "upload_file", "wait_for"]


def upload_file(path: Path, purpose: str, *, check: bool, poll_interval: float) -> dict[str, Any]:
    """Upload a dataset and wait for the server's check.

    Raises:
        DatasetInvalid: the local check has found problems; nothing was sent.
        JobFailed: the server refused the content.
    """
    if not path.is_file():
        raise ArgumentInvalid(f"There is no file {path}.", mend="Check the path.")
    if check:
        from together_flows.datasets import validate

        validate(path, purpose=cast(Purpose, purpose)).raise_for_problems()
    spec = {"path": str(path), "purpose": purpose}
    with Together() as client:
        record = submit_once(client, "file", spec, store=MemoryStore(), key="upload", log=say)
        return _followed(client, record.reference, None, poll_interval)


def wait_for(reference: str, *, timeout: float | None, poll_interval: float) -> dict[str, Any]:
    """Follow a job to its end.

    Raises:
        JobFailed: it came to nothing.
        WaitTimeout: it was not done in time, and was ended.
    """
    job = JobReference.parse(reference)
    kind = kind_named(job.kind)
    with Together() as client:
        if run(look(kind, job.id), client=client, log=say) is None:
            raise JobFailed(f"{job} does not exist.", reference=str(job), mend="Check the id, and the account.")
        return _followed(client, job, timeout, poll_interval)


def end_reference(reference: str) -> JobStatus:
    """End a job and confirm it. Ending it twice is harmless."""
    job = JobReference.parse(reference)
    kind = kind_named(job.kind)
    with Together() as client:
        return run(end_job(kind, job.id), client=client, log=say)


def _followed(client: Together, job: JobReference, timeout: float | None, poll_interval: float) -> dict[str, Any]:
    kind = kind_named(job.kind)
    policy = WaitPolicy(deadline=time.time() + timeout if timeout else None, interval=poll_interval)
    try:
        outcome = run(waiting(kind, job.id, policy), client=client, log=say)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"{job} was left alone. Follow it again with `together-flows wait {job}`, "
            f"or end it with `together-flows end {job}`."
        ) from None
    steps = conclude(kind, job, outcome, base_url=client.base_url)
    manifest = run(steps, client=client, store=MemoryStore(), key="wait", log=say)
    return {"reference": str(job), **manifest}
