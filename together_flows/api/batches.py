"""Batches: up to 50,000 inference requests in one file, answered within a day or so, often at half price."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from together_flows.api._model import Answer, Name, Time
from together_flows.api._operation import operation

__all__ = ["Batch", "BatchCreated", "cancel", "create", "list", "retrieve"]


class Batch(Answer):
    """A batch job.

    Attributes:
        id: a UUID.
        status: VALIDATING, IN_PROGRESS and CANCELING go on; COMPLETED is done, though single rows may have failed;
            FAILED, EXPIRED and CANCELLED are over and may have left results all the same.
        progress: percent, 0 to 100.
        output_file_id: file with the answers, in no order.
        error_file_id: file with the rows that failed; look here even after COMPLETED.
        error: what made the whole job fail.
        job_deadline: when the job expires.
    """

    id: str
    status: str
    user_id: str | None = None
    input_file_id: str | None = None
    file_size_bytes: int | None = None
    endpoint: str | None = None
    model_id: str | None = None
    progress: float | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    error: str | None = None
    created_at: Time = None
    completed_at: Time = None
    job_deadline: Time = None


class BatchCreated(Answer):
    """A new batch job, with what the API has to say about its input, if anything."""

    job: Batch
    warning: str | None = None


@operation("GET", "/batches")
def list() -> Sequence[Batch]:
    """List the account's batch jobs with their statuses. One call shows them all."""


@operation("POST", "/batches")
def create(
    *,
    endpoint: Literal["/v1/chat/completions", "/v1/completions", "/v1/audio/transcriptions", "/v1/audio/translations"]
    | str,
    input_file_id: Name,
    completion_window: str | None = None,
    priority: int | None = None,
    model_id: str | None = None,
) -> BatchCreated:
    """Start a batch job. Only rows that succeed are billed.

    Args:
        endpoint: the API that each row goes to.
        input_file_id: id of a JSONL file uploaded for batches: at most 50,000 rows and 100 MB, each row
            `{"custom_id": …, "body": …}` with a `custom_id` of its own of at most 64 characters (limits: Together's
            documentation of batches).
        completion_window: `24h`; the API takes nothing else.
        priority: higher goes first.
        model_id: the model, where the rows do not name it.

    Returns:
        The job, and perhaps a warning.

    Raises:
        BadRequest: the file is not there or not fit for batches.
        RateLimited: too many requests are waiting already.
    """


@operation("GET", "/batches/{id}")
def retrieve(id: str, /) -> Batch:
    """Read one batch job."""


@operation("POST", "/batches/{id}/cancel", repeatable=True)
def cancel(id: str, /) -> Batch:
    """Ask for a batch job's end. Rows answered so far stay, and are billed."""
