"""A small Together for the flows of `jobs`: it performs steps in memory, on its own clock, and can fail at any step."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from together_flows.api import Operation
from together_flows.errors import NotFound, SubmissionUnknown, TogetherError
from together_flows.jobs.record import JobRecord
from together_flows.jobs.steps import Load, Log, Now, Save, Send, Sleep, Step, Steps, Upload


class Crash(BaseException):
    """The process died."""


@dataclass
class RemoteJob:
    """A job as the world keeps it."""

    id: str
    kind: str
    body: dict[str, Any]
    created: float
    status: str


@dataclass
class Remote:
    """What exists on the server.

    Attributes:
        now: the time that everybody agrees on.
        shows_after: seconds until a created job shows in a list.
        lost_answers: how many of the next creations take effect and answer nothing.
        lost_requests: how many of the next creations answer nothing and take no effect.
        late: seconds after which a creation with a lost answer takes effect.
    """

    now: float = 1_000.0
    shows_after: float = 0.0
    lost_answers: int = 0
    lost_requests: int = 0
    late: float = 0.0
    jobs: dict[str, RemoteJob] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    refuse: Callable[[Operation[Any]], TogetherError | None] = lambda operation: None
    _numbers: Any = field(default_factory=itertools.count)

    def perform(self, operation: Operation[Any]) -> Any:
        self.sent.append(operation.name)
        if refusal := self.refuse(operation):
            raise refusal
        group, verb = operation.name.split(".")
        match verb:
            case "create":
                return self._create(group, operation)
            case "list":
                rows = [self.row(job) for job in self.jobs.values() if job.kind == group and self._visible(job)]
                return rows if group in ("batches", "evaluation") else {"data": [self._shortened(row) for row in rows]}
            case "list_events":
                return {"data": []}
            case "retrieve":
                return self.row(self._job(operation))
            case "cancel" | "update" | "delete":
                job = self._job(operation)
                self.cancelled.append(job.id)
                job.status = "STOPPED" if group == "endpoints" else "CANCELLED" if group == "batches" else "cancelled"
                if verb == "delete":
                    del self.jobs[job.id]
                return self.row(job)
        raise AssertionError(operation.name)

    def upload(self, step: Upload) -> Any:
        content = step.path.read_bytes()
        for file_id, known in self.files.items():
            if known == content:
                return _Named(id=file_id)
        file_id = f"file-{len(self.files)}"
        self.files[file_id] = content
        return _Named(id=file_id)

    def row(self, job: RemoteJob) -> dict[str, Any]:
        status = {"state": job.status} if job.kind == "endpoints" else {"status": job.status}
        return {**job.body, "id": job.id, **status}

    def running(self) -> list[str]:
        return [job.id for job in self.jobs.values() if job.status.lower() in ("running", "in_progress", "started")]

    def finish(self, job_id: str, status: str) -> None:
        self.jobs[job_id].status = status

    def _create(self, group: str, operation: Operation[Any]) -> Any:
        if self.lost_requests:
            self.lost_requests -= 1
            self.now += 60
            raise SubmissionUnknown("time-out")
        status = {"batches": "IN_PROGRESS", "endpoints": "STARTED"}.get(group, "running")
        job = RemoteJob(f"{group}-{next(self._numbers)}", group, dict(operation.body or {}), self.now, status)
        self.jobs[job.id] = job
        if self.lost_answers:
            self.lost_answers -= 1
            job.created += self.late
            self.now += 60
            raise SubmissionUnknown("time-out")
        row = self.row(job)
        return operation.parse({"job": row} if group == "batches" else row)

    def _shortened(self, row: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in row.items() if key != "display_name"}

    def _visible(self, job: RemoteJob) -> bool:
        return self.now >= job.created + self.shows_after

    def _job(self, operation: Operation[Any]) -> RemoteJob:
        job_id = operation.path.split("/")[2]
        if job_id not in self.jobs:
            raise NotFound("no such job", status_code=404)
        return self.jobs[job_id]


@dataclass
class _Named:
    id: str


@dataclass
class Process:
    """One life of a process that drives flows. It dies at the step it is told to.

    Attributes:
        dies_at: number of the step to die at, counted from 1; 0 for never.
        after: whether the step takes effect before the death.
    """

    remote: Remote
    records: dict[str, JobRecord]
    key: str = "task"
    dies_at: int = 0
    after: bool = False
    log: list[str] = field(default_factory=list)
    steps: int = 0

    def drive(self, steps: Steps[Any]) -> Any:
        try:
            step = next(steps)
            while True:
                self.steps += 1
                if self.steps == self.dies_at and not self.after:
                    raise Crash
                try:
                    value = self._perform(step)
                except TogetherError as error:
                    step = steps.throw(error)
                    continue
                if self.steps == self.dies_at:
                    raise Crash
                step = steps.send(value)
        except StopIteration as end:
            return end.value

    def _perform(self, step: Step) -> Any:
        match step:
            case Send(operation):
                return self.remote.perform(operation)
            case Upload():
                return self.remote.upload(step)
            case Sleep(seconds):
                self.remote.now += seconds
            case Now():
                return self.remote.now
            case Log(message, _):
                self.log.append(message)
            case Load():
                return self.records.get(self.key)
            case Save(record):
                # As plain data and back, because that is what every store does.
                self.records[self.key] = JobRecord.from_dict(record.to_dict())
        return None


def waiting_record(record: JobRecord) -> JobRecord:
    """The record of a task that gave up its process."""
    from together_flows.jobs.record import Phase

    return replace(record, phase=Phase.WAITING)
