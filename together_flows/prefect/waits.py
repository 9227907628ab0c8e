"""Waiting for jobs by reference, and turning the end of a wait into a result or an error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import anyio
from prefect.context import TaskRunContext

from together_flows.client import async_client_for, client_for
from together_flows.errors import JobCancelled, JobFailed, TogetherError, WaitTimeout
from together_flows.jobs import (
    Done,
    Expired,
    GiveUp,
    JobReference,
    JobState,
    JobStatus,
    JobStore,
    JobWatcher,
    MemoryStore,
    WaitPolicy,
    arun,
    conclude,
    kind_named,
    last_words_without_record,
    run,
)
from together_flows.jobs.kind import JobKind
from together_flows.jobs.steps import Steps
from together_flows.jobs.waiting import EventTail, show_events, waiting, with_progress
from together_flows.prefect.attention import AttentiveClock, RunCancelled, attentive
from together_flows.prefect.credentials import TogetherCredentials, acredentials_of, credentials_of
from together_flows.prefect.identity import Owner, owner_of_this_call, retries_left
from together_flows.prefect.interruption import asettle, kept_for, settle
from together_flows.prefect.kept import KeptRecord
from together_flows.prefect.records import kept_by_job, store_with
from together_flows.prefect.submitting import page_for
from together_flows.prefect.view import AsyncProgress, Progress, ashow_count, run_logger

if TYPE_CHECKING:
    from together_flows.client import AsyncTogether

__all__ = ["POLL_INTERVAL", "as_entry", "await_end", "await_ends", "error_of", "reference_of", "wait_end"]

#: Seconds between two looks at a job, in the long run.
POLL_INTERVAL = 15.0

Outcome = Done | Expired | GiveUp


def reference_of(job: str | Mapping[str, Any]) -> JobReference:
    """The job that a task was told to wait for: a reference such as `batch:1a2b`, or what a submit task returned.

    Raises:
        ArgumentInvalid: it is neither.
    """
    return JobReference.parse(str(job.get("reference", "")) if isinstance(job, Mapping) else job)


@dataclass(frozen=True)
class _Waited:
    """A job that is waited for, and whose job it is.

    A job that this flow run did not submit is only looked at: it is never ended here.
    """

    reference: JobReference
    page: str
    account: TogetherCredentials
    store: JobStore
    key: str
    own: bool
    deadline: float | None

    @classmethod
    def all(
        cls, references: Iterable[JobReference], account: TogetherCredentials, seconds: float | None
    ) -> list[_Waited]:
        """The jobs with their records, which are read from the server once for all of them."""
        owner = owner_of_this_call()
        records = kept_by_job(owner.flow_run_id)
        return [cls._of(reference, account, seconds, owner, records.get(reference)) for reference in references]

    @classmethod
    def _of(
        cls,
        reference: JobReference,
        account: TogetherCredentials,
        seconds: float | None,
        owner: Owner,
        kept: KeptRecord | None,
    ) -> _Waited:
        began = kept.record.intent_at if kept else _task_began()
        return cls(
            reference=reference,
            page=page_for(reference, account),
            account=account,
            store=store_with([kept], owner) if kept else MemoryStore(),
            key=kept.key if kept else "",
            own=kept is not None,
            deadline=None if seconds is None else began + seconds,
        )

    @property
    def kind(self) -> JobKind:
        return kind_named(self.reference.kind)

    def conclusion(self, outcome: Outcome) -> Steps[dict[str, Any]]:
        base_url = self.account.get_base_url()
        if self._was_ended_at_the_deadline(outcome):
            outcome = Expired()
        if isinstance(outcome, Expired) and not self.own:
            late = WaitTimeout(
                f"The {self.kind.noun} {self.reference.id} was not done by the deadline. It was left alone: this flow "
                "run keeps no record of it.",
                reference=str(self.reference),
                mend="Allow it more time.",
            )
            unseen = JobStatus(self.reference, JobState.RUNNING, raw="not done", known=False)
            late.last_words = last_words_without_record(unseen, base_url)
            raise late
        manifest = yield from conclude(self.kind, self.reference, outcome, retried=retries_left(), base_url=base_url)
        return {**manifest, "reference": str(self.reference), "url": self.page}

    def _was_ended_at_the_deadline(self, outcome: Outcome) -> bool:
        """Whether an attempt before this one was so late that it cancelled the job, and died before it said so."""
        cancelled = isinstance(outcome, Done) and outcome.status.state is JobState.CANCELLED
        return cancelled and self.own and self.deadline is not None and time.time() >= self.deadline


def _task_began() -> float:
    """When the present task run was first to start, in seconds since the epoch; its retries keep it."""
    context = TaskRunContext.get()
    began = context.task_run.expected_start_time if context else None
    return began.timestamp() if began else time.time()


def wait_end(
    reference: JobReference,
    credentials: TogetherCredentials | str,
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
) -> dict[str, Any]:
    """Wait until a job has ended, and return its manifest.

    Args:
        reference: the job.
        credentials: its account.
        wait_timeout: seconds after the submission at which the job is ended and the wait fails. No retry prolongs it.
        poll_interval: seconds between two looks, in the long run.

    Raises:
        JobFailed: the job failed or expired.
        JobCancelled: somebody else cancelled it.
        WaitTimeout: it was not done in time.
    """
    owner, log = owner_of_this_call(), run_logger()
    try:
        account = credentials_of(credentials)
        client = client_for(api_key=account.api_key, base_url=account.base_url)
        [waited] = _Waited.all([reference], account, wait_timeout)
        policy = WaitPolicy(deadline=waited.deadline, interval=poll_interval)
        seen = Progress(reference, waited.page).saw
        steps = waiting(waited.kind, reference.id, policy, on_status=seen)
        outcome = run(steps, client=client, log=log, clock=AttentiveClock(owner.flow_run_id))
        return run(waited.conclusion(outcome), client=client, store=waited.store, key=waited.key, log=log)
    except Exception:
        raise
    except BaseException as stop:
        kept = partial(kept_for, [reference], owner)
        settle(credentials, owner, kept, unwanted=isinstance(stop, RunCancelled))
        raise


async def await_end(
    reference: JobReference,
    credentials: TogetherCredentials | str,
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
) -> dict[str, Any]:
    """The same as `wait_end`, on the event loop, where all waits of an account share their looks."""
    async with _settled([reference], credentials, poll_interval):
        account = await acredentials_of(credentials)
        client = async_client_for(api_key=account.api_key, base_url=account.base_url)
        [waited] = await _awaited([reference], account, wait_timeout)
        async with _Follower(waited.kind, reference, waited.page, client) as follower:
            return await _end_of(waited, poll_interval, follower.saw)


async def await_ends(
    references: Sequence[JobReference],
    credentials: TogetherCredentials | str,
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
) -> list[dict[str, Any]]:
    """Wait until all of the jobs have ended. Answers in their order: a job's manifest, or what `as_entry` makes of it.

    Their looks are shared, so that many jobs cost what one costs. One progress artifact shows how many have ended.
    """
    log, ended = run_logger(), 0

    async def wait(waited: _Waited) -> dict[str, Any]:
        nonlocal ended
        try:
            entry = await _end_of(waited, poll_interval, lambda status: log(status.describe(), "debug"))
        except TogetherError as error:
            log(str(error), "warning")
            entry = as_entry(waited.reference, waited.page, error)
        ended += 1
        await shown(ended)
        return entry

    async with _settled(references, credentials, poll_interval):
        account = await acredentials_of(credentials)
        shown = await ashow_count(len(references))
        jobs = await _awaited(references, account, wait_timeout)
        return list(await asyncio.gather(*map(wait, jobs)))


@asynccontextmanager
async def _settled(
    references: Iterable[JobReference], credentials: TogetherCredentials | str, interval: float
) -> AsyncIterator[None]:
    """A stretch of waiting. When it is cut through, the jobs are ended or left, as is right."""
    owner = owner_of_this_call()
    async with attentive(owner.flow_run_id, interval) as is_unwanted:
        try:
            yield
        except Exception:
            raise
        except BaseException:
            kept = partial(kept_for, references, owner)
            await asettle(credentials, owner, kept, unwanted=is_unwanted())
            raise


async def _awaited(
    references: Sequence[JobReference], account: TogetherCredentials, seconds: float | None
) -> list[_Waited]:
    return await anyio.to_thread.run_sync(_Waited.all, references, account, seconds)


async def _end_of(waited: _Waited, poll_interval: float, on_status: Callable[[JobStatus], None]) -> dict[str, Any]:
    """The result of a job that is waited for together with all others of the event loop."""
    client = async_client_for(api_key=waited.account.api_key, base_url=waited.account.base_url)
    policy = WaitPolicy(deadline=waited.deadline, interval=poll_interval)
    outcome = await JobWatcher.of(client).wait(waited.reference, policy, on_status=on_status)
    steps = waited.conclusion(outcome)
    return await arun(steps, client=client, store=waited.store, key=waited.key, log=run_logger())


def as_entry(reference: JobReference, page: str, error: TogetherError) -> dict[str, Any]:
    """A job that came to nothing, as plain data."""
    return {
        "reference": str(reference),
        "url": page,
        "error": {"type": type(error).__name__, "message": str(error), "retryable": error.retryable},
        "status": getattr(error, "status", {}),
    }


def error_of(entry: Mapping[str, Any]) -> TogetherError | None:
    """The error that `as_entry` wrote down; `None` for a manifest."""
    if not isinstance(entry.get("error"), Mapping) or "type" not in entry["error"]:
        return None
    error = entry["error"]
    message, retryable = str(error["message"]), bool(error["retryable"])
    if error["type"] in _ENDS:
        return _ENDS[error["type"]](message, reference=entry["reference"], status=entry["status"], retryable=retryable)
    return TogetherError(message, retryable=retryable)


_ENDS: dict[str, type[JobFailed]] = {"JobFailed": JobFailed, "JobCancelled": JobCancelled}


class _Follower:
    """Shows a job's statuses and its own log as they come, without holding up the watcher that tells of them."""

    def __init__(self, kind: JobKind, reference: JobReference, page: str, client: AsyncTogether) -> None:
        self._kind, self._id, self._client = kind, reference.id, client
        self._log = run_logger()
        self._progress = AsyncProgress(reference, page)
        self._tail = EventTail()
        self._latest: JobStatus | None = None
        self._showing: asyncio.Task[None] | None = None

    def saw(self, status: JobStatus) -> None:
        """A look at the job has succeeded.

        Raises:
            BaseException: what Prefect's signal handler raised while this was showing the status before. Asyncio keeps
                it with that task, where nobody would hear of it.
        """
        self._latest = status
        if self._showing is not None:
            if not self._showing.done():
                return
            signal = None if self._showing.cancelled() else self._showing.exception()
            if signal is not None and not isinstance(signal, Exception):
                raise signal
        self._showing = asyncio.create_task(self._show())

    async def _show(self) -> None:
        """Show what is new until there is nothing new. What is out of date by then is left out."""
        while (status := self._latest) is not None:
            self._latest = None
            share = await arun(show_events(self._kind, self._id, self._tail), client=self._client, log=self._log)
            status = with_progress(status, share)
            self._log(status.describe(), "error" if status.state is JobState.FAILED else "info")
            await self._progress.saw(status)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if self._showing is None:
            return
        if failure is not None:
            self._showing.cancel()
        with suppress(asyncio.CancelledError):
            await self._showing
