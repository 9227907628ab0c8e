"""Who asks for a job: which flow run, which attempt of it, and which task run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import TypeVar
from uuid import UUID, uuid4

from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext, TaskRunContext

__all__ = ["Owner", "owner_of_this_call", "retries_left", "time_is_up"]

C = TypeVar("C", TaskRunContext, FlowRunContext)

_FLOW = "flow"


@dataclass(frozen=True)
class Owner:
    """The owner of a job.

    Attributes:
        flow_run_id: the flow run; `None` outside one.
        attempt: how often that flow run has been started; it rises with a retry and a re-run.
        task_run: the outermost task run around the call, which a retry of that task keeps; `flow` in a flow's own body.
        leaves_work: whether a person who stops the flow does not stop its work, by `on_kill` of the flow.
    """

    flow_run_id: UUID | None
    attempt: int
    task_run: str
    leaves_work: bool = False

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
        return Owner(flow_run_id, attempt, _outermost(task_context).task_run.id.hex, _leaves_work(flow_context))
    if flow_context is not None and flow_context.flow_run is not None:
        return Owner(flow_context.flow_run.id, flow_context.flow_run.run_count, _FLOW, _leaves_work(flow_context))
    return Owner(None, 1, uuid4().hex)


def _leaves_work(context: FlowRunContext | None) -> bool:
    """Whether the hook for a cancellation is the one that leaves work: that of the outermost flow, which is stopped."""
    from together_flows.prefect.hooks import end_billing_jobs  # it is made of what is here

    outer = list(_with_outer(context))
    flow = outer[-1].flow if outer else None
    return flow is not None and end_billing_jobs in (flow.on_cancellation_hooks or ())


def retries_left() -> bool:
    """Whether Prefect will try the present task again if it fails now."""
    context = TaskRunContext.get()
    return context is not None and context.task_run.run_count <= context.task.retries


def time_is_up() -> bool:
    """Whether the `timeout_seconds` of the present task or flow has passed, or of one around it.

    Prefect interrupts the code then by the same exception as for any other reason, so only the clock tells.
    """
    now = datetime.now(UTC)
    return any(
        limit is not None and state is not None and now - state.timestamp >= timedelta(seconds=limit)
        for limit, state in _limits()
    )


def _limits() -> Iterator[tuple[float | None, State | None]]:
    """The time limits around this call, each with the state that began with it."""
    for task_context in _with_outer(TaskRunContext.get()):
        yield task_context.task.timeout_seconds, task_context.task_run.state
    for flow_context in _with_outer(FlowRunContext.get()):
        if flow_context.flow is not None and flow_context.flow_run is not None:
            yield flow_context.flow.timeout_seconds, flow_context.flow_run.state


def _with_outer(context: C | None) -> Iterator[C]:
    """A context and those of its kind around it. Prefect keeps what a context has replaced in its token."""
    while context is not None:
        yield context
        outer = getattr(context._token, "old_value", None)
        context = outer if isinstance(outer, type(context)) else None


def _outermost(context: TaskRunContext) -> TaskRunContext:
    """The task run that was called by the flow itself, when tasks call tasks.

    A retry of a task runs the tasks inside it anew, under new ids. Only the outermost id lasts, so only it can name an
    intention.
    """
    flow_run_id = context.task_run.flow_run_id
    return list(takewhile(lambda outer: outer.task_run.flow_run_id == flow_run_id, _with_outer(context)))[-1]
