"""The flow runs that belong together: a run and its subflows, and a subflow's failed attempts."""

from __future__ import annotations

from functools import lru_cache
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterId,
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType

__all__ = ["failed_forerunners", "with_subflows"]


def failed_forerunners(flow_run_id: UUID) -> list[UUID]:
    """The runs of the same flow, under the same parent run, that have failed or crashed.

    When a flow run is tried again, Prefect starts a new run for a subflow that has failed. The new run is to find what
    the failed one has submitted.
    """
    flow_id, parent = _origin(flow_run_id)
    if parent is None:
        return []
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            flow_filter=FlowFilter(id=FlowFilterId(any_=[flow_id])),
            flow_run_filter=FlowRunFilter(
                parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[parent]),
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.FAILED, StateType.CRASHED])),
            ),
        )
    return [run.id for run in found if run.id != flow_run_id]


@lru_cache(maxsize=256)
def _origin(flow_run_id: UUID) -> tuple[UUID, UUID | None]:
    """A run's flow and the run that called it as a subflow, neither of which ever changes."""
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(flow_run_id)
        calls = flow_run.parent_task_run_id
        return flow_run.flow_id, client.read_task_run(calls).flow_run_id if calls else None


def with_subflows(flow_run_id: UUID) -> list[UUID]:
    """A flow run and the runs of subflows that its process runs, however deep.

    What `run_deployment` has started runs in a process of its own, and speaks for itself.
    """
    found = below = [flow_run_id]
    with get_client(sync_client=True) as client:
        while below:
            children = client.read_flow_runs(
                flow_run_filter=FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=below))
            )
            below = [run.id for run in children if run.deployment_id is None and run.id not in found]
            found = found + below
    return found
