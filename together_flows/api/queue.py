"""The queue: work for the containers of a deployment, one job at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from together_flows.api._model import Answer, Name, Time
from together_flows.api._operation import operation

__all__ = ["QueueCancelled", "QueueJob", "QueueMetrics", "QueueSubmitted", "cancel", "metrics", "status", "submit"]


class QueueCancelled(Answer):
    """A job's status after the attempt: `canceled`; or what it was, if it could not be cancelled any more."""

    status: str


class QueueMetrics(Answer):
    """How many jobs run, wait, and are there in all."""

    messages_running: int | None = None
    messages_waiting: int | None = None
    total_jobs: int | None = None


class QueueJob(Answer):
    """A queued job.

    Attributes:
        status: pending and running go on; done succeeded; failed and canceled did not.
        info: what `submit` was given, and what the worker added.
        inputs: the payload.
        outputs: there once it is done.
        retries: how often it was started again.
    """

    request_id: str
    status: str
    model: str | None = None
    info: Mapping[str, Any] = Field(default_factory=dict)
    inputs: Mapping[str, Any] = Field(default_factory=dict)
    outputs: Mapping[str, Any] = Field(default_factory=dict)
    priority: int | None = None
    retries: int | None = None
    warnings: Sequence[str] = ()
    created_at: Time = None
    claimed_at: Time = None
    done_at: Time = None


class QueueSubmitted(Answer):
    """The id of a new job. The API has no list of jobs: without it the job cannot be found again."""

    request_id: str = Field(alias="requestId")
    error: dict[str, Any] | None = None


@operation("POST", "/queue/cancel", repeatable=True)
def cancel(*, model: Name, request_id: Name) -> QueueCancelled:
    """Cancel a job that still waits.

    Args:
        model: model that it was submitted to.
        request_id: the job.

    Raises:
        Conflict: it runs or is over.
    """


@operation("GET", "/queue/metrics")
def metrics(*, model: Name) -> QueueMetrics:
    """Count a model's jobs.

    Args:
        model: the model.
    """


@operation("GET", "/queue/status")
def status(*, request_id: Name, model: Name) -> QueueJob:
    """Read one job.

    Args:
        request_id: the job.
        model: model that it was submitted to.
    """


@operation("POST", "/queue/submit")
def submit(
    *,
    model: Name,
    payload: Mapping[str, Any],
    info: Mapping[str, Any] | None = None,
    priority: int | None = None,
) -> QueueSubmitted:
    """Submit a job.

    Args:
        model: model to submit it to.
        payload: what the model gets, as it is.
        info: notes that stay with the job.
        priority: higher goes first, 0 unless given; equals go in order.
    """
