"""The flow runs that belong together: a run and its subflows, and a subflow's attempts before."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort

from together_flows.prefect.paging import every

__all__ = ["flow_runs", "forerunners", "with_subflows"]


def forerunners(flow_run_id: UUID) -> list[FlowRun]:
    """The runs of the same flow, under the same parent run, that have failed, crashed or were cancelled.

    When a flow run is tried again, Prefect starts a new run for a subflow that has not succeeded. The new run is to
    find what the one before has submitted and left.

    Raises:
        ObjectNotFound: the run was deleted.
    """
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(flow_run_id)
        if flow_run.parent_task_run_id is None:
            return []
        parent = client.read_task_run(flow_run.parent_task_run_id).flow_run_id
    if parent is None:
        return []
    ended = [StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]
    chosen = FlowRunFilter(
        parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[parent]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=ended)),
    )
    return [run for run in flow_runs(chosen) if run.flow_id == flow_run.flow_id and run.id != flow_run_id]


def with_subflows(flow_run_id: UUID) -> list[UUID]:
    """A flow run and the runs of subflows that its process runs, however deep.

    What `run_deployment` has started runs in a process of its own, and speaks for itself.
    """
    found = below = [flow_run_id]
    while below:
        children = flow_runs(FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=below)))
        below = [run.id for run in children if run.deployment_id is None and run.id not in found]
        found = found + below
    return found


def flow_runs(chosen: FlowRunFilter) -> Iterator[FlowRun]:
    """All flow runs that a filter chooses."""
    with get_client(sync_client=True) as client:
        yield from every(
            lambda offset: client.read_flow_runs(flow_run_filter=chosen, offset=offset, sort=FlowRunSort.ID_DESC)
        )
