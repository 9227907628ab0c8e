"""Volumes that clusters share. The marker is the end of the name, as for clusters.

A volume bills until it is deleted, and it holds data, which no deletion gives back. So it is deleted only while it
cannot hold any: before it was ever available. Afterwards it outlives its task, like a file, and is ended by a person.
"""

from __future__ import annotations

from typing import Any

from together_flows.api import compute
from together_flows.jobs.cluster import marked_name
from together_flows.jobs.ending import delete_with
from together_flows.jobs.kind import JobKind, carried_in, rows_under
from together_flows.jobs.model import JobState, Row, Spec
from together_flows.jobs.steps import Log, Send, Steps

__all__ = ["KIND"]

_EMPTY = ("provisioning", "scheduled", "failed", "deleting")

_delete = delete_with(compute.delete_volume)


def _mark(spec: Spec, marker: str) -> Spec:
    return {**spec, "volume_name": marked_name(spec.get("volume_name"), marker)}


def _marked(row: Row) -> str:
    return str(row.get("volume_name") or "")


def _end(volume_id: str) -> Steps[None]:
    row = yield Send(compute.retrieve_volume(volume_id).untyped())
    if str(row["status"]).lower() in _EMPTY:
        yield from _delete(volume_id)
    else:
        yield Log(
            f"The volume {volume_id} is {row['status']} and may hold data, so it is kept, and billed. Delete it with "
            "compute.delete_volume when nobody needs it any more.",
            "warning",
        )


def _manifest(row: Row) -> dict[str, Any]:
    return {
        "id": row["volume_id"],
        "name": row.get("volume_name", ""),
        "size_tib": row.get("size_tib"),
        "status": row.get("status", ""),
    }


KIND = JobKind(
    name="shared_volume",
    noun="shared volume",
    states={
        "scheduled": JobState.QUEUED,
        "provisioning": JobState.RUNNING,
        "deleting": JobState.RUNNING,
        "available": JobState.SUCCEEDED,
        "bound": JobState.SUCCEEDED,
        "failed": JobState.FAILED,
        "access_revoked": JobState.FAILED,
        "unknown": JobState.FAILED,
    },
    create=lambda spec: Send(compute.create_volume(**spec)),
    read=compute.retrieve_volume,
    list_all=compute.list_volumes,
    rows=rows_under("volumes"),
    new_id=lambda answer: str(answer.volume_id),
    id_of=lambda row: str(row["volume_id"]),
    failure=lambda row: f"The volume is in state {row.get('status')}",
    mark=_mark,
    marked=_marked,
    carries=carried_in(_marked),
    end=_end,
    manifest=_manifest,
)
