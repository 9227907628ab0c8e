"""Ending what nobody wants any more, also when its creation's answer was lost."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.jobs.lives import Task, World
from tests.unit.jobs.specimens import SPECIMENS
from tests.unit.jobs.world import Crash, Process, Remote, RemoteJob
from together_flows.api import Operation
from together_flows.errors import BadRequest
from together_flows.jobs.kind import kind_named
from together_flows.jobs.model import JobState
from together_flows.jobs.record import JobRecord, Phase
from together_flows.jobs.submission import SubmissionPolicy, abandonment, killed_by_the_clear, submission

SPECS: dict[str, dict[str, Any]] = {
    "fine_tune": {"training_file": "file-1", "model": "m", "n_epochs": 1},
    "endpoint": {"model": "m", "hardware": "1x", "autoscaling": {"min_replicas": 1, "max_replicas": 1}},
}


def submitted(kind: str, process: Process) -> JobRecord:
    record = process.drive(submission(kind_named(kind), SPECS[kind], SubmissionPolicy()))
    assert isinstance(record, JobRecord)
    return record


@pytest.mark.parametrize("kind", SPECS)
def test_a_submitted_job_is_ended_and_the_record_knows(kind: str) -> None:
    remote, records = Remote(), dict[str, JobRecord]()
    record = submitted(kind, Process(remote, records))
    Process(remote, records).drive(abandonment(kind_named(kind), record))
    assert remote.running() == []
    assert records["task"].phase is Phase.ENDED
    assert records["task"].job_state is JobState.CANCELLED


@pytest.mark.parametrize("kind", SPECS)
def test_a_job_whose_answer_was_lost_is_found_without_its_specification(kind: str) -> None:
    remote, records = Remote(), dict[str, JobRecord]()
    for step in itertools.count(1):  # die one step later each time, until the creation has just taken effect
        records.clear()
        with pytest.raises(Crash):
            submitted(kind, Process(remote, records, dies_at=step, after=True))
        if remote.jobs:
            break
    assert records["task"].phase is Phase.INTENT
    Process(remote, records).drive(abandonment(kind_named(kind), records["task"]))
    assert remote.running() == []
    assert records["task"].id is not None


def test_an_evaluation_is_left_to_be_adopted_because_it_cannot_be_cancelled() -> None:
    remote, records = Remote(), dict[str, JobRecord]()
    spec = {"type": "score", "parameters": {}}
    remote.jobs["e"] = remote_job = _running_evaluation(spec)
    record = JobRecord(kind="evaluation", fingerprint="f", marker="tf0", intent_at=1.0, phase=Phase.SUBMITTED, id="e")
    records["task"] = record
    Process(remote, records).drive(abandonment(kind_named("evaluation"), record))
    assert remote_job.status == "running"
    assert records["task"] == record


def _running_evaluation(spec: dict[str, Any]) -> RemoteJob:
    return RemoteJob("e", "evaluation", {**spec, "workflow_id": "e"}, 1.0, "running")


def test_nothing_is_sent_for_a_submission_that_never_began() -> None:
    remote = Remote()
    record = JobRecord(kind="fine_tune", fingerprint="f", marker="tf0", intent_at=1.0)
    assert Process(remote, {"task": record}).drive(abandonment(kind_named("fine_tune"), record)) is None
    assert remote.sent == []


@pytest.mark.parametrize(("name", "place"), [("batch", "input_path"), ("evaluation", "input_path"), ("file", "path")])
def test_content_counts_into_the_fingerprint_and_its_place_does_not(name: str, place: str) -> None:
    kind = kind_named(name)
    here = {place: str(Path("/a/x.jsonl")), "input_sha256": "1"}
    assert kind.fingerprint(here) == kind.fingerprint({**here, place: "/b/x.jsonl"})
    assert kind.fingerprint(here) != kind.fingerprint({**here, "input_sha256": "2"})
    without = {place: "/a/x.jsonl"}
    assert kind.fingerprint(without) != kind.fingerprint({**without, place: "/b/x.jsonl"})


@pytest.mark.parametrize("name", ["video", "queue", "rl_session"])
def test_what_cannot_be_found_is_told_to_the_person_who_must_look(name: str) -> None:
    remote, log = Remote(), list[str]()
    record = JobRecord(kind=name, fingerprint="f", marker="tf0", intent_at=1.0, phase=Phase.INTENT)
    assert Process(remote, {"task": record}, log=log).drive(abandonment(kind_named(name), record)) is None
    assert remote.sent == []
    assert any("nothing to find it by" in line for line in log)


def test_an_end_that_takes_its_time_counts_as_one() -> None:
    remote, records = Remote(), dict[str, JobRecord]()
    record = submitted("fine_tune", Process(remote, records))

    def lingers(operation: Operation[Any]) -> None:
        if remote.cancelled:
            remote.finish(record.id or "", "cancel_requested")

    remote.refuse = lingers
    last = Process(remote, records).drive(abandonment(kind_named("fine_tune"), record, patience=5))
    assert last.raw == "cancel_requested"
    assert records["task"].job_state is JobState.CANCELLED


def test_a_job_that_ended_by_itself_keeps_its_state() -> None:
    remote, records = Remote(), dict[str, JobRecord]()
    record = submitted("fine_tune", Process(remote, records))
    remote.finish(record.id or "", "completed")
    refused = BadRequest("it is over", status_code=400)
    remote.refuse = lambda operation: refused if operation.name == "fine_tunes.cancel" else None
    Process(remote, records).drive(abandonment(kind_named("fine_tune"), record))
    assert records["task"].job_state is JobState.SUCCEEDED


class Cleared:
    """A task whose old attempt is killed while the new one is at work already."""

    KIND = kind_named("fine_tune")

    def __init__(self) -> None:
        self.remote, self.records = Remote(), dict[str, JobRecord]()

    def attempt(self, *, generation: int = 0, dies: bool = False) -> JobRecord:
        """An attempt that dies, if it does, when its job is there and its id is not stored yet."""
        policy = SubmissionPolicy(generation=generation)
        process = Process(self.remote, self.records).begin(submission(self.KIND, SPECS["fine_tune"], policy))
        before = len(self.remote.jobs)
        while not process.is_done and not (dies and len(self.remote.jobs) > before):
            process.advance()
        process.die()
        return self.records["task"]

    def killed(self, record: JobRecord) -> None:
        Process(self.remote, self.records).drive(abandonment(self.KIND, record))


def test_a_late_kill_does_not_make_the_job_of_the_new_attempt_forgotten() -> None:
    task = Cleared()
    old = task.attempt()
    task.records["task"] = old.advanced(Phase.WAITING)
    new = task.attempt(generation=1)
    task.killed(old)
    assert task.records["task"] == new
    assert task.remote.running() == [new.id]


def test_a_late_kill_leaves_a_lost_job_to_the_new_attempt_that_has_taken_it_over() -> None:
    task = Cleared()
    old = task.attempt(dies=True)
    assert old.phase is Phase.INTENT
    task.records["task"] = replace(old, generation=1)
    task.killed(old)
    assert len(task.remote.running()) == 1
    assert task.attempt(generation=1).id == task.remote.running()[0]


def test_a_lost_job_that_the_kill_reaches_after_the_clear_counts_as_hit_by_it() -> None:
    task = Cleared()
    old = task.attempt(dies=True)
    found = task.attempt(generation=1)
    assert found.adopted_at is not None
    task.killed(replace(old, phase=Phase.SUBMITTED, id=found.id))
    assert task.remote.running() == []
    assert killed_by_the_clear(task.records["task"], task.remote.now)


def test_a_job_that_a_retry_finds_was_not_taken_over_from_a_kill() -> None:
    task = Cleared()
    task.attempt(dies=True)
    assert task.attempt().adopted_at is None


@pytest.mark.parametrize("name", ["fine_tune", "batch", "endpoint", "cluster"])
def test_a_late_kill_ends_the_job_that_showed_up_too_late_and_not_the_one_in_its_place(
    name: str, tmp_path: Path
) -> None:
    world = World(kind_named(name), Remote(shows_after=25.0))
    task = Task(world, "a", SPECIMENS[name].place(tmp_path))
    task.begin()
    world.remote.lost_answers, world.remote.late = 1, 120.0
    while not world.paid("a"):
        task.advance()
    world.remote.lost_answers, world.remote.late = 0, 0.0
    lost = set(world.remote.births)
    task.clear()  # its kill does not come to anything yet
    task.begin()
    while task.is_at("submitting"):
        task.advance()
    world.remote.now += 200.0
    while task.kills:
        task.kill_goes_on()
    assert {job_id for _, job_id in world.remote.endings} == lost
    assert list(world.running("a")) == [task.job]
    assert world.paid("a") == 2
