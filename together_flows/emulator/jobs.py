"""Long-running work of every kind: stored facts, and a status that is a function of the facts and the clock.

A job holds the stages it goes through and when. Nothing ticks in the background: whoever asks at a moment gets the
stage of that moment, so a restart loses nothing. Work that takes real computing (checking a file, answering a batch)
runs once in a worker thread; the closing stage is added when its result is in.

A kind of job is one subclass of `JobKind`. Nothing else in the emulator asks which kind it has before it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import msgspec

from together_flows.emulator.refusals import Refusal

if TYPE_CHECKING:
    from together_flows.emulator.world import World

__all__ = ["Job", "JobKind", "JobTable", "Stage"]


class Stage(msgspec.Struct, frozen=True, array_like=True):
    """From the moment `at` (emulator seconds) on, the job has this raw status."""

    status: str
    at: float


class Job(msgspec.Struct, kw_only=True):
    """What is stored of a job. Moments are emulator seconds.

    Attributes:
        visible: from then on list routes show it; other routes do so at once.
        computed: whether the worker's result is in. Until then the last planned stage stands still.
        planned_end: when it closes, unless computing takes longer.
        doomed: the words with which it is to fail, set by failure injection.
    """

    id: str
    created: float
    visible: float
    stages: list[Stage]
    computed: bool = True
    planned_end: float = 0.0
    error: str = ""
    doomed: str = ""

    def stage(self, now: float) -> Stage:
        """The stage the job is in."""
        current = self.stages[0]
        for stage in self.stages:
            if stage.at > now:
                break
            current = stage
        return current

    def status(self, now: float) -> str:
        return self.stage(now).status

    def entered(self, status: str) -> float | None:
        """When the job enters, or entered, this status; None when that is not planned."""
        return next((stage.at for stage in self.stages if stage.status == status), None)

    def next_change(self, now: float) -> float:
        """The moment of the next planned stage; infinity when none is left."""
        return next((stage.at for stage in self.stages if stage.at > now), math.inf)

    def turn(self, status: str, at: float) -> None:
        """Takes another way from `at` on: what was planned after it is dropped."""
        self.stages = [stage for stage in self.stages if stage.at <= at]
        self.stages.append(Stage(status, at))


J = TypeVar("J", bound=Job)


class JobKind(ABC, Generic[J]):
    """How one kind of job behaves. One instance serves all emulators; it keeps no state."""

    name: ClassVar[str]
    """The kind's name in counts and control calls."""
    noun: ClassVar[str]
    """What an error message calls it."""
    active: ClassVar[frozenset[str]]
    """Raw statuses in which the job is running, or, for an endpoint, billing."""
    failure: ClassVar[str]
    """The raw status of a job that failed."""
    tick: ClassVar[float] = 1.0
    """Emulator seconds for which a list row of an active job may be shown unchanged."""
    record: type[J]

    @abstractmethod
    def row(self, world: World, job: J, now: float) -> dict[str, Any]:
        """The job as the list route shows it."""

    def work(self, world: World, job: J) -> Any:
        """Computes what the job computes. Runs in a worker thread and must not change the job."""

    def settle(self, world: World, job: J, result: Any, now: float) -> None:
        """Takes the worker's result in and plans the closing stage. Runs on the event loop."""

    def ended_early(self, world: World, job: J, now: float) -> None:
        """The job was cancelled or forced to end while it was active."""

    def key(self, job: J) -> str:
        """Another name by which the job is looked up; empty when it has none."""
        return ""

    def fields(self, world: World, job: J, now: float) -> dict[str, Any]:
        """More to show on the control plane."""
        return {}


class JobTable(Generic[J]):
    """The jobs of one kind: in memory for reading, in the store for keeping."""

    def __init__(self, world: World, kind: JobKind[J]) -> None:
        self.world = world
        self.kind = kind
        self._jobs: dict[str, J] = {}
        self._by_key: dict[str, J] = {}
        self._rows: dict[str, tuple[float, bytes]] = {}
        for body in world.store.all(kind.name):
            self._hold(msgspec.msgpack.decode(body, type=kind.record))

    def add(self, job: J) -> None:
        """Creates the job: it is stored and counted before this returns, and its work begins."""
        self._mark_doomed(job)
        if job.doomed and job.computed:
            self._fail_last_stage(job)
        self._hold(job)
        self.world.store.put_counted(self.kind.name, job.id, msgspec.msgpack.encode(job), "created")
        if not job.computed:
            self.world.start_work(self, job)

    def add_uncounted(self, job: J) -> None:
        """Stores a record that is not yet, or never, a creation of the account's user."""
        self._hold(job)
        self.save(job)

    def save_created(self, job: J) -> None:
        """Stores a change by which a record becomes a creation that counts."""
        self._rows.pop(job.id, None)
        self.world.store.put_counted(self.kind.name, job.id, msgspec.msgpack.encode(job), "created")

    def begin_work(self, job: J) -> None:
        """Has the job computed from now on; what it plans until then is stored."""
        job.computed = False
        self._mark_doomed(job)
        self.save(job)
        self.world.start_work(self, job)

    def save(self, job: J) -> None:
        """Stores what was changed."""
        self._rows.pop(job.id, None)
        self.world.store.put(self.kind.name, job.id, msgspec.msgpack.encode(job))

    def end(self, job: J, status: str, *, error: str = "") -> float:
        """Ends the job now with this status.

        Returns:
            The moment of its end.
        """
        now = self.world.clock.now()
        was_active = job.status(now) in self.kind.active
        job.turn(status, now)
        job.error = error or job.error
        if was_active:
            self.kind.ended_early(self.world, job, now)
        self.save(job)
        return now

    def count_cancelled(self) -> None:
        """One more job of this kind was cancelled at a user's wish."""
        self.world.store.add_tally("cancelled", self.kind.name)

    def remove(self, job: J) -> None:
        del self._jobs[job.id]
        self._by_key.pop(self.kind.key(job), None)
        self._rows.pop(job.id, None)
        self.world.store.delete(self.kind.name, job.id)

    def find(self, job_id: str) -> J | None:
        return self._jobs.get(job_id)

    def find_by_key(self, key: str) -> J | None:
        """The job whose kind gives it this other name."""
        return self._by_key.get(key)

    def get(self, job_id: str) -> J:
        """The job of this id.

        Raises:
            Refusal: 404, there is none.
        """
        job = self._jobs.get(job_id)
        if job is None:
            raise Refusal(404, f"{self.kind.noun} not found: {job_id}", code="not_found")
        return job

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._jobs

    def __iter__(self) -> Iterator[J]:
        """Every job, newest first."""
        return reversed(self._jobs.values())

    def visible(self, now: float) -> Iterator[J]:
        """The jobs that list routes show, newest first."""
        return (job for job in self if job.visible <= now)

    def row(self, job: J, now: float) -> bytes:
        """The list row as JSON, encoded anew only when it can have changed."""
        until, row = self._rows.get(job.id, (-math.inf, b""))
        if until <= now:
            row = msgspec.json.encode(self.kind.row(self.world, job, now))
            until = job.next_change(now)
            if job.status(now) in self.kind.active:
                until = min(until, now + self.kind.tick)
            self._rows[job.id] = (until, row)
        return row

    def rows(self, now: float) -> list[bytes]:
        """Every list row as JSON, newest first."""
        return [self.row(job, now) for job in self.visible(now)]

    def running(self, now: float) -> int:
        """How many are active."""
        return sum(job.status(now) in self.kind.active for job in self._jobs.values())

    def settle(self, job: J, result: Any) -> None:
        """Takes in a worker's result, unless the job has been deleted in the meantime."""
        if self._jobs.get(job.id) is not job:
            return
        now = self.world.clock.now()
        is_active = job.status(now) in self.kind.active
        job.computed = True
        self.kind.settle(self.world, job, result, now)
        if job.doomed and is_active:
            self._fail_last_stage(job)
        self.save(job)

    def resume(self) -> None:
        """Begins again the work that an earlier run of the emulator left unfinished."""
        for job in list(self._jobs.values()):
            if not job.computed:
                self.world.start_work(self, job)

    def clear(self) -> None:
        self._jobs.clear()
        self._by_key.clear()
        self._rows.clear()

    def _hold(self, job: J) -> None:
        self._jobs[job.id] = job
        key = self.kind.key(job)
        if key:
            self._by_key[key] = job

    def _mark_doomed(self, job: J) -> None:
        job.doomed = self.world.settings.fail.get(self.kind.name, "")

    def _fail_last_stage(self, job: J) -> None:
        job.stages[-1] = Stage(self.kind.failure, job.stages[-1].at)
        job.error = job.doomed
