"""Claims on remote jobs by flow runs: what their job records hold, and how the runs stand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain, islice
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound

from together_flows.jobs.claim import Claim, Standing
from together_flows.prefect.interruption import was_evicted
from together_flows.prefect.kept import KeptRecord, kept_by
from together_flows.prefect.records import KnownRecords
from together_flows.prefect.related_runs import flow_runs

__all__ = ["FlowRunClaim", "PrefectClaims", "standing_of"]

#: Flow runs whose records are read with one request.
_AT_ONCE = 100
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
        for some in _batched(self._runs()):
            for claim, kept in self._claims_of(some):
                if self._counts(kept):
                    yield claim

    def _claims_of(self, runs: Collection[FlowRun]) -> Iterator[tuple[FlowRunClaim, KeptRecord]]:
        by_run: defaultdict[UUID | None, list[KeptRecord]] = defaultdict(list)
        for kept in kept_by(*(flow_run.id for flow_run in runs)):
            by_run[kept.flow_run_id].append(kept)
        for flow_run in runs:
            if records := by_run[flow_run.id]:
                standing = standing_of(self._end_of(flow_run))
                for kept in records:
                    # Work that a cancellation was to leave stands as that of a failed run: a re-run adopts it.
                    left = kept.leaves and standing is Standing.CANCELLED
                    yield self._claim(flow_run, Standing.FAILED if left else standing, kept), kept

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
        """The claim as it is now. What another flow run has taken over is wanted, until the next sweep says of whom."""
        assert kept.flow_run_id is not None
        try:
            with get_client(sync_client=True) as client:
                flow_run = client.read_flow_run(kept.flow_run_id)
        except ObjectNotFound:
            return None
        for claim, now in self._claims_of([flow_run]):
            if now.record.marker == kept.record.marker:
                return replace(claim, standing=Standing.ACTIVE) if now.taken else claim
        return None

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

    def _runs(self) -> Iterator[FlowRun]:
        """The runs to look at, each once."""
        since = datetime.now(UTC) - timedelta(days=self.days)
        unfinished = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNFINISHED)))
        recent = FlowRunFilter(start_time=FlowRunFilterStartTime(after_=since))
        seen: set[UUID] = set()
        for flow_run in chain(flow_runs(unfinished), flow_runs(recent)):
            if flow_run.id not in seen:
                seen.add(flow_run.id)
                yield flow_run


def _batched(runs: Iterator[FlowRun]) -> Iterator[list[FlowRun]]:
    return iter(lambda: list(islice(runs, _AT_ONCE)), [])


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
