"""Training sessions of reinforcement learning. They bill until they are stopped.

The API gives a session no name and no tag. Model, adapter and moment do not tell it from one that another task started
alike at the same time, and to take over that one would spoil both trainings. So a lost session is not looked for.
"""

from __future__ import annotations

from typing import Any

from together_flows.api import rl
from together_flows.jobs.ending import delete_with
from together_flows.jobs.kind import JobKind
from together_flows.jobs.model import JobState, Row
from together_flows.jobs.steps import Send, Steps

__all__ = ["KIND"]

_PREFIX = "TRAINING_SESSION_STATUS_"
#: Most sessions a page of the list (API's reference). Those on other pages are read one by one.
_PAGE = 100
_OVER = (JobState.CANCELLED, JobState.EXPIRED, JobState.FAILED)
_STATES = {
    "creating": JobState.QUEUED,
    "running": JobState.SUCCEEDED,  # it is ready to be used
    "stopping": JobState.RUNNING,
    "stopped": JobState.CANCELLED,
    "error": JobState.FAILED,
    "expired": JobState.EXPIRED,
}

_stop = delete_with(rl.stop_session)


def _raw_status(row: Row) -> str:
    return str(row["status"]).removeprefix(_PREFIX)


def _end(session_id: str) -> Steps[None]:
    """Stop it, unless it has stopped already: sessions stay to be read, and the API refuses to stop one twice."""
    row = yield Send(rl.retrieve_session(session_id).untyped())
    if _STATES.get(_raw_status(row).lower()) not in _OVER:
        yield from _stop(session_id)


def _manifest(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "base_model": row.get("base_model", ""),
        "step": int(row.get("step") or 0),  # 64 bits: the API writes it as a number or as text
        "inference_checkpoints": [checkpoint["id"] for checkpoint in (row.get("inference_checkpoints") or ())[-10:]],
        "training_checkpoints": [checkpoint["id"] for checkpoint in (row.get("training_checkpoints") or ())[-10:]],
        "status": _raw_status(row),
    }


KIND = JobKind(
    name="rl_session",
    noun="training session",
    states=_STATES,
    create=lambda spec: Send(rl.create_session(**spec)),
    read=rl.retrieve_session,
    list_all=lambda: rl.list_sessions(limit=_PAGE),
    new_id=lambda answer: str(answer.id),
    raw_status=_raw_status,
    failure=lambda row: f"The session is in state {_raw_status(row)}",
    end=_end,
    bills_until_stopped=True,
    over=_OVER,
    manifest=_manifest,
)
