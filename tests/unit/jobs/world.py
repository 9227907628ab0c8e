"""A small Together for the flows of `jobs`: it performs steps in memory, on its own clock, and can fail at any step."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

from tests.unit.jobs.surfaces import SURFACES, Surface, surface_of
from together_flows.api import Operation
from together_flows.errors import Conflict, ConnectionFailed, NotFound, SubmissionUnknown, TogetherError
from together_flows.jobs.record import JobRecord, Phase
from together_flows.jobs.steps import Elapsed, Load, Log, Now, Save, Send, Sleep, Step, Steps, Upload


class Crash(BaseException):
    """The process died."""


@dataclass
class RemoteJob:
    """A job as the world keeps it. It exists from `created` on; `key` is the idempotency key it was created with."""

    id: str
    kind: str
    body: dict[str, Any]
    created: float
    status: str
    key: str | None = None


@dataclass
class Remote:
    """What exists on the server.

    Attributes:
        now: the time that everybody agrees on.
        call_seconds: how long each call takes before it has an effect.
        shows_after: seconds until a created job shows in a list.
        lost_answers: how many of the next creations take effect and answer nothing.
        lost_requests: how many of the next creations answer nothing and take no effect.
        late: seconds after which a creation with a lost answer takes effect.
        refuse: the error that an operation is answered with, if any.
        caller: who sends the operations just now.
        births: who made which job; without those that the server refused after all.
        endings: who asked for the end of which job while it ran.
    """

    now: float = 1_000.0
    call_seconds: float = 0.0
    shows_after: float = 0.0
    lost_answers: int = 0
    lost_requests: int = 0
    late: float = 0.0
    jobs: dict[str, RemoteJob] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    refuse: Callable[[Operation[Any]], TogetherError | None] = lambda operation: None
    caller: str = ""
    births: dict[str, str] = field(default_factory=dict)
    endings: list[tuple[str, str]] = field(default_factory=list)
    _numbers: Any = field(default_factory=itertools.count)

    def perform(self, operation: Operation[Any]) -> Any:
        self.sent.append(operation.name)
        self.now += self.call_seconds
        if refusal := self.refuse(operation):
            raise refusal
        if operation.name == "fine_tunes.list_events":
            return {"data": self.events}
        if operation.name == "files.retrieve":
            return self._file(operation.path.rpartition("/")[2])
        kind, surface = surface_of(operation.name)
        if operation.name in surface.create:
            return self._create(kind, surface, operation)
        if operation.name == surface.list:
            jobs = [job for job in self.jobs.values() if job.kind == kind and self._is_listed(job)]
            return surface.listed([self._listed_row(job, surface) for job in jobs])
        job = self._named(kind, surface, operation)
        if operation.name in surface.end:
            self._end(job, surface, operation)
        return self.row(job)

    def upload(self, step: Upload) -> Any:
        content = step.path.read_bytes()
        for file_id, known in self.files.items():
            if known == content:
                return _Named(id=file_id)
        file_id = f"file-{len(self.files)}"
        self.files[file_id] = content
        return _Named(id=file_id)

    def _file(self, file_id: str) -> dict[str, Any]:
        if file_id not in self.files:
            raise NotFound("no such file", status_code=404)
        return {"id": file_id, "processing_status": "COMPLETED"}

    def row(self, job: RemoteJob) -> dict[str, Any]:
        surface = SURFACES[job.kind]
        return {**surface.shown(job.body), surface.id_key: job.id, surface.status_key: job.status}

    def running(self) -> list[str]:
        """The jobs that exist and to which nothing has happened yet."""
        return [job.id for job in self.jobs.values() if job.status == SURFACES[job.kind].begins]

    def finish(self, job_id: str, status: str) -> None:
        self.jobs[job_id].status = status

    def _create(self, kind: str, surface: Surface, operation: Operation[Any]) -> Any:
        lost = ConnectionFailed("time-out") if operation.repeatable else SubmissionUnknown("time-out")
        if self.lost_requests:
            self.lost_requests -= 1
            self.now += 60
            raise lost
        job = self._first_under(operation.headers.get("Idempotency-Key")) or self._born(kind, surface, operation)
        if self.lost_answers:
            self.lost_answers -= 1
            job.created += self.late
            self.now += 60
            raise lost
        return operation.parse(surface.born(self.row(job)))

    def _first_under(self, key: str | None) -> RemoteJob | None:
        return next((job for job in self.jobs.values() if key and job.key == key), None)

    def _born(self, kind: str, surface: Surface, operation: Operation[Any]) -> RemoteJob:
        body = dict(operation.body or {})
        for rival in [job for job in self.jobs.values() if surface.unique and job.kind == kind]:
            if rival.body[surface.unique] == body[surface.unique]:
                if self._exists(rival):
                    raise Conflict("the name is taken", status_code=409)
                # It is under way still, and will be refused when it arrives.
                del self.jobs[rival.id]
                self.births.pop(rival.id, None)
        key = operation.headers.get("Idempotency-Key")
        job = RemoteJob(f"{kind}-{next(self._numbers)}", kind, body, self.now, surface.begins, key)
        self.jobs[job.id] = job
        self.births[job.id] = self.caller
        return job

    def _end(self, job: RemoteJob, surface: Surface, operation: Operation[Any]) -> None:
        self.cancelled.append(job.id)
        if job.status == surface.begins:
            self.endings.append((self.caller, job.id))
        if surface.ends is not None:
            job.status = surface.ends
        elif operation.name == surface.end[-1]:
            del self.jobs[job.id]

    def _listed_row(self, job: RemoteJob, surface: Surface) -> dict[str, Any]:
        return {key: value for key, value in self.row(job).items() if key not in surface.hidden}

    def _exists(self, job: RemoteJob) -> bool:
        return self.now >= job.created

    def _is_listed(self, job: RemoteJob) -> bool:
        return self.now >= job.created + self.shows_after

    def _named(self, kind: str, surface: Surface, operation: Operation[Any]) -> RemoteJob:
        """The job whose id, or unique name, is in the request."""
        told = {unquote(part) for part in operation.path.split("/")}
        told |= {value for value in (*operation.query.values(), *(operation.body or {}).values()) if type(value) is str}
        for job in self.jobs.values():
            if job.kind == kind and told & {job.id, job.body.get(surface.unique)} and self._exists(job):
                return job
        raise NotFound("no such job", status_code=404)


@dataclass
class _Named:
    id: str


@dataclass
class Process:
    """One life of a process that drives flows. It dies at the step it is told to.

    Attributes:
        dies_at: number of the step to die at, counted from 1; 0 for never.
        after: whether the step takes effect before the death.
        ahead: seconds by which the clock of its machine is ahead of everybody's.
    """

    remote: Remote
    records: dict[str, JobRecord]
    key: str = "task"
    dies_at: int = 0
    after: bool = False
    ahead: float = 0.0
    log: list[str] = field(default_factory=list)
    steps: int = 0
    is_done: bool = False
    result: Any = None

    def drive(self, steps: Steps[Any]) -> Any:
        """Drive a flow to its end at one go."""
        self.begin(steps)
        while not self.is_done:
            self.advance()
        return self.result

    def begin(self, steps: Steps[Any]) -> Process:
        """Begin a flow that is then driven step by step."""
        self._flow, self.is_done = steps, False
        self._go_on(lambda: next(steps))
        return self

    def advance(self) -> None:
        """Perform one step."""
        self.steps += 1
        if self.steps == self.dies_at and not self.after:
            raise Crash
        try:
            value = self._perform(self._step)
        except TogetherError as error:
            failure = error
            self._go_on(lambda: self._flow.throw(failure))
            return
        if self.steps == self.dies_at:
            raise Crash
        self._go_on(lambda: self._flow.send(value))

    def die(self) -> None:
        """Die between two steps."""
        self._flow.close()

    def _go_on(self, resume: Callable[[], Step]) -> None:
        try:
            self._step = resume()
        except StopIteration as end:
            self.is_done, self.result = True, end.value

    def _perform(self, step: Step) -> Any:
        self.remote.caller = self.key
        match step:
            case Send(operation):
                return self.remote.perform(operation)
            case Upload():
                return self.remote.upload(step)
            case Sleep(seconds):
                self.remote.now += seconds
            case Now():
                return self.remote.now + self.ahead
            case Elapsed():
                return self.remote.now
            case Log(message, _):
                self.log.append(message)
            case Load():
                return self.records.get(self.key)
            case Save(record):
                if step.applies(self.records.get(self.key)):
                    # As plain data and back, because that is what every store does.
                    self.records[self.key] = JobRecord.from_dict(record.to_dict())
        return None


def waiting_record(record: JobRecord) -> JobRecord:
    """The record of a task that gave up its process."""
    return replace(record, phase=Phase.WAITING)
