"""Tasks whose lives a test plays step by step: attempts, deaths, kills, clears and ends, against one small Together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.unit.jobs.specimens import SPECIMENS
from tests.unit.jobs.world import Process, Remote, waiting_record
from together_flows.errors import JobCancelled, NotFound, ServerFailed, SubmissionUnknown, TogetherError
from together_flows.jobs.ending import end_job
from together_flows.jobs.kind import JobKind
from together_flows.jobs.outcome import Outcome, conclude
from together_flows.jobs.record import JobRecord
from together_flows.jobs.steps import Steps
from together_flows.jobs.submission import SubmissionPolicy, abandonment, killed_by_the_clear, submission
from together_flows.jobs.waiting import Done, Expired, GiveUp

#: Where a task stands. It is `told` when it has learned that its job cannot be found.
Stage = Literal["due", "submitting", "waiting", "deferred", "failed", "succeeded", "unwanted", "told"]

#: Seconds after a creation from which on nobody looks for its job any more: the time-out, and the time to settle.
FORGOTTEN = 60.0 + 30.0


@dataclass
class World:
    """One account and the records of its tasks."""

    kind: JobKind
    remote: Remote
    records: dict[str, JobRecord] = field(default_factory=dict)

    def process(self, key: str, flow: Steps[Any], *, ahead: float = 0.0) -> Process:
        return Process(self.remote, self.records, key=key, ahead=ahead).begin(flow)

    def finish(self, process: Process) -> Any:
        while not process.is_done:
            process.advance()
        return process.result

    def paid(self, key: str) -> int:
        """Creations by this task that took effect."""
        return Counter(self.remote.births.values())[key]

    def running(self, key: str) -> list[str]:
        return [job_id for job_id in self.remote.running() if self.remote.births[job_id] == key]


@dataclass
class Task:
    """A task, and what an orchestrator and people do with it.

    Attributes:
        allowance: how many jobs it may have paid for so far: each reason to start again allows one more than there are.
        doomed: jobs that somebody's action has made unwanted. No other may be ended, but for what is there twice.
        outdated: jobs that may not become the task's, because its inputs have changed since or a new one is wanted.
        forgets: whether a creation took effect later than anybody looks, so that its job may run on.
        kills: what ends the jobs of earlier attempts, and has not done so yet.
    """

    world: World
    key: str
    spec: dict[str, Any]
    generation: int = 0
    stage: Stage = "due"
    job: str = ""
    live: Process | None = None
    kills: list[Process] = field(default_factory=list)
    allowance: int = 1
    doomed: set[str] = field(default_factory=set)
    outdated: set[str] = field(default_factory=set)
    forgets: bool = False

    @property
    def own_id(self) -> str:
        """The API's own id of the job."""
        return self.job.rpartition("/")[2]

    def is_at(self, *stages: Stage) -> bool:
        return self.stage in stages

    def begin(self, *, ahead: float = 0.0, replace: bool = False) -> None:
        """An attempt begins: the first, a retry, or the one after a clear."""
        policy = SubmissionPolicy(generation=self.generation, replace=replace)
        flow = submission(self.world.kind, self.spec, policy)
        self.live, self.stage = self.world.process(self.key, flow, ahead=ahead), "submitting"

    def advance(self) -> None:
        """The attempt performs a step."""
        assert self.live is not None
        try:
            self.live.advance()
        except SubmissionUnknown:
            self._stop("due" if SPECIMENS[self.world.kind.name].findable else "told")
        except TogetherError:
            self._stop("due")
        else:
            if self.live.is_done:
                self.job = self.live.result.id
                self._stop("waiting")

    def die(self) -> None:
        """The process dies without a word, and the task is due again."""
        self._stop("due")

    def defer(self) -> None:
        self.world.records[self.key] = waiting_record(self.world.records[self.key])
        self.stage = "deferred"

    def conclude(self, outcome: Outcome, *, retries: bool) -> None:
        """The wait has ended."""
        reference = self.world.records[self.key].reference
        try:
            self.world.finish(self.world.process(self.key, conclude(self.world.kind, reference, outcome)))
        except JobCancelled:
            if killed_by_the_clear(self.world.records[self.key], self.world.remote.now):
                self.begin(replace=True)
            else:
                self.stage = "due" if retries else "failed"
        except TogetherError:
            self.stage = "due" if retries else "failed"
        else:
            self.stage = "succeeded"

    def sees_the_end(self, *, retries: bool) -> None:
        """The wait looks, and goes on if the job runs."""
        job = self.world.remote.jobs.get(self.own_id)
        if job is None:
            gone = NotFound("gone", status_code=404)
            self.conclude(GiveUp(TogetherError(str(gone), retryable=True)), retries=retries)
            return
        status = self.world.kind.status(self.world.remote.row(job), self.job)
        if job.id not in self.world.remote.running():
            self.conclude(Done(status), retries=retries)

    def gives_up(self, *, retries: bool) -> None:
        """The API failed for too long. The job is as good as it was, and the next attempt's."""
        self.conclude(GiveUp(ServerFailed("down", status_code=503)), retries=retries)

    def runs_late(self) -> None:
        self._doom()
        self.conclude(Expired(), retries=False)

    def clear(self) -> None:
        """A person clears it. What ran of the old attempt is killed, at leisure."""
        if self.stage in ("deferred", "succeeded"):
            self.outdated.update(self._made())
        if self.stage != "failed":
            self._begin_kill()
            self._doom()
        self.generation += 1
        self._stop("due")

    def mark_failed(self) -> None:
        """A person wants nothing of it any more."""
        self._begin_kill()
        self._doom()
        self.allowance = self.world.paid(self.key)  # until a clear wants one again
        self._stop("unwanted")
        while self.kills:
            self.kill_goes_on()

    def edit(self, **changes: Any) -> None:
        """A person changes the inputs before the next attempt."""
        self.spec = {**self.spec, **changes}
        self.outdated.update(self._made())
        self._doom()

    def kill_goes_on(self) -> None:
        """The oldest kill performs a step."""
        try:
            self.kills[0].advance()
        except TogetherError:
            self.kills.pop(0)
            return
        if self.kills[0].is_done:
            self.kills.pop(0)

    def _begin_kill(self) -> None:
        record = self.world.records.get(self.key)
        if self.stage == "deferred":  # the trigger knows the job alone
            self.kills.append(self.world.process(self.key, end_job(self.world.kind, self.job)))
        elif self.stage in ("submitting", "waiting") and record is not None:
            self.kills.append(self.world.process(self.key, abandonment(self.world.kind, record)))
        self.kills = [kill for kill in self.kills if not kill.is_done]

    def _made(self) -> list[str]:
        return [job_id for job_id, key in self.world.remote.births.items() if key == self.key]

    def may_start_again(self) -> None:
        """There is a reason to pay for another job, and for no more however many such reasons come first."""
        self.allowance = self.world.paid(self.key) + 1

    def _doom(self) -> None:
        self.doomed.update(self._made())
        self.may_start_again()

    def _stop(self, stage: Stage) -> None:
        if self.live is not None:
            self.live.die()
        self.live, self.stage = None, stage
