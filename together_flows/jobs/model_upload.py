"""Uploads of models from elsewhere. The marker travels in the description, which the list of jobs shows."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from together_flows.api import jobs, models
from together_flows.jobs.kind import JobKind, carried_in
from together_flows.jobs.model import JobState, Row, Spec
from together_flows.jobs.steps import Send

__all__ = ["KIND"]

#: Parameters by which S3 signs an address, in lower case, by how they begin.
_SIGNING = ("x-amz-", "signature", "expires", "awsaccesskeyid")


def _mark(spec: Spec, marker: str) -> Spec:
    return {**spec, "description": f"{spec.get('description') or ''} [{marker}]".strip()}


def _marked(row: Row) -> str:
    return str((row.get("args") or {}).get("description") or "")


def _last_message(row: Row) -> str:
    updates = row.get("status_updates") or [{}]
    return str(updates[-1].get("message") or "")


def _unsigned(spec: Spec) -> Spec:
    """The specification without the signature of its source, which is another one each time that it is signed."""
    if not isinstance(spec.get("model_source"), str):
        return spec
    address = urlsplit(spec["model_source"])
    query = [(name, value) for name, value in parse_qsl(address.query) if not name.lower().startswith(_SIGNING)]
    return {**spec, "model_source": urlunsplit(address._replace(query=urlencode(query)))}


def _manifest(row: Row) -> dict[str, Any]:
    arguments = row.get("args") or {}
    return {
        "id": row["job_id"],
        "model": arguments.get("modelName", ""),
        "source": str(arguments.get("modelSource") or "").partition("?")[0],  # the rest signs the address
        "status": row.get("status", ""),
    }


KIND = JobKind(
    name="model_upload",
    noun="model upload",
    states={
        "queued": JobState.QUEUED,
        "running": JobState.RUNNING,
        "complete": JobState.SUCCEEDED,
        "completed": JobState.SUCCEEDED,
        "failed": JobState.FAILED,
    },
    create=lambda spec: Send(models.upload(**spec)),
    read=jobs.retrieve,
    list_all=jobs.list,
    new_id=lambda answer: str(answer.data.job_id),
    id_of=lambda row: str(row["job_id"]),
    failure=_last_message,
    mark=_mark,
    marked=_marked,
    carries=carried_in(_marked),
    end_note="The API has no call that cancels a model upload; it ends by itself and costs nothing.",
    manifest=_manifest,
    secret_arguments=("hf_token",),
    inputs=_unsigned,
)
