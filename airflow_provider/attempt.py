"""One attempt of a task that owns jobs: submit them, wait for them, conclude them, end them.

All decisions are made in ``together_flows.jobs``; this module gives them what Airflow knows. Its invariants:

- A record is stored before Airflow or the API is told anything that depends on it.
- The phase ``waiting`` is stored only by a task that is about to be deferred. A clear of a deferred task means "again",
  and the phase is how the new attempt sees it. A task that waits in its process stays in phase ``submitted``: when that
  process dies and the failed task is cleared, its job is adopted.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import replace
from itertools import count, takewhile
from typing import TYPE_CHECKING, Any, TypeVar, cast

from airflow_provider.record_store import TaskRecordStore
from airflow_provider.task_state import state_in_airflow
from together_flows.errors import JobCancelled, TogetherError

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from pathlib import Path

    from airflow.sdk import Context

    from airflow_provider.hooks.together import TogetherHook
    from airflow_provider.interruption import Interruption
    from together_flows.api import Operation
    from together_flows.client import Together
    from together_flows.jobs import (
        JobKind,
        JobRecord,
        JobReference,
        Outcome,
        SubmissionPolicy,
        WaitPolicy,
    )
    from together_flows.jobs.model import Spec
    from together_flows.jobs.steps import Logger, Steps

__all__ = ["Ending", "JobAttempt"]

T = TypeVar("T")

#: How a job ended, for a task: its manifest, or the error that says why there is none.
Ending = dict[str, Any] | TogetherError

_KEY = "together_job"
#: Seconds to look for the end of jobs in a process that was told to stop: SIGKILL follows after 5.
_KILL_PATIENCE = 2.5


def key_of(index: int, round_: int = 0) -> str:
    """The key of a task's n-th job in the task state store."""
    return _KEY + (f"_{index}" if index else "") + (f"_round_{round_}" if round_ else "")


class JobAttempt:
    """
    The jobs of a task, in one of its attempts.

    A task may have several jobs at once, and when these have ended a further round of jobs that depends on what they
    made. Nearly all have one job in one round.

    :param kind: name of the job kind.
    :param context: the context of the running task.
    :param hook: gives the client.
    :param policy: the operator's wishes; the generation is added here.
    :param interruption: tells where the task may be stopped.
    :param log: takes a message and a level.
    :param round_: which round of jobs this is about, from 0.
    """

    def __init__(
        self,
        kind: str,
        context: Context,
        *,
        hook: TogetherHook,
        policy: SubmissionPolicy,
        interruption: Interruption,
        log: Logger,
        round_: int = 0,
    ) -> None:
        from together_flows.jobs import kind_named

        self.kind: JobKind = kind_named(kind)
        self.context = context
        self.store = TaskRecordStore(context)
        self._hook = hook
        self._policy = replace(policy, generation=_generation(context))
        self._interruption = interruption
        self._log = log
        self.round = round_

    def in_round(self, round_: int) -> JobAttempt:
        """The same attempt, in another round of jobs."""
        other = copy(self)
        other.round = round_
        return other

    @property
    def rounds(self) -> list[JobAttempt]:
        """The same attempt in each round of which there are records."""
        rounds = takewhile(lambda attempt: attempt.records, (self.in_round(number) for number in count()))
        return list(rounds)

    @property
    def records(self) -> list[JobRecord]:
        """The records of the round's jobs, in order."""
        kept = (self.store.load(self._key(index)) for index in count())
        return list(takewhile(lambda record: record is not None, kept))  # type: ignore[arg-type] # None ends it

    @property
    def references(self) -> list[JobReference]:
        """Those of the round's jobs that were submitted."""
        return [record.reference for record in self.records if record.id is not None]

    @property
    def all_references(self) -> list[JobReference]:
        """The jobs of all rounds that were submitted."""
        return [reference for attempt in self.rounds for reference in attempt.references]

    def creates(self, specs: Sequence[Spec]) -> list[int]:
        """Positions of the specifications for which a new job will be submitted, as far as can be told beforehand."""
        from together_flows.jobs.submission import submits_new

        policy = replace(self._policy, keep_ended=self._has_following_round)
        return [
            index
            for index, spec in enumerate(specs)
            if submits_new(self.store.load(self._key(index)), self.kind.fingerprint(spec), policy)
        ]

    def submit(
        self, specs: Sequence[Spec], *, again: Collection[int] = (), estimates: Mapping[int, float] | None = None
    ) -> list[JobRecord]:
        """
        Leave exactly one job for each specification.

        :param specs: arguments of the jobs' creations.
        :param again: positions of the jobs to submit anew, whatever the records say.
        :param estimates: what new jobs will cost, in US dollars, by position, where that is known.
        """
        cleared = self._cleared_since_submission()
        if self.store.clear_number is None:  # at once, for a clear may come while the jobs are being submitted
            self.store.clear_number = _clear_number(self.context)
        self.store.publish(self.records)  # Airflow forgets the XComs of the attempt before
        policy = replace(self._policy, keep_ended=self._has_following_round)
        for index, spec in enumerate(specs):
            wishes = replace(policy, replace=index in again, estimated_usd=(estimates or {}).get(index))
            self._submit(index, spec, wishes, cleared=cleared)
            self._interruption.check()
        self.drop_from(len(specs))
        self.store.clear_number = _clear_number(self.context)
        return self.records

    def _submit(self, index: int, spec: Spec, policy: SubmissionPolicy, *, cleared: bool) -> None:
        from together_flows.jobs import JobState
        from together_flows.jobs.ending import look
        from together_flows.jobs.submission import submission

        key = self._key(index)
        before = self.store.load(key)
        record = self._submitting(submission(self.kind, spec, policy), key)
        if cleared and before is not None and before.id == record.id:
            # Adopted as if this were a retry. A task that is cleared while it runs looks like one, except that the
            # kill of its process has ended the job.
            status = self._run(look(self.kind, record.reference.id), key)
            if status is None or status.state is JobState.CANCELLED:
                self._submitting(submission(self.kind, spec, replace(policy, replace=True)), key)
            else:  # it may have been told to end, and be on its way there
                self.store.save(key, replace(record, adopted_at=time.time()))

    @property
    def _has_following_round(self) -> bool:
        """Whether a further round was begun, which builds on what the jobs of this one left, however they ended."""
        return bool(self.in_round(self.round + 1).records)

    def unpark(self) -> None:
        """Note that the task runs again. If it fails now and is cleared, it is a failed task and no waiting one."""
        from together_flows.jobs import Phase

        for attempt in self.rounds:
            for index, record in enumerate(attempt.records):
                if record.phase is Phase.WAITING:
                    self.store.save(attempt._key(index), record.advanced(Phase.SUBMITTED))

    def park(self) -> None:
        """Note that the task is about to be deferred."""
        from together_flows.jobs import Phase

        for index, record in enumerate(self.records):
            self.store.save(self._key(index), record.advanced(Phase.WAITING))

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing to wait for any more."""
        from together_flows.jobs.ending import look

        statuses = (self._run(look(self.kind, reference.id)) for reference in self.references)
        return all(status is not None and status.state.is_final for status in statuses)

    def deadline(self, timeout: float | None, execution_timeout: timedelta | None = None) -> float | None:
        """
        When to give up, in seconds since the epoch; ``None`` for never.

        :param timeout: seconds that the jobs may take. They count from the submission, or from the clear after which a
            new attempt took the jobs over, so that a retry or a restart does not prolong them.
        :param execution_timeout: how long this attempt may take, with all its deferrals.
        """
        deadlines = (self._of_jobs(timeout), self._of_attempt(execution_timeout))
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def is_overdue(
        self,
        outcomes: Sequence[tuple[JobReference, Outcome]],
        timeout: float | None,
        execution_timeout: timedelta | None,
    ) -> bool:
        """Whether a wait was given up because of the attempt's time, and not of the jobs'."""
        from together_flows.jobs.waiting import Expired

        if not any(isinstance(outcome, Expired) for _, outcome in outcomes):
            return False
        return self.deadline(timeout, execution_timeout) != self._of_jobs(timeout)

    def _of_jobs(self, timeout: float | None) -> float | None:
        if timeout is None:
            return None
        return max((max(record.intent_at, record.adopted_at or 0.0) for record in self.records), default=0.0) + timeout

    def _of_attempt(self, execution_timeout: timedelta | None) -> float | None:
        # Airflow 3.3 itself counts only the time in the worker, anew after each deferral.
        began: datetime | None = getattr(self.context["ti"], "start_date", None)
        return None if began is None or execution_timeout is None else (began + execution_timeout).timestamp()

    def wait(self, policy: WaitPolicy) -> list[Outcome]:
        """Wait in this process until all jobs have ended. May be interrupted."""
        from together_flows.jobs.waiting import waiting

        def wait_for(reference: JobReference) -> Outcome:
            with self._interruption.allowed():
                return self._run(waiting(self.kind, reference.id, policy), log=self._interruption.shielded(self._log))

        return [wait_for(reference) for reference in self.references]

    def conclude(self, outcomes: Sequence[tuple[JobReference, Outcome]]) -> list[Ending]:
        """Turn the ends of the waits into manifests and errors, and give each record its last word."""
        from together_flows.jobs import conclude

        endings: list[Ending] = []
        for index, (reference, outcome) in enumerate(outcomes):
            steps = conclude(self.kind, reference, outcome, base_url=self._hook.client.base_url)
            try:
                endings.append({"reference": str(reference), **self._run(steps, self._key(index))})
            except TogetherError as error:
                endings.append(error)
        return endings

    def still_wanted(self, endings: Sequence[Ending]) -> list[int]:
        """Positions of the jobs that were hit by the kill of the attempt that they were adopted from."""
        from together_flows.jobs import killed_by_the_clear

        return [
            index
            for index, (record, ending) in enumerate(zip(self.records, endings, strict=True))
            if isinstance(ending, JobCancelled) and killed_by_the_clear(record, time.time())
        ]

    def remember(self, *, succeeded: bool) -> None:
        """Write the task's last word into the records. Those whose job may be unknown still stay as they are."""
        from together_flows.jobs import Phase, TaskOutcome
        from together_flows.jobs import remember as remembering

        word = TaskOutcome.SUCCEEDED if succeeded else TaskOutcome.FAILED
        for attempt in self.rounds:
            for index, record in enumerate(attempt.records):
                if record.phase not in (Phase.PREPARING, Phase.INTENT):
                    self._run(remembering(word, None), attempt._key(index))

    def with_last_words(self, error: TogetherError) -> TogetherError:
        """
        The error, ending in what became of the task's jobs and what a retry will do about them.

        :param error: what the task fails with.
        """
        from together_flows.jobs import with_last_words

        records = [record for attempt in self.rounds for record in attempt.records]
        if error.last_words and len(records) == 1 and not self.kind.bills_until_stopped:
            return error  # it comes from the last look at the job, which is more than the record knows
        try:
            base_url = self._hook.client.base_url
        except TogetherError:  # the connection does not work, and so there is no job that it could lead to
            base_url = ""
        return with_last_words(error, records, base_url)

    def end(
        self, client: Together | None = None, *, settle: float | None = None, patience: float | None = None
    ) -> None:
        """
        End the jobs of all rounds, confirmed and logged, also one whose creation's answer was lost.

        :param client: sends the operations; the hook's by default.
        :param settle: seconds to look for such a job.
        :param patience: seconds to look for the end of all of them.
        """
        from together_flows.jobs import run
        from together_flows.jobs.ending import CONFIRM_SECONDS
        from together_flows.jobs.submission import SubmissionPolicy, abandonment

        keys = [
            (attempt._key(index), record) for attempt in self.rounds for index, record in enumerate(attempt.records)
        ]
        each = (CONFIRM_SECONDS if patience is None else patience) / max(len(keys), 1)
        for key, record in keys:
            steps = abandonment(
                self.kind, record, settle=SubmissionPolicy.settle if settle is None else settle, patience=each
            )
            try:
                run(steps, client=client or self._hook.client, store=self.store, key=key, log=self._log)
            except TogetherError as error:
                self._log(f"{record.kind}:{record.id} could not be ended and may still run. {error}", "error")
            except Exception as error:  # Airflow keeps no records for an attempt that was cleared away
                self._log(f"The end of {record.kind}:{record.id} could not be noted down: {error}", "warning")

    def end_at_once(self) -> None:
        """End all jobs in a process that was told to stop, with fresh connections and in the little time left."""
        with self._hook.new_client() as client:
            self.end(client, settle=0.0, patience=_KILL_PATIENCE)

    def state_in_airflow(self) -> str:
        """The task's state as Airflow sees it now; ``"unknown"`` when it cannot be asked."""
        task: Any = self.context["ti"]
        try:
            return state_in_airflow(task.get_task_states, task)
        except Exception as error:  # whatever it is, it must not keep the task from stopping
            self._log(f"The state of the task cannot be learned: {error}", "warning")
            return "unknown"

    @property
    def retry_is_left(self) -> bool:
        """Whether Airflow will run the task again by itself if this attempt fails."""
        task: Any = self.context["ti"]
        return bool(task.try_number <= task.max_tries)

    def _cleared_since_submission(self) -> bool:
        before = self.store.clear_number
        return before is not None and _clear_number(self.context) > before

    def drop_from(self, first: int) -> None:
        """End and forget the jobs of this round from a position on: an earlier attempt, with other inputs, had more."""
        from together_flows.jobs.submission import abandonment

        for index, record in list(enumerate(self.records))[first:]:
            self._run(abandonment(self.kind, record), self._key(index))
            self.store.delete(self._key(index))

    def _key(self, index: int) -> str:
        return key_of(index, self.round)

    def _submitting(self, steps: Steps[T], key: str) -> T:
        from together_flows.jobs import run

        client = cast("Together", _UploadsMayBeInterrupted(self._hook.client, self._interruption))
        return run(steps, client=client, store=self.store, key=key, log=self._log)

    def _run(self, steps: Steps[T], key: str = "", *, log: Logger | None = None) -> T:
        from together_flows.jobs import run

        return run(steps, client=self._hook.client, store=self.store, key=key, log=log or self._log)


class _UploadsMayBeInterrupted:
    """A client whose uploads, which may take long and cost nothing, can be cut short; its other calls cannot."""

    def __init__(self, client: Together, interruption: Interruption) -> None:
        self._client = client
        self._interruption = interruption

    def send(self, operation: Operation[Any]) -> Any:
        self._interruption.check()
        return self._client.send(operation)

    def upload(self, path: Path, *, purpose: str, file_name: str) -> Any:
        with self._interruption.allowed():
            return self._client.upload(path, purpose=purpose, file_name=file_name)


def _generation(context: Context) -> int:
    """How often the task was cleared: a clear raises `max_tries` above the task's retries, and a retry leaves it."""
    task: Any = context["ti"]
    return int(task.max_tries) - int(context["task"].retries or 0)


def _clear_number(context: Context) -> int:
    """How often tasks of the DAG run were cleared. It rises also when a running task is cleared."""
    run: Any = context["dag_run"]
    return int(getattr(run, "clear_number", None) or 0)
