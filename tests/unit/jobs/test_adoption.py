"""The job of the attempt before: adopted while it is of use, replaced when it is not, and given up on purpose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.jobs.world import Crash, Process, Remote, waiting_record
from together_flows.api import Operation
from together_flows.errors import SubmissionUnknown
from together_flows.jobs.kind import kind_named
from together_flows.jobs.model import JobState
from together_flows.jobs.record import JobRecord, Phase, TaskOutcome
from together_flows.jobs.submission import KILL_WINDOW, SubmissionPolicy, killed_by_the_clear, submission

KIND = kind_named("fine_tune")
SPEC = {"training_file": "file-1", "model": "m", "n_epochs": 1}


class Task:
    """A task that is attempted over and over."""

    def __init__(self) -> None:
        self.remote, self.records, self.log = Remote(), dict[str, JobRecord](), list[str]()

    def attempt(self, **policy: Any) -> JobRecord:
        process = Process(self.remote, self.records, log=self.log)
        record = process.drive(submission(KIND, SPEC, SubmissionPolicy(**policy)))
        assert isinstance(record, JobRecord)
        assert self.records["task"] == record
        return record

    def leaves(self, **changes: Any) -> None:
        """What the attempt wrote before it ended."""
        self.records["task"] = replace(self.records["task"], **changes)


def test_a_retry_returns_the_record_as_it_is() -> None:
    task = Task()
    first = task.attempt()
    task.remote.now += 10
    task.leaves(phase=Phase.WAITING)
    assert task.attempt() == waiting_record(first)
    assert any("adopted" in line for line in task.log)


def test_an_adoption_across_a_clear_is_remembered_with_its_moment() -> None:
    task = Task()
    first = task.attempt()
    task.leaves(phase=Phase.ENDED, outcome=TaskOutcome.FAILED)
    task.remote.now += 10
    second = task.attempt(generation=1)
    assert (second.id, second.generation, second.phase) == (first.id, 1, Phase.SUBMITTED)
    assert (second.adopted_at, second.outcome) == (task.remote.now, None)
    assert task.remote.cancelled == []


def test_the_kill_of_a_clear_reaches_so_far_and_no_further() -> None:
    task = Task()
    task.attempt()
    adopted = replace(task.records["task"], adopted_at=1_000.0)
    assert killed_by_the_clear(adopted, 1_000.0 + KILL_WINDOW)
    assert not killed_by_the_clear(adopted, 1_000.5 + KILL_WINDOW)


def test_a_job_that_does_not_exist_any_more_is_replaced() -> None:
    task = Task()
    task.attempt()
    task.remote.jobs.clear()
    second = task.attempt()
    assert task.remote.running() == [second.id]
    assert any("does not exist any more" in line for line in task.log)


@pytest.mark.parametrize("status", ["error", "user_error"])
def test_a_job_that_failed_is_replaced_and_the_log_says_why(status: str) -> None:
    task = Task()
    first = task.attempt()
    task.remote.finish(first.id or "", status)
    assert task.attempt().id != first.id
    assert any(f"has ended as {status}" in line for line in task.log)
    assert task.remote.cancelled == []


def test_a_job_that_somebody_cancelled_is_replaced_after_a_clear_and_not_before() -> None:
    task = Task()
    first = task.attempt()
    task.remote.finish(first.id or "", "cancelled")
    assert task.attempt().id == first.id
    second = task.attempt(generation=1)
    assert second.id != first.id
    assert any("cancelled before the task was cleared" in line for line in task.log)


def test_a_job_that_cannot_be_seen_for_now_is_adopted_unseen() -> None:
    from together_flows.errors import ServerFailed

    task = Task()
    first = task.attempt()
    task.remote.refuse = lambda operation: ServerFailed("down", status_code=503)
    assert task.attempt().id == first.id


@pytest.mark.parametrize("phase", [Phase.SUBMITTED, Phase.WAITING, Phase.ENDED])
def test_a_caller_who_wants_to_start_again_gets_a_new_job_and_the_old_is_ended(phase: Phase) -> None:
    task = Task()
    first = task.attempt()
    task.leaves(phase=phase)
    second = task.attempt(replace=True)
    assert task.remote.cancelled == [first.id]
    assert task.remote.running() == [second.id]
    assert any("is to be replaced" in line for line in task.log)


def test_a_new_job_has_a_marker_of_its_own() -> None:
    task = Task()
    first = task.attempt()
    second = task.attempt(replace=True)
    assert first.marker != second.marker


def test_the_record_of_a_dead_job_is_replaced_without_a_look() -> None:
    task = Task()
    first = task.attempt()
    task.leaves(phase=Phase.ENDED, outcome=TaskOutcome.FAILED, job_state=JobState.EXPIRED)
    task.remote.sent.clear()
    assert task.attempt().id != first.id
    assert task.remote.sent == ["fine_tunes.create"]
    assert any("the job before ended as expired" in line for line in task.log)


def test_what_was_lost_again_and_again_is_given_up_for_a_later_attempt() -> None:
    task = Task()
    task.remote.lost_requests = 3
    with pytest.raises(SubmissionUnknown, match="lost 3 times") as unknown:
        task.attempt()
    assert unknown.value.retryable
    assert task.records["task"].phase is Phase.INTENT
    assert task.remote.sent.count("fine_tunes.create") == 3
    second = task.attempt()
    assert [*task.remote.jobs] == [second.id]


@pytest.mark.parametrize("settle", [2.0, 30.0])
def test_a_lost_job_is_looked_for_as_long_as_the_api_may_hide_it(settle: float) -> None:
    task = Task()
    task.remote.lost_requests = 1
    began = task.remote.now + 60  # that is when the caller learns of the loss
    task.attempt(settle=settle)
    assert settle <= task.remote.now - began <= 3 * settle


def test_a_look_that_takes_long_does_not_stand_for_looking_long() -> None:
    task = Task()
    task.remote.shows_after = 62.0  # the lost answer itself has taken a minute
    task.remote.lost_answers = 1
    answers_at_once = task.remote.perform

    def answers_late(operation: Operation[Any]) -> Any:
        """What the list showed when it was asked for."""
        answer = answers_at_once(operation)
        task.remote.now += 40.0
        return answer

    task.remote.perform = answers_late  # type: ignore[method-assign] # this world is slow
    record = task.attempt(settle=30.0)
    assert [*task.remote.jobs] == [record.id]


@pytest.mark.parametrize("ahead", [-86_400.0, 0.0, 86_400.0])
def test_a_lost_job_is_looked_for_as_long_by_a_machine_whose_clock_is_wrong(ahead: float) -> None:
    task = Task()
    task.remote.shows_after = 20.0
    with pytest.raises(Crash):
        Process(task.remote, task.records, dies_at=5, after=True).drive(submission(KIND, SPEC, SubmissionPolicy()))
    assert task.remote.jobs
    assert task.records["task"].phase is Phase.INTENT
    record = Process(task.remote, task.records, ahead=ahead).drive(submission(KIND, SPEC, SubmissionPolicy()))
    assert [*task.remote.jobs] == [record.id]


def test_changed_inputs_end_a_job_whose_answer_was_lost() -> None:
    task = Task()
    task.attempt()
    lost = replace(task.records["task"], phase=Phase.INTENT, id=None)
    task.records["task"] = replace(lost, fingerprint="of other inputs")
    second = task.attempt()
    assert len(task.remote.cancelled) == 1
    assert task.remote.running() == [second.id]


def test_jobs_that_carry_the_same_marker_are_ended_but_for_one() -> None:
    task = Task()
    first = task.attempt()
    twin = replace(task.remote.jobs[first.id or ""], id="twin")
    task.remote.jobs["twin"] = twin
    task.leaves(phase=Phase.INTENT, id=None)
    kept = task.attempt()
    assert kept.id == first.id
    assert task.remote.running() == [first.id]
    assert any("carries the same marker" in line for line in task.log)


def test_a_preparation_with_other_inputs_starts_with_a_marker_of_its_own() -> None:
    task = Task()
    first = task.attempt()
    task.leaves(phase=Phase.PREPARING, id=None)
    assert task.attempt().marker == first.marker
    task.leaves(phase=Phase.PREPARING, id=None, fingerprint="of other inputs")
    assert task.attempt().marker != first.marker


def test_the_generation_of_an_attempt_is_kept_with_its_job() -> None:
    task = Task()
    assert task.attempt(generation=3).generation == 3
    task.leaves(phase=Phase.INTENT, id=None)
    assert task.attempt(generation=4).generation == 4


def test_an_intent_that_is_resumed_belongs_to_the_attempt_that_resumes_it() -> None:
    """Else its own retry would take it for the job of the attempt before a clear, and end it."""
    task = Task()
    task.attempt()
    task.leaves(phase=Phase.PREPARING, id=None)
    task.remote.jobs.clear()
    task.remote.now += 50
    process = Process(task.remote, task.records, dies_at=4, after=True)
    with pytest.raises(Crash):
        process.drive(submission(KIND, SPEC, SubmissionPolicy(generation=1, on_clear="rerun")))
    intent = task.records["task"]
    assert (intent.phase, intent.generation, intent.intent_at) == (Phase.INTENT, 1, task.remote.now)
    made = [*task.remote.jobs]
    assert [task.attempt(generation=1, on_clear="rerun").id] == made
    assert task.remote.cancelled == []
