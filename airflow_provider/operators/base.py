"""The operator that all job operators are made of: one life cycle, whatever the job, deferred or not."""

from __future__ import annotations

import tempfile
import time
from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, conf
from airflow.sdk.exceptions import AirflowFailException, AirflowTaskTimeout, TaskDeferralError, TaskDeferralTimeout

from airflow_provider.attempt import Ending, JobAttempt
from airflow_provider.failures import raise_for_airflow
from airflow_provider.hidden import HidingOperator, revealed
from airflow_provider.hooks.together import TogetherHook
from airflow_provider.interruption import Interruption, TaskKilled
from airflow_provider.links.together import TogetherJobLink
from airflow_provider.policies import check_choice
from airflow_provider.task_state import ABOUT_TO_RUN, seconds_until_seen
from airflow_provider.triggers.job import TogetherJobTrigger
from together_flows.errors import ArgumentInvalid, TogetherError
from together_flows.policies import OnClear, OnKill, OnUnknown

if TYPE_CHECKING:
    from airflow.sdk import Context

    from together_flows.jobs import JobReference, Outcome, PriceEstimate, WaitPolicy
    from together_flows.jobs.model import Spec
    from together_flows.jobs.steps import Steps

__all__ = ["TogetherJobOperator", "given", "number"]

#: Airflow's own time-out of a deferral is only a backstop: it cannot end the job. It comes so many seconds later.
_BACKSTOP_MARGIN = 600.0


class TogetherJobOperator(HidingOperator):
    """
    Submit jobs to Together AI once, wait for them, and return what they made.

    This is the base of the operators for the job kinds. A retry adopts the job that an earlier attempt submitted; so
    does a cleared task that had failed. A task that is cleared after it had succeeded, or while it waits, ends its old
    job and submits a new one. Marking the task as failed, or deleting its DAG run, ends the job. An eviction does not.

    :param together_conn_id: id of the Airflow connection. (templated)
    :param deferrable: wait in the triggerer, where a wait holds no worker slot. By default as
        ``[operators] default_deferrable`` says.
    :param poll_interval: seconds between two looks at the job, in the long run. The first looks come sooner.
        (templated)
    :param timeout: how long the job may take, as ``timedelta`` or in seconds. It counts from the submission, also over
        retries and restarts. When it has passed, the job is ended and the task fails. (templated)
    :param on_clear: what a clear of the task means for its job: ``"auto"`` as described above, ``"reattach"`` to adopt
        the job in any case, ``"rerun"`` to submit a new one in any case.
    :param on_kill: what it means for the job that a person marks the waiting or running task, deletes its DAG run, or
        clears it: ``"end"`` to end the job, ``"leave"`` to let it go on, so that the next attempt, if there is one,
        adopts it. What bills until it is stopped is ended in any case.
    :param on_unknown: what to do where the answer to a submission was lost and the API offers nothing to find the job
        by: ``"fail"``, or ``"create"`` and perhaps pay twice.
    :param wait: wait for the job. If not, the task succeeds as soon as it is submitted, and returns its ``id``,
        ``reference`` and ``url``.
    :param budget: most US dollars that the jobs may cost by the estimate made before they are submitted; no limit by
        default. Not every kind of job has a price that can be known beforehand. (templated)
    """

    #: Name of the job kind.
    kind: ClassVar[str]

    template_fields: Sequence[str] = ("together_conn_id", "budget", "timeout", "poll_interval")
    operator_extra_links = (TogetherJobLink(),)
    ui_color = "#e8ebf9"

    def __init__(
        self,
        *,
        together_conn_id: str = TogetherHook.default_conn_name,
        deferrable: bool | None = None,
        poll_interval: float | str = 15.0,
        timeout: timedelta | float | str | None = None,
        on_clear: OnClear = "auto",
        on_kill: OnKill = "end",
        on_unknown: OnUnknown = "fail",
        wait: bool = True,
        budget: float | str | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)
        check_choice(self.task_id, "on_clear", on_clear, OnClear)
        check_choice(self.task_id, "on_kill", on_kill, OnKill)
        check_choice(self.task_id, "on_unknown", on_unknown, OnUnknown)
        self.together_conn_id = together_conn_id
        self.deferrable = _default_deferrable() if deferrable is None else deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.on_clear = on_clear
        self._at_kill: OnKill = on_kill  # Airflow calls `on_kill`
        self.on_unknown = on_unknown
        self.wait = wait
        self.budget = budget
        self.job_page = ""
        self._interruption = Interruption()
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    @cached_property
    def hook(self) -> TogetherHook:
        """The hook of the operator's connection."""
        return TogetherHook(self.together_conn_id)

    @property
    def scratch(self) -> Path:
        """A folder for files that only this process needs, until it is done with the task."""
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="together-task-")
        return Path(self._temporary.name)

    @abstractmethod
    def job_specs(self, context: Context) -> Sequence[Spec]:
        """
        The arguments of the jobs' creations, one mapping for each job.

        It must answer the same in every attempt with the same inputs, for that is how a retry recognises its jobs.

        :param context: the context of the running task.
        """

    def price(self, spec: Spec) -> Steps[PriceEstimate] | None:
        """Steps that find out what a job will cost; ``None`` where that is not known beforehand."""
        return None

    def further_specs(self, attempt: JobAttempt, endings: Sequence[Ending]) -> Sequence[Spec]:
        """
        A further round of jobs that depends on how those of this round ended; empty when there is none.

        :param attempt: knows the jobs so far.
        :param endings: for each job of the round its manifest, or the error that it ended with.
        """
        return ()

    def result(self, attempt: JobAttempt, endings: Sequence[Ending]) -> Any:
        """
        What the task returns.

        :param attempt: knows the jobs.
        :param endings: for each job of the last round its manifest, or the error that it ended with.
        """
        for ending in endings:
            if isinstance(ending, TogetherError):
                raise ending
        return endings[0] if len(endings) == 1 else list(endings)

    def execute(self, context: Context) -> Any:
        """Submit the jobs, or find those that an earlier attempt submitted, and wait for them."""
        attempt = self._attempt(context)
        with self._ending_well(attempt):
            return self._start(attempt, self.job_specs(context))

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Go on after the wait in the triggerer."""
        from together_flows.jobs import outcome_from_event

        outcomes = [outcome_from_event(outcome) for outcome in event["outcomes"]]
        attempt = self._attempt(context)
        attempt.unpark()
        with self._ending_well(attempt):
            attempt = _round_of(attempt, [reference for reference, _ in outcomes])
            self._show_page(attempt)
            if attempt.is_overdue(outcomes, self._timeout_seconds, self.execution_timeout):
                raise AirflowTaskTimeout(f"{self.task_id} took longer than its execution_timeout.")
            return self._finish(attempt, outcomes)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the wait, also when the wait itself has failed: then nothing but this may end the job."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout as error:
            attempt = self._attempt(context)
            attempt.end()
            attempt.remember(succeeded=False)
            _note_last_words(attempt, error)
            raise
        except TaskDeferralError as error:
            attempt = self._attempt(context)
            self._gave_up(attempt, retryable=True)
            _note_last_words(attempt, error)
            raise

    def on_kill(self) -> None:
        """Stop the task. What becomes of its jobs is decided where it stops, see ``_killed``."""
        self._interruption.request()

    def _attempt(self, context: Context) -> JobAttempt:
        from together_flows.jobs import SubmissionPolicy

        return JobAttempt(
            self.kind,
            context,
            hook=self.hook,
            policy=SubmissionPolicy(on_clear=self.on_clear, on_unknown=self.on_unknown),
            interruption=self._interruption,
            log=self._say,
        )

    def _start(self, attempt: JobAttempt, specs: Sequence[Spec], *, again: Collection[int] = ()) -> Any:
        attempt.submit(specs, again=again, estimates=self._check_price(attempt, specs))
        self._publish(attempt)
        if not self.wait:
            attempt.remember(succeeded=True)
            references = [str(reference) for reference in attempt.references]
            first = {"id": attempt.references[0].id, "reference": references[0]}
            return {**first, "references": references, "url": self.job_page}
        if self.deferrable and not attempt.has_ended:  # an adopted job may have ended long ago
            self._defer(attempt)
        outcomes = zip(attempt.references, attempt.wait(self._wait_policy(attempt)), strict=True)
        return self._finish(attempt, list(outcomes))

    def _check_price(self, attempt: JobAttempt, specs: Sequence[Spec]) -> dict[int, float]:
        """
        Log what the new jobs will cost, and stop before the budget is exceeded. Jobs that run are paid already.

        :returns: US dollars by the position of the job, where they are known.
        """
        from together_flows.jobs import check_budget, run, total_price

        budget = number(self.budget, "budget")
        estimates: dict[int, PriceEstimate] = {}
        for index in attempt.creates(specs):
            steps = self.price(specs[index])
            if steps is None:
                if budget is not None:
                    self.log.warning("No price is known beforehand, so the budget of $%.2f limits nothing.", budget)
                return {}
            try:
                estimates[index] = run(steps, client=self.hook.client, log=self._say)
            except TogetherError as error:
                if budget is not None:
                    raise
                self.log.warning("The price cannot be estimated: %s", error)
                return {}
        if estimates:
            total = total_price(list(estimates.values()))
            self.log.info("Estimated price: $%.2f (%s).", total.usd, total.basis)
            check_budget(total, budget)
        return {index: estimate.usd for index, estimate in estimates.items()}

    def _publish(self, attempt: JobAttempt) -> None:
        """Tell the world which jobs these are, before the wait for them."""
        task: Any = attempt.context["ti"]
        self._show_page(attempt)
        task.xcom_push(key="together_jobs", value=[str(reference) for reference in attempt.all_references])
        self.log.info("The job's page: %s", self.job_page)

    def _show_page(self, attempt: JobAttempt) -> None:
        from together_flows.jobs import page_of

        for reference in attempt.all_references[:1]:
            self.job_page = page_of(reference, self.hook.client.base_url)

    def _defer(self, attempt: JobAttempt) -> None:
        deadline = attempt.deadline(self._timeout_seconds, self.execution_timeout)
        trigger = TogetherJobTrigger(
            together_conn_id=self.together_conn_id,
            references=[str(reference) for reference in attempt.references],
            deadline=deadline,
            interval=self._interval,
            on_clear=self.on_clear,
            not_before=time.time() + seconds_until_seen(),
            on_kill=self._at_kill,
        )
        backstop = None if deadline is None else max(deadline - time.time(), 0.0) + _BACKSTOP_MARGIN
        if not self._leaves(attempt):
            attempt.park()
        self.defer(
            trigger=trigger,
            method_name="execute_complete",
            timeout=None if backstop is None else timedelta(seconds=backstop),
        )

    def _finish(self, attempt: JobAttempt, outcomes: Sequence[tuple[JobReference, Outcome]]) -> Any:
        endings = attempt.conclude(outcomes)
        if attempt.round == 0 and (wanted := attempt.still_wanted(endings)):
            self.log.warning("The clear of this task has ended a job that is still wanted; it is submitted again.")
            return self._start(attempt, self.job_specs(attempt.context), again=wanted)
        for ending in endings:
            if isinstance(ending, dict):
                ending["url"] = self.job_page
        following = attempt.in_round(attempt.round + 1)
        if specs := self.further_specs(attempt, endings):
            return self._start(following, specs)
        for round_ in following.rounds[following.round :]:
            round_.drop_from(0)
        return self.result(attempt, endings)

    @contextmanager
    def _ending_well(self, attempt: JobAttempt) -> Iterator[None]:
        """Whatever ends the task: leave no job that nobody wants, and records that say what happened."""
        try:
            yield
            self._interruption.check()
        except TaskKilled:
            self._killed(attempt)
        except AirflowTaskTimeout as timeout:
            self.log.warning("The task's execution_timeout has passed.")
            attempt.end_at_once()
            attempt.remember(succeeded=False)
            _note_last_words(attempt, timeout)
            raise
        except TogetherError as error:
            self._gave_up(attempt, retryable=error.retryable)
            raise_for_airflow(attempt.with_last_words(error))
        except Exception as error:
            self._gave_up(attempt, retryable=True)
            _note_last_words(attempt, error)
            raise
        finally:
            if self._temporary is not None:
                self._temporary.cleanup()
                self._temporary = None

    def _gave_up(self, attempt: JobAttempt, *, retryable: bool) -> None:
        """This attempt has failed. What bills until somebody stops it is ended, unless a retry will adopt it."""
        if attempt.kind.bills_until_stopped and not (retryable and attempt.retry_is_left):
            attempt.end()
        attempt.remember(succeeded=False)

    def _killed(self, attempt: JobAttempt) -> None:
        """
        The process was told to stop. Either a person acted on the task, or the machine is needed otherwise.

        :raises AirflowFailException: a person did; Airflow has its word already.
        :raises TogetherError: nobody did, so that a retry goes on.
        """
        state = attempt.state_in_airflow()
        jobs = ", ".join(str(reference) for reference in attempt.all_references) or "no job"
        if state not in ("running", "unknown"):
            if self.on_clear == "reattach" and state in ABOUT_TO_RUN:
                self.log.info("%s: left alone, because the cleared task adopts it.", jobs)
                raise AirflowFailException(f"The task was cleared, and its new attempt adopts its work: {jobs}.")
            replaced = self.on_clear == "rerun" and state in ABOUT_TO_RUN
            if self._leaves(attempt) and not replaced:
                attempt.remember(succeeded=False)
                left = TogetherError(
                    f"The task was stopped by a person, and its work goes on, as on_kill says: {jobs}."
                )
                raise AirflowFailException(str(attempt.with_last_words(left)))
            self.log.warning("A person stopped or cleared this task (it is %s). To end: %s.", state, jobs)
            attempt.end_at_once()
            stopped = TogetherError(f"The task was stopped by a person, and so its work was ended: {jobs}.")
            raise AirflowFailException(str(attempt.with_last_words(stopped)))
        if attempt.kind.bills_until_stopped and not attempt.retry_is_left:
            self.log.warning("This process was told to stop, and no retry is left. To end: %s.", jobs)
            attempt.end_at_once()
        attempt.remember(succeeded=False)
        told = TogetherError("The process was told to stop, though nobody stopped the task.", retryable=True)
        raise attempt.with_last_words(told)

    def _leaves(self, attempt: JobAttempt) -> bool:
        """Whether a person who stops the task does not stop its jobs."""
        return self._at_kill == "leave" and not attempt.kind.bills_until_stopped

    def _wait_policy(self, attempt: JobAttempt) -> WaitPolicy:
        from together_flows.jobs import WaitPolicy

        return WaitPolicy(deadline=attempt.deadline(self._timeout_seconds), interval=self._interval)

    @property
    def _interval(self) -> float:
        return number(self.poll_interval, "poll_interval") or 15.0

    @property
    def _timeout_seconds(self) -> float | None:
        return self.timeout.total_seconds() if isinstance(self.timeout, timedelta) else number(self.timeout, "timeout")

    def _say(self, message: str, level: str) -> None:
        getattr(self.log, level)(message)


def _note_last_words(attempt: JobAttempt, error: BaseException) -> None:
    """Have the traceback of an error that is not ours end in what became of the task's jobs."""
    error.add_note(attempt.with_last_words(TogetherError("", retryable=True)).last_words)


def number(value: float | str | None, name: str) -> float | None:
    """
    A number that may have come out of a template as text; nothing, where the template left nothing.

    :param value: the number, or its text.
    :param name: the operator's argument, for the error.
    """
    if value is None or value == "":
        return None
    try:
        return float(value)
    except ValueError:
        raise ArgumentInvalid(f"{name} must be a number, not {value!r}.") from None


def given(operator: BaseOperator, names: Iterable[str]) -> dict[str, Any]:
    """
    The operator's arguments of these names that were given, in clear. A template that left nothing gives none.

    :param operator: the operator, rendered.
    :param names: the arguments.
    """
    values = {name: revealed(getattr(operator, name)) for name in names}
    return {name: value for name, value in values.items() if value is not None and value != ""}


def _round_of(attempt: JobAttempt, references: Sequence[JobReference]) -> JobAttempt:
    """The round whose jobs these are."""
    for candidate in attempt.rounds:
        if candidate.references == references:
            return candidate
    return attempt


def _default_deferrable() -> bool:
    return conf.getboolean("operators", "default_deferrable", fallback=False)
