"""The triggers: they watch jobs while no worker does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent

from airflow_provider.task_state import ABOUT_TO_RUN, seconds_until_seen, state_in_airflow
from together_flows.errors import JobFailed, TogetherError

if TYPE_CHECKING:
    from together_flows.client import AsyncTogether
    from together_flows.jobs import JobKind, JobReference, JobStatus, Outcome
    from together_flows.jobs.waiting import EventTail

__all__ = ["TogetherJobTrigger", "TogetherSensorTrigger"]

#: Seconds between two readings of a job's own log, at least.
_EVENTS_EVERY = 5.0
#: Seconds to look for the end of a job in `on_kill`, and for all of it; Airflow gives 30.
_KILL_PATIENCE, _KILL_SECONDS = 15.0, 25.0
#: Seconds that this work may go on in the background: less than the `KILL_WINDOW` of a new attempt.
_SETTLE_SECONDS = 90.0
#: Work of `on_kill` that is under way; asyncio itself holds its tasks only weakly.
_ENDING: set[asyncio.Task[None]] = set()
#: States in which the task may have been resumed with the job's result, instead of being cleared.
_PERHAPS_RESUMED = ("scheduled", "queued", "running", "success")


class _Watching(BaseTrigger):
    """What both triggers share: they wait for jobs and log what happens to them."""

    def __init__(
        self,
        together_conn_id: str,
        references: Sequence[str],
        deadline: float | None = None,
        interval: float = 15.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's triggers are untyped
        self.together_conn_id = together_conn_id
        self.references = references
        self.deadline = deadline
        self.interval = interval

    async def cleanup(self) -> None:
        """Nothing: Airflow calls this on every exit, also when the wait goes on in another triggerer."""

    async def _client(self) -> AsyncTogether:
        from airflow_provider.hooks.together import TogetherHook

        return await TogetherHook(self.together_conn_id).aget_client()

    def _jobs(self) -> list[JobReference]:
        from together_flows.jobs import JobReference

        return [JobReference.parse(reference) for reference in self.references]

    async def _outcomes(self, client: AsyncTogether) -> list[tuple[JobReference, Outcome]]:
        jobs = self._jobs()
        outcomes = await asyncio.gather(*(self._outcome(client, reference) for reference in jobs))
        return list(zip(jobs, outcomes, strict=True))

    async def _outcome(self, client: AsyncTogether, reference: JobReference) -> Outcome:
        """Wait for one job. What is seen goes through a queue, so that it is logged here, in this task's context."""
        from together_flows.jobs import JobWatcher, WaitPolicy, kind_named
        from together_flows.jobs.waiting import EventTail

        kind, tail = kind_named(reference.kind), EventTail()
        seen: asyncio.Queue[JobStatus] = asyncio.Queue()
        policy = WaitPolicy(deadline=self.deadline, interval=self.interval)
        wait = asyncio.create_task(JobWatcher.of(client).wait(reference, policy, on_status=seen.put_nowait))
        try:
            await self._narrate(client, kind, seen, wait, tail)
            outcome = await wait
        finally:
            wait.cancel()
        while not seen.empty():
            self._say(seen.get_nowait())
        await self._show_events(client, kind, reference.id, tail)
        return outcome

    async def _narrate(
        self,
        client: AsyncTogether,
        kind: JobKind,
        seen: asyncio.Queue[JobStatus],
        wait: asyncio.Task[Outcome],
        tail: EventTail,
    ) -> None:
        """Log what is seen of a job until the wait for it ends."""
        events_due = 0.0
        while True:
            news = asyncio.create_task(seen.get())
            try:
                await asyncio.wait({news, wait}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not news.done():
                    news.cancel()
            if not news.done() or news.cancelled():
                return
            status = news.result()
            self._say(status)
            if time.monotonic() >= events_due and not status.state.is_final:
                await self._show_events(client, kind, status.reference.id, tail)
                events_due = time.monotonic() + _EVENTS_EVERY

    async def _show_events(self, client: AsyncTogether, kind: JobKind, job_id: str, tail: EventTail) -> None:
        from together_flows.jobs import arun
        from together_flows.jobs.waiting import show_events

        await arun(show_events(kind, job_id, tail), client=client, log=self._tell)

    def _say(self, status: JobStatus) -> None:
        self._tell(status.describe(), "error" if status.message else "info")

    def _tell(self, message: str, level: str) -> None:
        getattr(self.log, level)(message)


class TogetherJobTrigger(_Watching):
    """
    Watch the jobs of a deferred task, and end them when nobody wants them any more.

    All triggers of a triggerer share one watcher for each account, so a thousand waiting tasks cost one request an
    interval. Its arguments hold nothing secret and nothing large, and each one that may come in a later version has a
    default, so that tasks deferred before an upgrade go on after it.

    :param together_conn_id: id of the Airflow connection.
    :param references: the jobs, each as ``kind:id``.
    :param deadline: when to give up, in seconds since the epoch. It is absolute, so that no restart prolongs it.
    :param interval: seconds between two looks, in the long run.
    :param on_clear: what the operator does about the jobs when its task is cleared.
    :param not_before: when the task may be woken at the earliest, in seconds since the epoch. Airflow 3.3 fails a task
        that runs again before its scheduler has seen that the process which deferred it ended.
    :param on_kill: what the operator does about the jobs when a person stops its task.
    """

    def __init__(
        self,
        together_conn_id: str,
        references: Sequence[str],
        deadline: float | None = None,
        interval: float = 15.0,
        on_clear: str = "auto",
        not_before: float = 0.0,
        on_kill: str = "end",
    ) -> None:
        super().__init__(together_conn_id, references, deadline, interval)
        self.on_clear = on_clear
        self.not_before = not_before
        self._leaves = on_kill == "leave"  # Airflow calls `on_kill`

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and the arguments that make this trigger again, in another process."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "together_conn_id": self.together_conn_id,
                "references": list(self.references),
                "deadline": self.deadline,
                "interval": self.interval,
                "on_clear": self.on_clear,
                "not_before": self.not_before,
                **({"on_kill": "leave"} if self._leaves else {}),  # a triggerer of before this was known takes it not
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for all jobs, and wake the task with how each ended."""
        from together_flows.jobs import GiveUp, outcome_to_event

        # A clock that is set back must not hold the task: no more than what it was to wait for at first.
        until = time.monotonic() + min(max(self.not_before - time.time(), 0.0), seconds_until_seen())
        try:
            client = await self._client()
            outcomes = await self._outcomes(client)
        except TogetherError as error:
            outcomes = [(reference, GiveUp(error)) for reference in self._jobs()]
        else:
            await self._end_the_late(client, outcomes)
        await asyncio.sleep(max(until - time.monotonic(), 0.0))
        events = [outcome_to_event(reference, outcome) for reference, outcome in outcomes]
        yield _event({"outcomes": events})

    async def on_kill(self) -> None:
        """
        End the jobs if a person's action on the task means that nobody wants them any more.

        Airflow 3.3 cancels this every second until it returns, instead of giving it the 30 seconds it promises. So the
        work is done by an asyncio task of its own, which goes on when this has to return: a triggerer under load takes
        long to say what state the task is in.
        """
        work = asyncio.create_task(self._settle_in_time(), name="end unwanted jobs")
        _ENDING.add(work)
        work.add_done_callback(_ENDING.discard)
        until = time.monotonic() + _KILL_SECONDS
        while not work.done() and (left := until - time.monotonic()) > 0:
            try:
                await asyncio.wait({work}, timeout=left)
            except asyncio.CancelledError:
                if work.cancelled():
                    raise
        if not work.done():
            self.log.warning("It takes long; it goes on in the background: %s.", ", ".join(self.references))

    async def _settle_in_time(self) -> None:
        try:
            await asyncio.wait_for(self._settle_all(), _SETTLE_SECONDS)
        except TimeoutError:
            self.log.error("It took too long; %s may still run.", ", ".join(self.references))

    async def _settle_all(self) -> None:
        try:
            state = await self._task_state()
        except Exception as error:
            self.log.warning("The state of the task cannot be learned: %s", error)
            state = "unknown"
        await asyncio.gather(*(self._settle(reference, state) for reference in self._jobs()))

    async def _settle(self, reference: JobReference, state: str) -> None:
        try:
            client = await self._client()
            if await self._is_unwanted(client, reference, state):
                await self._end(client, reference)
        except TogetherError as error:
            self.log.error("%s could not be ended and may still run. %s", reference, error)

    async def _is_unwanted(self, client: AsyncTogether, reference: JobReference, state: str) -> bool:
        """Whether a job is to be ended, now that this trigger is told to stop."""
        from together_flows.jobs import arun, kind_named
        from together_flows.jobs.ending import look

        kind = kind_named(reference.kind)
        if state == "unknown":
            self._tell(f"{reference} {'is ended' if kind.bills_until_stopped else 'is left to end by itself'}.", "info")
            return kind.bills_until_stopped
        if state == "deferred":
            # Either the wait moved to another triggerer, or the task was cleared and its new attempt waits already;
            # that one has itself decided about this job.
            self._tell(f"{reference} is left alone: the task waits on, elsewhere.", "info")
            return False
        if state in ABOUT_TO_RUN and self.on_clear == "reattach":
            self._tell(f"{reference} is left alone: the cleared task adopts it.", "info")
            return False
        if self._leaves and not kind.bills_until_stopped:
            self._tell(f"{reference} is left to end by itself, as on_kill says; the next attempt adopts it.", "info")
            return False
        if state in _PERHAPS_RESUMED:
            status = await arun(look(kind, reference.id), client=client, log=self._tell)
            if status is not None and status.state.is_final:
                self._tell(f"{reference} is left alone: it is {status.state}, and the task goes on with it.", "info")
                return False
        return True

    async def _end(self, client: AsyncTogether, reference: JobReference) -> None:
        from together_flows.jobs import arun, end_job, kind_named

        self._tell(f"{reference} is ended, because a person stopped or cleared the task.", "info")
        kind = kind_named(reference.kind)
        await arun(end_job(kind, reference.id, patience=_KILL_PATIENCE), client=client, log=self._tell)

    async def _end_the_late(self, client: AsyncTogether, outcomes: list[tuple[JobReference, Outcome]]) -> None:
        """End what was not done by the deadline at once: it may take a while until a worker is free to do it."""
        from together_flows.jobs import Expired, arun, end_job, kind_named

        for reference, outcome in outcomes:
            if not isinstance(outcome, Expired):
                continue
            self._tell(f"{reference} is ended, because its deadline has passed.", "warning")
            try:
                await arun(end_job(kind_named(reference.kind), reference.id), client=client, log=self._tell)
            except TogetherError as error:  # the resumed task tries it again
                self.log.warning("%s could not be ended: %s", reference, error)

    async def _task_state(self) -> str:
        """The task's state in Airflow, see `state_in_airflow`."""
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        task: Any = self.task_instance
        # in a thread, because the call blocks
        return await asyncio.to_thread(state_in_airflow, RuntimeTaskInstance.get_task_states, task)


class TogetherSensorTrigger(_Watching):
    """
    Watch a job that somebody else submitted. It is never ended from here.

    When the job has succeeded the sensor is done, without a worker ever having run for it. Otherwise the sensor is
    woken, to fail with the job's own words.

    :param together_conn_id: id of the Airflow connection. (templated)
    :param references: the job as ``kind:id``, in a list. (templated)
    :param interval: seconds between two looks, in the long run.
    """

    def __init__(self, together_conn_id: str, references: Sequence[str], interval: float = 15.0) -> None:
        super().__init__(together_conn_id, references, None, interval)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and the arguments that make this trigger again, in another process."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "together_conn_id": self.together_conn_id,
                "references": list(self.references),
                "interval": self.interval,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the job; end the task if it succeeded, wake it if not."""
        from together_flows.jobs import MemoryStore, arun, conclude, kind_named, outcome_to_event

        outcomes: list[tuple[JobReference, Outcome]] = []
        try:
            client = await self._client()
            outcomes = await self._outcomes(client)
            [(reference, outcome)] = outcomes
            ending = conclude(kind_named(reference.kind), reference, outcome, base_url=client.base_url)
            manifest = await arun(ending, client=client, store=MemoryStore(), log=self._tell)
        except TogetherError as error:
            events = [outcome_to_event(reference, outcome) for reference, outcome in outcomes]
            yield _event({"outcomes": events, "error": str(error), "retryable": _may_pass(error)})
        else:
            made = {"reference": str(reference), **manifest}
            yield TaskSuccessEvent(xcoms={**made, "return_value": made})


def _event(payload: dict[str, Any]) -> TriggerEvent:
    return TriggerEvent(payload)  # type: ignore[no-untyped-call] # Airflow's events are untyped


def _may_pass(error: TogetherError) -> bool:
    """Whether a retry of the sensor can help. Where the job itself has failed it cannot: a sensor submits nothing."""
    return error.retryable and not isinstance(error, JobFailed)
