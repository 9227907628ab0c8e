"""Jobs in the queue of a deployment. They are read by request id and model, so the id holds both.

The API has no list of them, and shows the notes that travel with a job only to whoever knows its request id: a lost one
cannot be found again.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

from together_flows.api import Operation, queue
from together_flows.errors import ArgumentInvalid
from together_flows.jobs.ending import cancel_with
from together_flows.jobs.kind import JobKind
from together_flows.jobs.manifest import small_part
from together_flows.jobs.model import JobState, Row
from together_flows.jobs.steps import Send

__all__ = ["KIND"]


def _job_id(model: str, request_id: str) -> str:
    return f"{quote(model, safe='')}/{quote(request_id, safe='')}"


def _parts(job_id: str) -> dict[str, str]:
    model, slash, request_id = job_id.partition("/")
    if not (model and slash and request_id) or "/" in request_id:
        raise ArgumentInvalid(
            f"{job_id!r} is not the id of a job in a queue.",
            mend="Write it as model/request_id, each quoted as in a URL, such as org%2Fmodel/req-1.",
        )
    return {"model": unquote(model), "request_id": unquote(request_id)}


def _read(job_id: str) -> Operation[queue.QueueJob]:
    return queue.status(**_parts(job_id))


def _cancel(job_id: str) -> Operation[queue.QueueCancelled]:
    return queue.cancel(**_parts(job_id))


def _failure(row: Row) -> str:
    """What the worker left: the API has no place of its own for the reason, and shows outputs and notes as they are."""
    places = ((row.get("outputs") or {}).get("error"), (row.get("info") or {}).get("error"))
    return next((str(words) for words in places if words), "; ".join(str(word) for word in row.get("warnings") or ()))


def _manifest(row: Row) -> dict[str, Any]:
    return {
        "id": row["request_id"],
        "model": row.get("model", ""),
        "retries": row.get("retries"),
        **small_part("outputs", row.get("outputs") or {}),
    }


KIND = JobKind(
    name="queue",
    noun="queue job",
    states={
        "pending": JobState.QUEUED,
        "running": JobState.RUNNING,
        "done": JobState.SUCCEEDED,
        "failed": JobState.FAILED,
        "canceled": JobState.CANCELLED,
    },
    create=lambda spec: Send(queue.submit(**spec)),
    read=_read,
    new_id=lambda answer: str(answer.request_id),
    whole_id=lambda request_id, spec: _job_id(str(spec["model"]), request_id),
    id_of=lambda row: _job_id(str(row["model"]), str(row["request_id"])),
    failure=_failure,
    end=cancel_with(_cancel, limit="The API cancels only a job that still waits; one that runs goes on to its end."),
    manifest=_manifest,
)
