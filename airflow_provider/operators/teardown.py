"""What bills until somebody stops it: how a task starts it, and the teardown task that stops it whatever happens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, TriggerRule

from airflow_provider.failures import raise_for_airflow
from airflow_provider.hooks.together import TogetherHook
from airflow_provider.operators.base import TogetherJobOperator
from airflow_provider.record_store import RECORDS
from together_flows.errors import TogetherError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from together_flows.jobs import JobKind, JobRecord

__all__ = ["TogetherBillingJobOperator", "TogetherTeardownOperator"]


class TogetherTeardownOperator(BaseOperator):
    """
    Stop what a task has started and what bills until then, whatever has become of that task.

    It learns of the jobs from an XCom that the task pushes before it sends a creation, so it finds also one whose task
    died before it knew the answer. One that is gone already is no error. Like every teardown it does not count for the
    state of the DAG run; it is retried three times unless told otherwise.

    :param setup_task_id: the task that started them. (templated)
    :param job_id: a job's id, instead. (templated)
    :param together_conn_id: id of the Airflow connection. (templated)
    """

    #: Name of the job kind.
    kind: ClassVar[str]

    template_fields: Sequence[str] = ("setup_task_id", "job_id", "together_conn_id")
    ui_color = "#e8ebf9"

    def __init__(
        self,
        *,
        setup_task_id: str | None = None,
        job_id: str | None = None,
        together_conn_id: str = TogetherHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("retries", 3)
        super().__init__(**kwargs)
        self.setup_task_id = setup_task_id
        self.job_id = job_id
        self.together_conn_id = together_conn_id

    @cached_property
    def hook(self) -> TogetherHook:
        """The hook of the operator's connection."""
        return TogetherHook(self.together_conn_id)

    def execute(self, context: Context) -> list[str]:
        """Stop them, and look until they are gone. Returns their ids."""
        ended: list[str] = []
        failures: list[TogetherError] = []
        for record in self._records(context):
            try:
                job_id = self._end(record)
            except TogetherError as error:
                self.log.error("%s:%s could not be stopped and may still bill. %s", self.kind, record.id, error)
                failures.append(error)
            else:
                ended += [job_id] if job_id else []
        if failures:
            raise_for_airflow(failures[0])
        if not ended:
            self.log.info("No %s was started, so there is none to stop.", self._kind.noun)
        return ended

    def _end(self, record: JobRecord) -> str | None:
        """End a job, found by its marker where its id never became known. Answers with its id, if there was one."""
        from together_flows.jobs import MemoryStore, run
        from together_flows.jobs.submission import abandonment

        last = run(
            abandonment(self._kind, record), client=self.hook.client, store=MemoryStore(), key="job", log=self._say
        )
        return last.reference.id if last else None

    @property
    def _kind(self) -> JobKind:
        from together_flows.jobs import kind_named

        return kind_named(self.kind)

    def _records(self, context: Context) -> list[JobRecord]:
        """What the setup task, or each of its mapped instances, has begun."""
        from together_flows.jobs import JobRecord, Phase

        if self.job_id:
            known = JobRecord(
                kind=self.kind, fingerprint="", marker="", intent_at=0.0, phase=Phase.SUBMITTED, id=self.job_id
            )
            return [known]
        task: Any = context["ti"]
        pushed = task.xcom_pull(task_ids=self.setup_task_id, key=RECORDS)
        return [record for record in map(JobRecord.from_dict, _flat(pushed)) if record.kind == self.kind]

    def _say(self, message: str, level: str) -> None:
        getattr(self.log, level)(message)


class TogetherBillingJobOperator(TogetherJobOperator):
    """
    Start what bills until it is stopped, and wait until it is of use. :meth:`teardown` makes the task that stops it.

    What is not of use when its task ends for good, is stopped then.
    """

    #: Stops what this starts.
    teardown_operator: ClassVar[type[TogetherTeardownOperator]]

    def teardown(self, task_id: str | None = None, **kwargs: Any) -> TogetherTeardownOperator:
        """
        The task that stops what this task starts. Used as a context manager, it runs after the tasks in its scope.

        :param task_id: its id; ``stop_`` and this task's by default.
        :param kwargs: further arguments of the teardown task.
        """
        stop = self.teardown_operator(
            task_id=task_id or f"stop_{self.label}",
            setup_task_id=self.task_id,
            together_conn_id=self.together_conn_id,
            **kwargs,
        )
        stop.as_teardown(setups=self)
        # A teardown's usual rule skips it when the setup has failed, and a setup that was killed may have left
        # something that bills.
        stop.trigger_rule = TriggerRule.ALL_DONE
        return stop


def _flat(pushed: Any) -> Iterator[dict[str, Any]]:
    """The records that a task pushed, or that each of a mapped task's instances did."""
    if isinstance(pushed, dict):
        yield pushed
        return
    for part in pushed or ():
        yield from _flat(part)
