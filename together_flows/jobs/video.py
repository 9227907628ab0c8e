"""Videos. The API has no list of them and nothing of a request in an answer, so a lost one cannot be found again."""

from __future__ import annotations

from typing import Any

from together_flows.api import videos
from together_flows.jobs.kind import JobKind
from together_flows.jobs.model import JobState, Row
from together_flows.jobs.steps import Send

__all__ = ["KIND"]


def _failure(row: Row) -> str:
    error = row.get("error") or {}
    return ": ".join(str(part) for part in (error.get("code"), error.get("message")) if part)


def _manifest(row: Row) -> dict[str, Any]:
    outputs = row.get("outputs") or {}
    return {
        "id": row["id"],
        "video_url": outputs.get("video_url"),  # not "url", which is the job's page wherever a manifest is shown
        "cost_usd": outputs.get("cost"),
        "model": row.get("model", ""),
        "seconds": row.get("seconds"),
        "size": row.get("size"),
    }


KIND = JobKind(
    name="video",
    noun="video",
    states={
        "queued": JobState.QUEUED,
        "in_progress": JobState.RUNNING,
        "completed": JobState.SUCCEEDED,
        "failed": JobState.FAILED,
    },
    create=lambda spec: Send(videos.create(**spec)),
    read=videos.retrieve,
    new_id=lambda answer: str(answer.id),
    failure=_failure,
    end_note="The API has no call that cancels a video; it ends by itself.",
    manifest=_manifest,
)
