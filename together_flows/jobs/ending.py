"""Ending remote work: ask for it, then look until it is so. Ending twice is harmless."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from together_flows.api import Operation
from together_flows.errors import ApiError, AuthenticationFailed, NotFound, TogetherError
from together_flows.jobs.kind import JobKind
from together_flows.jobs.model import JobReference, JobState, JobStatus
from together_flows.jobs.steps import Elapsed, Log, Send, Sleep, Steps

__all__ = ["CONFIRM_SECONDS", "cancel_with", "delete_with", "end_job", "look"]

#: How long to look for the end of a job that was asked to end. A server that is slower is believed.
CONFIRM_SECONDS = 60.0
_LOOK_EVERY = 1.0
_DELETE_ATTEMPTS = 10
_DELETE_PAUSE = 2.0


def cancel_with(operation: Callable[[str], Operation[Any]], *, limit: str = "") -> Callable[[str], Steps[None]]:
    """Steps that end a job by one operation. A refusal is no error: the job may have ended by itself just before.

    Args:
        operation: makes the operation from the job's id.
        limit: what the API cannot cancel, in a sentence for whoever reads of a refusal.
    """

    def cancel(job_id: str) -> Steps[None]:
        try:
            yield Send(operation(job_id))
        except (AuthenticationFailed, NotFound):
            raise
        except ApiError as refusal:
            if refusal.retryable:
                raise
            words = str(refusal).rstrip(".")
            yield Log(f"The API did not take the cancellation of {job_id}: {words}. {limit}".rstrip(), "info")

    return cancel


def delete_with(operation: Callable[[str], Operation[Any]]) -> Callable[[str], Steps[None]]:
    """Steps that end by one operation what bills until it is ended. A refusal is not taken for an answer at once.

    Things that have just been told to do something else refuse to be deleted for a while, and what is left then bills.
    """

    def delete(job_id: str) -> Steps[None]:
        for attempt in range(1, _DELETE_ATTEMPTS + 1):
            try:
                yield Send(operation(job_id))
            except NotFound:
                return
            except AuthenticationFailed:
                raise
            except ApiError as refusal:
                if attempt == _DELETE_ATTEMPTS:
                    raise
                yield Log(f"The API refused to end {job_id} and is asked again: {refusal}", "warning")
                yield Sleep(_DELETE_PAUSE)
            else:
                return

    return delete


def end_job(kind: JobKind, job_id: str, *, patience: float = CONFIRM_SECONDS) -> Steps[JobStatus]:
    """Steps that end a job, and confirm it by reading it until it is final.

    Answers the last status seen. A job that no longer exists counts as cancelled. Where the API cannot end this kind,
    nothing is sent and the log says so.

    Args:
        kind: the job's kind.
        job_id: the job.
        patience: seconds to look for the end.
    """
    reference = JobReference(kind.name, job_id)
    gone = JobStatus(reference, JobState.CANCELLED, raw="gone")
    if kind.end is None:
        yield Log(f"{reference} is left alone. {kind.end_note}", "warning")
        return (yield from look(kind, job_id)) or gone
    try:
        yield from kind.end(job_id)
    except NotFound:
        yield Log(f"{reference} does not exist any more.", "info")
        return gone
    began: float = yield Elapsed()
    while True:
        status = yield from look(kind, job_id)
        if status is None or status.state in kind.over:
            final = status or gone
            yield Log(f"{reference} has ended: {final.state}.", "info")
            return final
        if (yield Elapsed()) - began > patience:
            yield Log(f"{reference} was told to end and still is {status.raw} after {patience:.0f} s.", "warning")
            return status
        yield Sleep(_LOOK_EVERY)


def look(kind: JobKind, job_id: str) -> Steps[JobStatus | None]:
    """Steps that read a job's status; `None` when the job is gone. A read that failed for now answers "unknown"."""
    try:
        return kind.status((yield Send(kind.read(job_id).untyped())), job_id)
    except NotFound:
        return None
    except TogetherError as error:
        if not error.retryable:
            raise
        yield Log(f"Looking at {kind.name}:{job_id} failed and is tried again: {error}", "warning")
        return JobStatus(JobReference(kind.name, job_id), JobState.RUNNING, raw="unknown", known=False)
