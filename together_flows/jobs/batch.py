"""Batches. The API gives a batch no tag, so each submission reads an input file of its own: the file is the marker.

A specification names either `input_path`, a local file of which a copy with the marker in its white space is uploaded,
or `input_file_id`, a file that is on the server already. The first can be found again beyond doubt. The second cannot,
because another task may have submitted the same file: its lost answer ends in `SubmissionUnknown`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from together_flows.api import batches
from together_flows.datasets import salt
from together_flows.errors import ArgumentInvalid
from together_flows.jobs.ending import cancel_with
from together_flows.jobs.kind import JobKind, Prepared, content_not_place
from together_flows.jobs.model import JobState, Row, Spec
from together_flows.jobs.steps import Send, Steps, Upload

__all__ = ["KIND"]

_OWN_INPUT = "own_input_file_id"


def _prepare(spec: Spec, marker: str) -> Steps[Prepared]:
    arguments = dict(spec)
    path = arguments.pop("input_path", None)
    arguments.pop("input_sha256", None)
    if (path is None) == ("input_file_id" not in arguments):
        raise ArgumentInvalid("A batch takes either input_path or input_file_id.", mend="Give exactly one of the two.")
    if path is None:
        return Prepared(arguments, {})
    source = Path(path)
    with tempfile.TemporaryDirectory(prefix="together-batch-") as folder:
        own = Path(folder) / f"{source.stem}-{marker}.jsonl"
        salt(source, own, marker)
        file = yield Upload(own, purpose="batch-api", file_name=own.name)
    return Prepared({**arguments, "input_file_id": file.id}, {_OWN_INPUT: file.id})


def _carries(row: Row, marker: str, facts: Mapping[str, str]) -> bool:
    return facts.get(_OWN_INPUT) == row.get("input_file_id")


def _progress(row: Row) -> float | None:
    progress = row.get("progress")
    return min(max(progress / 100, 0.0), 1.0) if isinstance(progress, int | float) else None


def _manifest(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "input_file_id": row.get("input_file_id", ""),
        "output_file_id": row.get("output_file_id") or None,
        "error_file_id": row.get("error_file_id") or None,
        "status": row.get("status", ""),
    }


KIND = JobKind(
    name="batch",
    noun="batch",
    states={
        "validating": JobState.QUEUED,
        "in_progress": JobState.RUNNING,
        "canceling": JobState.RUNNING,
        "completed": JobState.SUCCEEDED,
        "failed": JobState.FAILED,
        "expired": JobState.EXPIRED,
        "cancelled": JobState.CANCELLED,
    },
    create=lambda spec: Send(batches.create(**spec)),
    read=batches.retrieve,
    list_all=batches.list,
    new_id=lambda answer: str(answer.job.id),
    progress=_progress,
    failure=lambda row: str(row.get("error") or ""),
    prepare=_prepare,
    marked_file=lambda row: str(row.get("input_file_id") or ""),
    carries=_carries,
    needs_facts=True,
    end=cancel_with(batches.cancel),
    manifest=_manifest,
    inputs=content_not_place,
)
