"""Job records as artifacts of a flow run: how they are written down, and how they get to the server and back.

Each record is an artifact of its own, so that writing one is one statement of the server's database: it cannot undo
another process's, costs the same however many jobs a run has, and is on the server when the answer is there. Its type
is "result", which is what Prefect's pages do not show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterId,
    ArtifactFilterType,
    FlowRunFilter,
)
from prefect.client.schemas.objects import Artifact
from prefect.client.schemas.sorting import ArtifactSort

from together_flows.jobs import JobRecord, TaskOutcome
from together_flows.prefect.identity import Owner

__all__ = ["KeptRecord", "create", "kept_as", "kept_by", "kept_in", "update"]

_TYPE = "result"
_OURS = ArtifactFilterType(any_=[_TYPE])
#: Where the key stands among an artifact's data. What has none is not ours.
_KEY = "together_job"
_DESCRIPTION = "What together_flows knows of one remote job."
#: Artifacts that one request is answered with: Prefect's PREFECT_API_DEFAULT_LIMIT.
_PAGE = 200


@dataclass(frozen=True)
class KeptRecord:
    """A job record as an artifact holds it.

    Attributes:
        key: what the record is found by within its flow run.
        record: the job record.
        credentials: name of the credentials block of the job's account; empty if it is not saved.
        attempt: attempt of the flow run that wrote it.
        taken: whether another flow run has taken the record over.
        flow_run_id: the flow run; `None` outside one.
        artifact_id: the artifact; `None` before there is one.
    """

    key: str
    record: JobRecord
    credentials: str = ""
    attempt: int = 1
    taken: bool = False
    flow_run_id: UUID | None = None
    artifact_id: UUID | None = None

    def dump(self) -> dict[str, Any]:
        """As an artifact's data."""
        about = {"credentials": self.credentials, "attempt": self.attempt, "taken": self.taken}
        return {_KEY: self.key, **about, **self.record.to_dict()}

    @classmethod
    def parse(cls, artifact: Artifact) -> KeptRecord | None:
        """Read what `dump` wrote; `None` for an artifact of somebody else."""
        data = artifact.data
        if not isinstance(data, dict) or _KEY not in data:
            return None
        return cls(
            key=str(data[_KEY]),
            record=JobRecord.from_dict(data),
            credentials=str(data["credentials"]),
            attempt=int(data["attempt"]),
            taken=bool(data["taken"]),
            flow_run_id=artifact.flow_run_id,
            artifact_id=artifact.id,
        )

    def is_open_to(self, owner: Owner) -> bool:
        """Whether a task run of that owner may take the record over."""
        return not self.taken and (self.attempt < owner.attempt or self.record.outcome is TaskOutcome.FAILED)


def kept_by(*flow_run_ids: UUID) -> list[KeptRecord]:
    """The records of flow runs, read from the server right now, oldest job first."""
    of_runs = ArtifactFilterFlowRunId(any_=list(flow_run_ids))
    return _newest(ArtifactFilter(type=_OURS, flow_run_id=of_runs))


def kept_as(kept: KeptRecord) -> list[KeptRecord]:
    """What a record's artifact holds right now, if it is still there."""
    assert kept.artifact_id is not None
    return _newest(ArtifactFilter(id=ArtifactFilterId(any_=[kept.artifact_id])))


def kept_in(flow_runs: FlowRunFilter) -> list[KeptRecord]:
    """The records of all flow runs that a filter chooses, read from the server right now, oldest job first."""
    return _newest(ArtifactFilter(type=_OURS), flow_runs)


def _newest(artifacts: ArtifactFilter, flow_runs: FlowRunFilter | None = None) -> list[KeptRecord]:
    """The records in artifacts, each once.

    Prefect's client sends a request again whose answer was lost, so a record may have been created twice. Of two with
    one key or one marker the one that was written last counts.
    """
    found: list[KeptRecord] = []
    seen: set[tuple[UUID | None, str]] = set()
    for artifact in sorted(_pages(artifacts, flow_runs), key=_when_written, reverse=True):
        kept = KeptRecord.parse(artifact)
        if kept is None:
            continue
        names = {(kept.flow_run_id, kept.key), (kept.flow_run_id, kept.record.marker)}
        if seen.isdisjoint(names):
            found.append(kept)
        seen |= names
    return sorted(found, key=lambda kept: kept.record.intent_at)


def _pages(artifacts: ArtifactFilter, flow_runs: FlowRunFilter | None) -> Iterator[Artifact]:
    with get_client(sync_client=True) as client:
        offset = 0
        while page := client.read_artifacts(
            artifact_filter=artifacts,
            flow_run_filter=flow_runs,
            sort=ArtifactSort.CREATED_DESC,
            limit=_PAGE,
            offset=offset,
        ):
            yield from page
            if len(page) < _PAGE:
                return
            offset += len(page)


def _when_written(artifact: Artifact) -> Any:
    return artifact.updated or artifact.created


def create(kept: KeptRecord) -> KeptRecord:
    """Put a new record on the server."""
    wanted = ArtifactCreate(type=_TYPE, description=_DESCRIPTION, data=kept.dump(), flow_run_id=kept.flow_run_id)
    with get_client(sync_client=True) as client:
        return replace(kept, artifact_id=client.create_artifact(wanted).id)


def update(kept: KeptRecord) -> KeptRecord:
    """Write a record in place of what its artifact holds."""
    assert kept.artifact_id is not None
    with get_client(sync_client=True) as client:
        client.update_artifact(kept.artifact_id, ArtifactUpdate(data=kept.dump()))
    return kept
