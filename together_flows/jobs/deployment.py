"""Deployments: containers that bill until they are deleted.

A deployment's name is its user's, and the API lets only one have it. So a lost one is looked for by its name, and it is
ours if its description carries the marker; of a name that somebody else has taken the API's refusal tells.
"""

from __future__ import annotations

from typing import Any

from together_flows.api import deployments
from together_flows.jobs.ending import delete_with
from together_flows.jobs.kind import JobKind, Prepared, carried_in
from together_flows.jobs.model import JobState, Row, Spec
from together_flows.jobs.steps import Send, Steps

__all__ = ["KIND"]

_NAME = "name"


def _prepare(spec: Spec, marker: str) -> Steps[Prepared]:
    yield from ()
    return Prepared(spec, {_NAME: str(spec["name"])} if spec.get("name") else {})


def _mark(spec: Spec, marker: str) -> Spec:
    return {**spec, "description": f"{spec.get('description') or ''} [{marker}]".strip()}


def _marked(row: Row) -> str:
    return str(row.get("description") or "")


def _failure(row: Row) -> str:
    """Why its replicas do not run: the API says it replica by replica."""
    events = (row.get("replica_events") or {}).values()
    words = [event.get("replica_status_message") or event.get("replica_status_reason") for event in events]
    return "; ".join(dict.fromkeys(str(word) for word in words if word)) or "No replica of it could be started."


def _manifest(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row.get("name", ""),
        "image": row.get("image", ""),
        "gpu_type": row.get("gpu_type", ""),
        "gpu_count": row.get("gpu_count"),
        "ready_replicas": row.get("ready_replicas"),
        "status": row.get("status", ""),
    }


KIND = JobKind(
    name="deployment",
    noun="deployment",
    states={
        "updating": JobState.RUNNING,
        "scaling": JobState.RUNNING,
        "ready": JobState.SUCCEEDED,
        "scaledtozero": JobState.SUCCEEDED,  # it serves as soon as there is work for it
        "failed": JobState.FAILED,
    },
    create=lambda spec: Send(deployments.create(**spec)),
    read=deployments.retrieve,
    list_all=deployments.list,
    new_id=lambda answer: str(answer.id),
    failure=_failure,
    mark=_mark,
    prepare=_prepare,
    marked=_marked,
    carries=carried_in(_marked),
    needs_facts=True,
    read_named=lambda facts: deployments.retrieve(facts[_NAME]),
    end=delete_with(deployments.delete),
    bills_until_stopped=True,
    over=(),
    manifest=_manifest,
)
