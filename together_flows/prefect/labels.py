"""Job records as labels of a flow run: how they are written down, and how they get to the server and back."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterId,
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from together_flows.errors import TogetherError
from together_flows.jobs import JobRecord, TaskOutcome
from together_flows.prefect.identity import Owner

__all__ = ["Label", "failed_forerunners", "labels_in", "labels_of", "with_subflows", "write_labels"]

#: What the names of our labels begin with.
PREFIX = "together.job."
_TRIES = 5
_BUSY = 503
#: Seconds between quick tries to write labels.
_PAUSES = (0.02, 0.05, *[0.1] * 12)


@dataclass(frozen=True)
class Label:
    """A job record as a label holds it.

    Attributes:
        key: the label's name without the prefix.
        record: the job record.
        credentials: name of the credentials block of the job's account; empty if it is not saved.
        attempt: attempt of the flow run that wrote it.
        taken: whether a later task run has taken the record over.
    """

    key: str
    record: JobRecord
    credentials: str = ""
    attempt: int = 1
    taken: bool = False

    def dump(self) -> dict[str, str]:
        """As a label's name and value."""
        data = {"credentials": self.credentials, "attempt": self.attempt, "taken": self.taken}
        text = json.dumps({**self.record.to_dict(), **{k: v for k, v in data.items() if v}}, separators=(",", ":"))
        return {PREFIX + self.key: text}

    @classmethod
    def parse(cls, key: str, text: str) -> Label:
        """Read what `dump` wrote."""
        data = json.loads(text)
        return cls(
            key=key,
            record=JobRecord.from_dict(data),
            credentials=str(data.get("credentials", "")),
            attempt=int(data.get("attempt", 1)),
            taken=bool(data.get("taken", False)),
        )

    def is_open_to(self, owner: Owner) -> bool:
        """Whether a task run of that owner may take the record over."""
        return not self.taken and (self.attempt < owner.attempt or self.record.outcome is TaskOutcome.FAILED)


def labels_in(raw: Mapping[str, Any]) -> list[Label]:
    """Our labels among those of a flow run, oldest job first."""
    found = [Label.parse(name.removeprefix(PREFIX), str(text)) for name, text in raw.items() if name.startswith(PREFIX)]
    return sorted(found, key=lambda label: label.record.intent_at)


def labels_of(flow_run_id: UUID) -> list[Label]:
    """Our labels of a flow run, read from the server right now."""
    with get_client(sync_client=True) as client:
        return labels_in(client.read_flow_run(flow_run_id).labels)


def failed_forerunners(flow_run_id: UUID) -> list[UUID]:
    """The runs of the same flow, under the same parent run, that have failed or crashed.

    When a flow run is tried again, Prefect starts a new run for a subflow that has failed. The new run is to find what
    the failed one has submitted.
    """
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(flow_run_id)
        if flow_run.parent_task_run_id is None:
            return []
        parent = client.read_task_run(flow_run.parent_task_run_id).flow_run_id
        if parent is None:
            return []
        found = client.read_flow_runs(
            flow_filter=FlowFilter(id=FlowFilterId(any_=[flow_run.flow_id])),
            flow_run_filter=FlowRunFilter(
                parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[parent]),
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.FAILED, StateType.CRASHED])),
            ),
        )
    return [run.id for run in found if run.id != flow_run_id]


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


def write_labels(flow_run_id: UUID, *labels: Label) -> None:
    """Write labels, and return when they have been read back.

    The server merges labels by reading and writing all of them, so two processes that write at once can undo each
    other.

    Raises:
        TogetherError: the server did not keep them.
    """
    wanted = {name: text for label in labels for name, text in label.dump().items()}
    with get_client(sync_client=True) as client:
        for _ in range(_TRIES):
            _update(client, flow_run_id, wanted)
            kept = client.read_flow_run(flow_run_id).labels
            if all(kept.get(name) == text for name, text in wanted.items()):
                return
    raise TogetherError(
        f"The Prefect server did not keep a job record on flow run {flow_run_id}.",
        mend="Nothing was submitted without a record; a retry of the task goes on from the last one.",
        retryable=True,
    )


def _update(client: SyncPrefectClient, flow_run_id: UUID, labels: Mapping[str, str]) -> None:
    """Merge labels into those of a flow run.

    A server on SQLite answers 503 when another write came in between, and Prefect's client then waits for 2 seconds.
    Such a conflict is over in milliseconds, so it is tried again at once before it is left to that patience.
    """
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        for pause in _PAUSES:
            try:
                client.update_flow_run_labels(flow_run_id, dict(labels))
            except PrefectHTTPStatusError as refusal:
                if refusal.response.status_code != _BUSY:
                    raise
                time.sleep(pause)
            else:
                return
    client.update_flow_run_labels(flow_run_id, dict(labels))
