"""Claims on remote jobs by flow runs: what their job records hold, and how the runs stand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound

from together_flows.jobs.claim import Claim, Standing
from together_flows.prefect.interruption import was_evicted
from together_flows.prefect.kept import KeptRecord, kept_as, kept_in
from together_flows.prefect.records import KnownRecords

__all__ = ["FlowRunClaim", "PrefectClaims", "standing_of"]

_PAGE = 200
_UNFINISHED = [state for state in StateType if state.name not in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")]


def standing_of(state: StateType | None) -> Standing:
    """How a flow run stands that has ended in this state; `None` is one that has not.

    Args:
        state: the state.
    """
    match state:
        case None:
            return Standing.ACTIVE
        case StateType.COMPLETED:
            return Standing.SUCCEEDED
        case StateType.CANCELLED:
            return Standing.CANCELLED
        case _:
            return Standing.FAILED


@dataclass(frozen=True, kw_only=True)
class FlowRunClaim(Claim):
    """A claim of a flow run.

    Attributes:
        flow_run_id: the run.
        credentials: name of the credentials block of the job's account; empty if it is not saved.
    """

    flow_run_id: str
    credentials: str


@dataclass(frozen=True, kw_only=True)
class PrefectClaims:
    """The claims of the flow runs on the Prefect server that the settings name. A `ClaimSource`.

    Attributes:
        days: look at runs that have started in the last so many days, and at all that have not ended.
        dead_after: take a run that is "running" for longer than this for crashed; `None` for never.
        cancelling_for: take a run that is "cancelling" for longer than this for cancelled.
        blocks: only jobs that were submitted with these credentials blocks, or with one that was never saved; `None`
            for all.
    """

    days: float = 7.0
    dead_after: timedelta | None = None
    cancelling_for: timedelta = timedelta(minutes=10)
    blocks: Collection[str] | None = None

    def claims(self) -> Iterator[FlowRunClaim]:
        """The jobs that runs have submitted, except those that a later attempt has taken over."""
        yield from self._claims_of(self._records())

    def _claims_of(self, records: Iterable[KeptRecord]) -> Iterator[FlowRunClaim]:
        by_run: defaultdict[UUID | None, list[KeptRecord]] = defaultdict(list)
        for kept in records:
            by_run[kept.flow_run_id].append(kept)
        for flow_run in _read_runs([flow_run_id for flow_run_id in by_run if flow_run_id]):
            standing = standing_of(self._end_of(flow_run))
            for kept in by_run[flow_run.id]:
                yield self._claim(flow_run, standing, kept)

    def _claim(self, flow_run: FlowRun, standing: Standing, kept: KeptRecord) -> FlowRunClaim:
        return FlowRunClaim(
            record=kept.record,
            owner=f"flow run {flow_run.name}",
            owner_state=flow_run.state_name or "no state",
            standing=standing,
            renew=partial(self._renewed, kept),
            store=KnownRecords.of(kept),
            key=kept.key,
            flow_run_id=str(flow_run.id),
            credentials=kept.credentials,
        )

    def _renewed(self, kept: KeptRecord) -> FlowRunClaim | None:
        now = [now for now in kept_as(kept) if now.key == kept.key and self._counts(now)]
        return next(self._claims_of(now), None)

    def _counts(self, kept: KeptRecord) -> bool:
        of_account = self.blocks is None or kept.credentials in ("", *self.blocks)
        return of_account and not kept.taken

    def _end_of(self, flow_run: FlowRun) -> StateType | None:
        """The state in which a run has ended, or is taken to have ended; `None` while it may be alive."""
        state = flow_run.state
        if state is None:
            return None
        if state.is_final():
            return _ended_as(state)
        if (around := _run_around(flow_run)) is not None:  # a killed process leaves its subflows "running"
            return self._end_of(around)
        age = datetime.now(UTC) - state.timestamp
        if state.type is StateType.CANCELLING and age > self.cancelling_for:
            return StateType.CANCELLED
        if state.type is StateType.RUNNING and self.dead_after is not None and age > self.dead_after:
            return StateType.CRASHED
        return None

    def _records(self) -> list[KeptRecord]:
        """The records of the runs to look at, each once."""
        since = datetime.now(UTC) - timedelta(days=self.days)
        unfinished = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNFINISHED)))
        recent = FlowRunFilter(start_time=FlowRunFilterStartTime(after_=since))
        found = {kept.artifact_id: kept for chosen in (unfinished, recent) for kept in kept_in(chosen)}
        return [kept for kept in found.values() if self._counts(kept)]


def _read_runs(flow_run_ids: Sequence[UUID]) -> Iterator[FlowRun]:
    """Flow runs by their ids, except those that were deleted."""
    with get_client(sync_client=True) as client:
        for start in range(0, len(flow_run_ids), _PAGE):
            chosen = FlowRunFilter(id=FlowRunFilterId(any_=list(flow_run_ids[start : start + _PAGE])))
            yield from client.read_flow_runs(flow_run_filter=chosen, limit=_PAGE)


def _run_around(flow_run: FlowRun) -> FlowRun | None:
    """The run whose process runs this one as a subflow; `None` for one with a process of its own."""
    if flow_run.parent_task_run_id is None or flow_run.deployment_id is not None:
        return None
    with get_client(sync_client=True) as client:
        try:
            parent = client.read_task_run(flow_run.parent_task_run_id).flow_run_id
            return client.read_flow_run(parent) if parent else None
        except ObjectNotFound:
            return None


def _ended_as(state: State[Any]) -> StateType:
    """A run that only its runner's own end has cancelled counts as crashed: whoever runs it again wants its jobs."""
    return StateType.CRASHED if state.type is StateType.CANCELLED and was_evicted(state) else state.type
