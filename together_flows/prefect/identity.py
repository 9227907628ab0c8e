"""Who asks for a job: which flow run, which attempt of it, and which task run."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid4

from prefect.context import FlowRunContext, TaskRunContext

__all__ = ["Owner", "owner_of_this_call", "retries_left"]

_FLOW = "flow"


@dataclass(frozen=True)
class Owner:
    """The owner of a job.

    Attributes:
        flow_run_id: the flow run; `None` outside one.
        attempt: how often that flow run has been started; it rises with a retry and a re-run.
        task_run: the outermost task run around the call, which a retry of that task keeps; `flow` in a flow's own body.
    """

    flow_run_id: UUID | None
    attempt: int
    task_run: str

    @property
    def is_a_flows_body(self) -> bool:
        """Whether a flow asks by itself, outside any task."""
        return self.task_run == _FLOW


def owner_of_this_call() -> Owner:
    """The owner of a job that is submitted right here."""
    flow_context, task_context = FlowRunContext.get(), TaskRunContext.get()
    if task_context is not None:
        flow_run_id = task_context.task_run.flow_run_id
        attempt = task_context.task_run.flow_run_run_count or 1
        return Owner(flow_run_id, attempt, _outermost(task_context).task_run.id.hex)
    if flow_context is not None and flow_context.flow_run is not None:
        return Owner(flow_context.flow_run.id, flow_context.flow_run.run_count, _FLOW)
    return Owner(None, 1, uuid4().hex)


def retries_left() -> bool:
    """Whether Prefect will try the present task again if it fails now."""
    context = TaskRunContext.get()
    return context is not None and context.task_run.run_count <= context.task.retries


def _outermost(context: TaskRunContext) -> TaskRunContext:
    """The task run that was called by the flow itself, when tasks call tasks.

    A retry of a task runs the tasks inside it anew, under new ids. Only the outermost id lasts, so only it can name an
    intention. Prefect keeps what a context has replaced in the token by which it is restored.
    """
    outer = getattr(context._token, "old_value", None)
    if isinstance(outer, TaskRunContext) and outer.task_run.flow_run_id == context.task_run.flow_run_id:
        return _outermost(outer)
    return context
