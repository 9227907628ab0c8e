"""How a wait's end becomes a task's end: a result, or an error that says what a person needs to know.

Every failure says the job's id, its page, whether it still runs, and what a retry will do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from together_flows.errors import JobCancelled, JobFailed, NotFound, TogetherError, WaitTimeout
from together_flows.jobs.closing_words import last_words, last_words_without_record
from together_flows.jobs.ending import end_job
from together_flows.jobs.kind import JobKind
from together_flows.jobs.model import JobReference, JobState, JobStatus
from together_flows.jobs.record import JobRecord, Phase, TaskOutcome
from together_flows.jobs.steps import Load, Log, Save, Send, Sleep, Steps
from together_flows.jobs.waiting import Done, Expired, GiveUp

__all__ = ["Outcome", "conclude", "outcome_from_event", "outcome_to_event", "remember"]

Outcome: TypeAlias = Done | Expired | GiveUp

#: Seconds between the reads of a result that is not there yet.
_PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)


def conclude(
    kind: JobKind, reference: JobReference, outcome: Outcome, *, retried: bool = False, base_url: str = ""
) -> Steps[dict[str, Any]]:
    """Steps that turn the end of a wait into the job's manifest, or into the error that the task fails with.

    A job whose deadline has passed is ended. The record gets its last word either way.

    Args:
        kind: the job's kind.
        reference: the job.
        outcome: how the wait for it ended.
        retried: whether the same task waits on for a job that could not be looked at, so that it stays wanted.
        base_url: where the API is, so that the errors can link to the job's page.

    Raises:
        JobFailed: the job failed or expired.
        JobCancelled: somebody other than this task cancelled it.
        WaitTimeout: the deadline has passed.
        TogetherError: the job could not be looked at for too long; it is left alone.
    """
    match outcome:
        case Done(status):
            return (yield from _conclude_done(kind, reference, status, base_url))
        case Expired():
            last = yield from end_job(kind, reference.id)
            # A job that was told to end is as good as ended. One that cannot be told goes on, and a retry adopts it.
            ended = kind.end is not None and not last.state.is_final
            record = yield from remember(TaskOutcome.FAILED, JobState.CANCELLED if ended else last.state)
            late = WaitTimeout(
                f"The {kind.noun} {reference.id} was not done by the deadline. {_what_became_of_it(kind, last)}",
                reference=str(reference),
                mend="Allow it more time.",
            )
            raise _with_last_words(late, record, last, base_url)
        case GiveUp(error):
            record = (yield Load()) if retried else (yield from remember(TaskOutcome.FAILED, None))
            unseen = JobStatus(reference, JobState.RUNNING, raw="unknown", known=False)
            raise _with_last_words(error, record, None if record else unseen, base_url)


def _conclude_done(kind: JobKind, reference: JobReference, status: JobStatus, base_url: str) -> Steps[dict[str, Any]]:
    full = yield from _full(kind, reference, status)
    if full.state is JobState.SUCCEEDED:
        record = yield from remember(TaskOutcome.SUCCEEDED, full.state)
        manifest = kind.result(full.row)
        if record is not None and record.estimated_usd is not None:
            manifest["estimated_price_usd"] = record.estimated_usd
        return manifest
    last = full
    if full.state not in kind.over and full.state is not JobState.CANCELLED:
        last = yield from end_job(kind, reference.id)  # it has failed, and would bill all the same
    record = yield from remember(TaskOutcome.FAILED, full.state)
    if full.state is JobState.CANCELLED:
        cancelled = JobCancelled(
            f"The {kind.noun} {reference.id} was cancelled, and not by this task.",
            reference=str(reference),
            status=kind.outline(full.row),
            mend="Find out who did it.",
        )
        raise _with_last_words(cancelled, record, full, base_url)
    words = (yield from _words(kind, full)) or "the API gives no reason"
    failed = JobFailed(
        f"The {kind.noun} {reference.id} ended as {full.raw}: {words}.".replace("..", "."),
        reference=str(reference),
        status=kind.outline(full.row),
        mend=_what_is_left_of_it(kind, last),
        retryable=not kind.lasting(full.row),
    )
    raise _with_last_words(failed, record, last, base_url)


def _with_last_words(
    error: TogetherError, record: JobRecord | None, last: JobStatus | None, base_url: str
) -> TogetherError:
    if record is not None and record.id is not None:
        error.last_words = last_words(record, base_url, retryable=error.retryable, last=last)
    elif last is not None:
        error.last_words = last_words_without_record(last, base_url)
    return error


def _full(kind: JobKind, reference: JobReference, status: JobStatus) -> Steps[JobStatus]:
    """The whole row: lists show less of a job than a read of its own.

    That the job was final stands. A read that fails or lags behind is made again, because it knows less of the result.
    """
    for pause in _PAUSES:
        try:
            full = yield from _whole(kind, reference)
            if full.state.is_final:
                return full
            yield Log(f"{reference} was {status.raw} and is read as {full.raw}, which lags behind.", "info")
        except NotFound:
            return status
        except TogetherError as error:
            if not error.retryable:
                raise
            yield Log(f"Reading the result of {reference} failed and is tried again: {error}", "warning")
        yield Sleep(pause)
    full = yield from _whole(kind, reference)
    return full if full.state.is_final else replace(status, row=full.row)


def _whole(kind: JobKind, reference: JobReference) -> Steps[JobStatus]:
    full = kind.status((yield Send(kind.read(reference.id).untyped())), reference.id)
    if full.state is JobState.SUCCEEDED:
        kind.result(full.row)  # refuses a row that tells too little
    return full


def _words(kind: JobKind, status: JobStatus) -> Steps[str]:
    """The job's own words about its failure, from its row or from its log."""
    if status.message or kind.events is None:
        return status.message
    try:
        answer = yield Send(kind.events(status.reference.id).untyped())
    except TogetherError:
        return ""
    errors = [event.text for event in kind.event_lines(answer) if event.level == "error"]
    return errors[-1] if errors else ""


def _what_became_of_it(kind: JobKind, last: JobStatus) -> str:
    if kind.end is None:
        return f"The API cannot cancel it: {kind.end_note}"
    return "It was cancelled." if last.state.is_final else f"It was told to end and is {last.raw}."


def _what_is_left_of_it(kind: JobKind, last: JobStatus) -> str:
    if last.state is JobState.CANCELLED or last.state in kind.over:
        return ""
    return f"It was told to end, is {last.raw} and may still bill."


def remember(outcome: TaskOutcome, job_state: JobState | None) -> Steps[JobRecord | None]:
    """Steps that write the task's last word into the record, if there is one, and answer with it."""
    record: JobRecord | None = yield Load()
    if record is None:
        return None
    ended = replace(record, phase=Phase.ENDED, outcome=outcome, job_state=job_state or record.job_state)
    yield Save(ended)
    return ended


def outcome_to_event(reference: JobReference, outcome: Outcome) -> dict[str, Any]:
    """The outcome as small JSON, for the event that wakes a deferred task. The task reads the job anew."""
    event: dict[str, Any] = {"reference": str(reference), "outcome": type(outcome).__name__.lower()}
    if isinstance(outcome, Done):
        event |= {"state": str(outcome.status.state), "status": outcome.status.raw}
    elif isinstance(outcome, GiveUp):
        event |= {"error": str(outcome.error), "retryable": outcome.error.retryable}
    return event


def outcome_from_event(event: Mapping[str, Any]) -> tuple[JobReference, Outcome]:
    """What `outcome_to_event` wrote."""
    reference = JobReference.parse(str(event["reference"]))
    match event["outcome"]:
        case "done":
            return reference, Done(JobStatus(reference, JobState(event["state"]), raw=str(event["status"])))
        case "expired":
            return reference, Expired()
        case _:
            error = TogetherError(str(event.get("error") or "The wait failed."), retryable=bool(event.get("retryable")))
            return reference, GiveUp(error)
