"""What bills until somebody stops it: how a task starts it, and the teardown task that stops it whatever happens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, TriggerRule

from airflow_provider.failures import raise_for_airflow
from airflow_provider.hooks.together import TogetherHook
from airflow_provider.operators.base import TogetherJobOperator
from together_flows.errors import TogetherError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from together_flows.jobs import JobKind

__all__ = ["TogetherBillingJobOperator", "TogetherTeardownOperator"]


class TogetherTeardownOperator(BaseOperator):
    """
    Stop what a task has started and what bills until then, whatever has become of that task.

    It learns of the jobs from the XCom that the task pushes before it waits. One that is gone already is no error. Like
    every teardown it does not count for the state of the DAG run; it is retried three times unless told otherwise.

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
        from together_flows.jobs import end_job, kind_named, run

        kind = kind_named(self.kind)
        ended: list[str] = []
        failures: list[TogetherError] = []
        for job_id in self._jobs(kind, context):
            try:
                run(end_job(kind, job_id), client=self.hook.client, log=self._say)
            except TogetherError as error:
                self.log.error("%s:%s could not be stopped and may still bill. %s", kind.name, job_id, error)
                failures.append(error)
            else:
                ended.append(job_id)
        if failures:
            raise_for_airflow(failures[0])
        if not ended:
            self.log.info("No %s was started, so there is none to stop.", kind.noun)
        return ended

    def _jobs(self, kind: JobKind, context: Context) -> list[str]:
        from together_flows.jobs import JobReference

        if self.job_id:
            return [self.job_id]
        task: Any = context["ti"]
        pushed = task.xcom_pull(task_ids=self.setup_task_id, key="together_jobs")
        references = [JobReference.parse(reference) for reference in _flat(pushed)]
        return [reference.id for reference in references if reference.kind == kind.name]

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


def _flat(pushed: Any) -> Iterable[str]:
    """The references that a task pushed, or that each of a mapped task's instances did."""
    if pushed is None:
        return
    if isinstance(pushed, str):
        yield pushed
        return
    for part in pushed:
        yield from _flat(part)
