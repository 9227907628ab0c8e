"""Dedicated endpoints. They bill by the minute until somebody stops them, so their end is part of their life.

The marker travels in the display name, which only the full row shows: the list gives the candidates, by model, and each
is read.
"""

from __future__ import annotations

from typing import Any

from together_flows.api import endpoints
from together_flows.errors import ApiError, NotFound
from together_flows.jobs.ending import delete_with
from together_flows.jobs.kind import JobKind, carried_in
from together_flows.jobs.model import JobState, Row, Spec
from together_flows.jobs.steps import Log, Send, Steps

__all__ = ["KIND"]

_delete = delete_with(endpoints.delete)


def _mark(spec: Spec, marker: str) -> Spec:
    own = str(spec.get("display_name") or "").strip()
    return {**spec, "display_name": f"{own} [{marker}]" if own else marker}


def _marked(row: Row) -> str:
    return str(row.get("display_name") or "")


def _end(endpoint_id: str) -> Steps[None]:
    """Stop the billing first, then delete what is left. A refused stop does not keep the deletion from being tried."""
    try:
        yield Send(endpoints.update(endpoint_id, state="STOPPED"))
    except NotFound:
        return
    except ApiError as refusal:
        if refusal.retryable:
            raise
        yield Log(f"The API refused to stop {endpoint_id}; it is deleted as it is. {refusal}", "warning")
    yield from _delete(endpoint_id)


def _manifest(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row.get("name", ""),
        "model": row.get("model", ""),
        "hardware": row.get("hardware", ""),
        "display_name": row.get("display_name", ""),
        "state": row.get("state", ""),
    }


KIND = JobKind(
    name="endpoint",
    noun="dedicated endpoint",
    states={
        "pending": JobState.QUEUED,
        "starting": JobState.RUNNING,
        "started": JobState.SUCCEEDED,
        "stopping": JobState.RUNNING,
        "stopped": JobState.CANCELLED,
        "error": JobState.FAILED,
        "failed": JobState.FAILED,
    },
    create=lambda spec: Send(endpoints.create(**spec)),
    read=endpoints.retrieve,
    list_all=lambda: endpoints.list(type="dedicated"),
    new_id=lambda answer: str(answer.id),
    raw_status=lambda row: str(row["state"]),
    failure=lambda row: f"The endpoint is in state {row.get('state')}.",
    mark=_mark,
    marked=_marked,
    carries=carried_in(_marked),
    marker_in_full_row=True,
    candidate=lambda row, spec: "model" not in spec or row.get("model") in (None, spec["model"]),
    end=_end,
    bills_until_stopped=True,
    over=(),
    manifest=_manifest,
)
