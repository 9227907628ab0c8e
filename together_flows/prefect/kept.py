"""Job records as artifacts of a flow run: how they are written down, and how they get to the server and back.

Each record is an artifact of its own, so that writing one is one statement of the server's database: it cannot undo
what another task has written, costs the same however many jobs a run has, and is on the server when the answer is
there. Its type is "result", which is what Prefect's pages do not show.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterId,
    ArtifactFilterType,
)
from prefect.client.schemas.objects import Artifact
from prefect.client.schemas.sorting import ArtifactSort
from prefect.exceptions import PrefectHTTPStatusError

from together_flows.jobs import JobRecord, TaskOutcome
from together_flows.prefect.identity import Owner
from together_flows.prefect.paging import every

__all__ = ["KeptRecord", "delete", "kept_as", "kept_by", "latest_by_marker", "write"]

_TYPE = "result"
#: Where the key stands among an artifact's data. What has none is not ours.
_KEY = "together_job"
_DESCRIPTION = "What together_flows knows of one remote job."
_NOT_FOUND = 404


@dataclass(frozen=True)
class KeptRecord:
    """A job record as an artifact holds it.

    Attributes:
        key: what the record is found by within its flow run.
        record: the job record.
        credentials: name of the credentials block of the job's account; empty if it is not saved.
        attempt: attempt of the flow run that wrote it.
        taken: whether another task run has taken the record over, and keeps it in an artifact of its own.
        leaves: whether a person who stops the flow does not stop this job, if it ends by itself.
        version: how often it was written.
        flow_run_id: the flow run; `None` outside one.
        artifact_id: the artifact; `None` before there is one.
    """

    key: str
    record: JobRecord
    credentials: str = ""
    attempt: int = 1
    taken: bool = False
    leaves: bool = False
    version: int = 0
    flow_run_id: UUID | None = None
    artifact_id: UUID | None = None

    def dump(self) -> dict[str, Any]:
        """As an artifact's data."""
        names = ("credentials", "attempt", "taken", "leaves", "version")
        return {_KEY: self.key, **{name: getattr(self, name) for name in names}, **self.record.to_dict()}

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
            leaves=bool(data.get("leaves")),  # a record of before this was known has none
            version=int(data["version"]),
            flow_run_id=artifact.flow_run_id,
            artifact_id=artifact.id,
        )

    @property
    def names(self) -> set[str]:
        """What no other record of the flow run has. The key of one that was taken over is free for its task again."""
        return {self.record.marker} if self.taken else {self.record.marker, self.key}

    def is_open_to(self, owner: Owner) -> bool:
        """Whether a task run of that owner may take the record over."""
        return not self.taken and (self.attempt < owner.attempt or self.record.outcome is TaskOutcome.FAILED)


def kept_by(*flow_run_ids: UUID) -> list[KeptRecord]:
    """The records of flow runs, read from the server right now, oldest job first."""
    if not flow_run_ids:
        return []
    of_runs = ArtifactFilterFlowRunId(any_=list(flow_run_ids))
    return _read(ArtifactFilter(type=ArtifactFilterType(any_=[_TYPE]), flow_run_id=of_runs))


def kept_as(kept: KeptRecord) -> list[KeptRecord]:
    """What a record's artifact holds right now, if it is still there."""
    assert kept.artifact_id is not None
    return _read(ArtifactFilter(id=ArtifactFilterId(any_=[kept.artifact_id])))


def _read(chosen: ArtifactFilter) -> list[KeptRecord]:
    """The records in artifacts, each once.

    A record may have several: Prefect's client creates once more what it got no answer for, and whoever takes a record
    over writes it down anew. All but the one that counts are left out: it is of the latest attempt, and there the
    latest version, and there the first that came.
    """
    with get_client(sync_client=True) as client:
        artifacts = list(
            every(
                lambda offset: client.read_artifacts(
                    artifact_filter=chosen, sort=ArtifactSort.CREATED_DESC, offset=offset
                )
            )
        )
    parsed = map(KeptRecord.parse, reversed(artifacts))
    found: list[KeptRecord] = []
    seen: set[tuple[UUID | None, str]] = set()
    for kept in sorted(filter(None, parsed), key=lambda kept: (-kept.attempt, -kept.version)):
        names = {(kept.flow_run_id, name) for name in kept.names}
        if seen.isdisjoint(names):
            found.append(kept)
            seen |= names
    return sorted(found, key=lambda kept: kept.record.intent_at)


def latest_by_marker(records: Iterable[KeptRecord]) -> list[KeptRecord]:
    """Of the records of several flow runs, the one of each job that was written on."""
    found: dict[str, KeptRecord] = {}
    for kept in sorted(records, key=lambda kept: -kept.version):
        found.setdefault(kept.record.marker, kept)
    return list(found.values())


def delete(kept: KeptRecord) -> None:
    """Take a record from the server."""
    assert kept.artifact_id is not None
    with get_client(sync_client=True) as client:
        client.delete_artifact(kept.artifact_id)


def write(kept: KeptRecord) -> KeptRecord:
    """Put a record on the server, in its artifact, or in a new one. Answers with the record as it is kept then."""
    kept = replace(kept, version=kept.version + 1)
    with get_client(sync_client=True) as client:
        if kept.artifact_id is None or not _update(client, kept.artifact_id, kept.dump()):
            wanted = ArtifactCreate(
                type=_TYPE, description=_DESCRIPTION, data=kept.dump(), flow_run_id=kept.flow_run_id
            )
            kept = replace(kept, artifact_id=client.create_artifact(wanted).id)
    return kept


def _update(client: SyncPrefectClient, artifact_id: UUID, data: dict[str, Any]) -> bool:
    """Whether an artifact was there to be written."""
    try:
        client.update_artifact(artifact_id, ArtifactUpdate(data=data))
    except PrefectHTTPStatusError as refusal:
        if refusal.response.status_code != _NOT_FOUND:
            raise
        return False
    return True
