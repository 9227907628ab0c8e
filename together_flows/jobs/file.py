"""Files: uploaded once by content, then checked by the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from together_flows.api import files
from together_flows.jobs.kind import JobKind, content_not_place
from together_flows.jobs.model import JobState, Row, Spec
from together_flows.jobs.steps import Upload

__all__ = ["KIND"]


def _create(spec: Spec) -> Upload:
    path = Path(spec["path"])
    return Upload(path, purpose=spec["purpose"], file_name=spec.get("file_name") or path.name)


def _raw_status(row: Row) -> str:
    """Files tell their state in two ways, or not at all when they are of a purpose that is not checked."""
    if row.get("processing_status"):
        return str(row["processing_status"])
    return "running" if row.get("Processed") is False else "completed"


def _failure(row: Row) -> str:
    report = row.get("validation_report") or {}
    return str(report.get("error") or "The server refused the file's content.")


def _manifest(row: Row) -> dict[str, Any]:
    return {
        "file_id": row["id"],
        "file_name": row.get("filename", ""),
        "bytes": row.get("bytes"),
        "purpose": row.get("purpose", ""),
        "rows": (row.get("validation_report") or {}).get("nlines"),
    }


KIND = JobKind(
    name="file",
    noun="file",
    states={
        "pending": JobState.QUEUED,
        "queued": JobState.QUEUED,
        "running": JobState.RUNNING,
        "completed": JobState.SUCCEEDED,
        "failed": JobState.FAILED,
        "invalid_format": JobState.FAILED,
    },
    create=_create,
    read=files.retrieve,
    list_all=files.list,
    new_id=lambda answer: str(answer.id),
    raw_status=_raw_status,
    failure=_failure,
    lasting=lambda row: _raw_status(row).lower() == "invalid_format",
    repeatable=True,
    end_note="A file costs nothing and is shared by everybody who uploaded the same content, so it is kept.",
    manifest=_manifest,
    inputs=content_not_place,
)
