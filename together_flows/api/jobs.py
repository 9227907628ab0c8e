"""Jobs: the progress of model uploads."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from together_flows.api._model import Answer, Rows, Time
from together_flows.api._operation import operation

__all__ = ["Job", "JobArgs", "JobList", "StatusUpdate", "list", "retrieve"]


class StatusUpdate(Answer):
    """A change of a job's status."""

    status: str
    message: str = ""
    timestamp: Time = None


class JobArgs(Answer):
    """What the job was asked to do."""

    description: str | None = None
    model_name: str | None = Field(default=None, alias="modelName")
    model_source: str | None = Field(default=None, alias="modelSource")


class Job(Answer):
    """An upload job.

    Attributes:
        job_id: `job-…`.
        status: Queued and Running go on; Complete succeeded; Failed did not.
        type: `model_upload` or the like.
    """

    job_id: str
    status: str
    type: str = ""
    status_updates: Sequence[StatusUpdate] = ()
    args: JobArgs | None = None
    created_at: Time = None
    updated_at: Time = None


class JobList(Answer):
    """All upload jobs of the account."""

    data: Rows[Job]


@operation("GET", "/jobs/{jobId}")
def retrieve(job_id: str, /) -> Job:
    """Read one upload job."""


@operation("GET", "/jobs")
def list() -> JobList:
    """List the account's upload jobs with their statuses. One call shows them all."""
