"""The last words of a task that fails: which job it had, where to look at it, whether it runs, and what a retry does.

What a retry does is not guessed here: it is asked of `decide`, which the retry itself will ask.
"""

from __future__ import annotations

from collections.abc import Sequence

from together_flows.errors import TogetherError
from together_flows.jobs.finding import can_find
from together_flows.jobs.kind import JobKind, kind_named
from together_flows.jobs.model import JobReference, JobState, JobStatus
from together_flows.jobs.pages import page_of
from together_flows.jobs.record import JobRecord, Phase
from together_flows.jobs.submission import Adopt, SubmissionPolicy, decide

__all__ = ["last_words", "last_words_without_record", "with_last_words"]

#: Jobs of one task that are told one by one.
_TOLD = 5


def with_last_words(error: TogetherError, records: Sequence[JobRecord], base_url: str) -> TogetherError:
    """The error, which from now on ends in what became of the task's jobs.

    Args:
        error: what the task fails with.
        records: the records of its jobs, as they are now.
        base_url: where the API is.
    """
    submitted = [record for record in records if record.phase is not Phase.PREPARING]
    if not submitted:
        error.last_words = f"No job was submitted. {_retry_of_nothing(error.retryable)}"
        return error
    lines = [last_words(record, base_url, retryable=error.retryable) for record in submitted[:_TOLD]]
    if len(submitted) > _TOLD:
        lines.append(f"And so for {len(submitted) - _TOLD} more jobs of this task.")
    error.last_words = "\n".join(lines)
    return error


def last_words(record: JobRecord, base_url: str, *, retryable: bool, last: JobStatus | None = None) -> str:
    """What became of one job, and what a retry will do about it.

    Args:
        record: the job's record, as it is now.
        base_url: where the API is.
        retryable: whether the failure may pass, so that a retry happens by itself.
        last: the last look at the job, where it tells more than the record.
    """
    kind = kind_named(record.kind)
    if record.id is None:
        return f"A {kind.noun} may have been submitted; its answer is lost. {_retry_of_the_lost(kind, record)}"
    adopts = isinstance(decide(record, record.fingerprint, SubmissionPolicy(generation=record.generation)), Adopt)
    done = "waits for this job again" if adopts else "submits a new job"
    again = f"A retry {done}." if retryable else f"No retry can mend this; run again all the same, the task {done}."
    return f"{_named(record.reference, base_url)} {_standing(kind, record, last)}. {again}"


def last_words_without_record(last: JobStatus, base_url: str) -> str:
    """What became of a job that the task only looked at."""
    standing = f"is {last.raw} and does not run any more" if last.state.is_final else f"may still run: it is {last.raw}"
    return f"{_named(last.reference, base_url)} {standing}. A retry looks at it again and submits nothing."


def _named(reference: JobReference, base_url: str) -> str:
    return f"The job {reference} ({page_of(reference, base_url)})"


def _standing(kind: JobKind, record: JobRecord, last: JobStatus | None) -> str:
    state = last.state if last is not None else record.job_state
    if last is not None and not last.state.is_final:
        return f"still runs: it is {last.raw}"
    if state is None or not state.is_final:
        return "was left alone and may still run"
    if state not in kind.over and state is not JobState.CANCELLED:
        return f"is {state} and may still bill"
    return f"has ended ({state}) and does not run any more"


def _retry_of_nothing(retryable: bool) -> str:
    if retryable:
        return "A retry submits it."
    return "A retry would fail in the same way."


def _retry_of_the_lost(kind: JobKind, record: JobRecord) -> str:
    if kind.repeatable:
        return "A retry sends the same again, which the API recognises."
    if can_find(kind, record):
        return "It may run. A retry looks for it, and submits a new one only if it is not there."
    return "It may run. A retry submits nothing and fails in the same way, unless it is told to run the risk."
