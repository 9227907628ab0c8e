"""A census: what runs remotely at this moment, whoever has submitted it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from together_flows.api import files
from together_flows.errors import AuthenticationFailed, TogetherError
from together_flows.jobs.ending import look
from together_flows.jobs.kind import KINDS, JobKind, kind_named
from together_flows.jobs.model import JobReference, JobState, JobStatus, Row
from together_flows.jobs.pricing import hourly_usd
from together_flows.jobs.record import marker_in
from together_flows.jobs.steps import Log, Send, Steps

__all__ = ["Census", "RunningJob", "Unlisted", "census", "looked_up", "still_runs"]


@dataclass(frozen=True, kw_only=True)
class RunningJob:
    """A job that runs remotely, or that costs money there.

    Attributes:
        status: what the API says of it, with its full row.
        marker: the marker of ours that it carries; empty if it carries none, or if its kind cannot show one.
        created_at: when it was created by the API's clock, in seconds since the epoch; `None` where the API does not
            tell.
        usd_per_hour: what it costs; `None` where the API has no price by the hour.
    """

    status: JobStatus
    marker: str = ""
    created_at: float | None = None
    usd_per_hour: float | None = None

    @property
    def reference(self) -> JobReference:
        """Which job."""
        return self.status.reference


@dataclass(frozen=True)
class Unlisted:
    """A kind that could not be listed.

    Attributes:
        kind: its name.
        error: why.
    """

    kind: str
    error: TogetherError


@dataclass(frozen=True)
class Census:
    """What runs, and what could not be seen.

    Attributes:
        jobs: what runs.
        listed: every job that a list has shown, also those that have ended.
        unlisted: the kinds whose list could not be read.
    """

    jobs: tuple[RunningJob, ...]
    listed: frozenset[JobReference] = frozenset()
    unlisted: tuple[Unlisted, ...] = ()


def still_runs(status: JobStatus) -> bool:
    """Whether a job goes on, or bills. What was stopped for good does neither, even if it is still there to be read."""
    return status.state is not JobState.CANCELLED and status.state not in kind_named(status.reference.kind).over


def census() -> Steps[Census]:
    """Steps that ask what runs, of every kind that can be listed.

    Files are left out: they cost nothing and do not run.

    Raises:
        AuthenticationFailed: the key is wrong. Any other failure to list a kind is noted in the answer.
    """
    found: list[JobStatus] = []
    listed: set[JobReference] = set()
    unlisted: list[Unlisted] = []
    for kind in map(kind_named, KINDS):
        if kind.list_all is None or kind.repeatable:
            continue
        try:
            statuses = yield from _listed(kind)
        except AuthenticationFailed:
            raise
        except TogetherError as error:
            unlisted.append(Unlisted(kind.name, error))
        else:
            listed |= {status.reference for status in statuses}
            found += yield from _in_full(kind, statuses)
    return Census((yield from _described(found)), frozenset(listed), tuple(unlisted))


def looked_up(references: Collection[JobReference]) -> Steps[tuple[RunningJob, ...]]:
    """Steps that ask which of these jobs run, one by one: for those that no list shows.

    Args:
        references: the jobs.

    Raises:
        AuthenticationFailed: the key is wrong.
    """
    found = []
    for reference in references:
        status = yield from _looked_at(reference)
        if status is not None:
            found.append(status)
    return (yield from _described(found))


def _described(statuses: Collection[JobStatus]) -> Steps[tuple[RunningJob, ...]]:
    """Those that run, with their markers and prices."""
    running = [status for status in statuses if still_runs(status)]
    markers = yield from _markers(running)
    prices = yield from hourly_usd([(status.reference.kind, status.row) for status in running])
    return tuple(
        RunningJob(status=status, marker=marker, created_at=_created_at(status.row), usd_per_hour=price)
        for status, marker, price in zip(running, markers, prices, strict=True)
    )


def _listed(kind: JobKind) -> Steps[list[JobStatus]]:
    """The jobs of a kind as its list shows them."""
    assert kind.list_all is not None
    answer = yield Send(kind.list_all().untyped())
    return [kind.status(row, job_id) for job_id, row in kind.jobs_in(answer).items()]


def _in_full(kind: JobKind, statuses: list[JobStatus]) -> Steps[list[JobStatus]]:
    """The same, read one by one where the list's rows do not show the marker."""
    if not kind.marker_in_full_row:
        return statuses
    full = []
    for status in filter(still_runs, statuses):
        seen = yield from _looked_at(status.reference)
        if seen is not None:
            full.append(seen if seen.row else status)
    return full


def _looked_at(reference: JobReference) -> Steps[JobStatus | None]:
    """One job by itself; `None` if it is gone. One that cannot be read now is taken to run."""
    try:
        return (yield from look(kind_named(reference.kind), reference.id))
    except AuthenticationFailed:
        raise
    except TogetherError as error:
        yield Log(f"{reference} cannot be read: {error}", "warning")
        return JobStatus(reference, JobState.RUNNING, raw="unknown", known=False)


def _markers(running: Collection[JobStatus]) -> Steps[list[str]]:
    """The marker of each job, empty where there is none."""
    kinds = {status.reference: kind_named(status.reference.kind) for status in running}
    names: Mapping[str, str] = {}
    if any(kind.marked_file for kind in kinds.values()):
        names = yield from _file_names()
    markers = []
    for status in running:
        kind = kinds[status.reference]
        text = kind.marked(status.row) if kind.marked else ""
        if kind.marked_file:
            text = names.get(kind.marked_file(status.row), "").removesuffix(".jsonl")
        markers.append(marker_in(text))
    return markers


def _file_names() -> Steps[Mapping[str, str]]:
    """The names of all files, by id; none where the API does not answer now."""
    kind = kind_named("file")
    try:
        rows = kind.jobs_in((yield Send(files.list().untyped())))
    except TogetherError as error:
        if isinstance(error, AuthenticationFailed):
            raise
        yield Log(f"The files cannot be listed, so no batch is recognised by its input file: {error}", "warning")
        return {}
    return {file_id: str(row.get("filename") or "") for file_id, row in rows.items()}


def _created_at(row: Row) -> float | None:
    """When a job was created. The API writes it as text, or as seconds since the epoch."""
    told: Any = row.get("created_at")
    if isinstance(told, int | float):
        return float(told)
    try:
        moment = datetime.fromisoformat(str(told))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
