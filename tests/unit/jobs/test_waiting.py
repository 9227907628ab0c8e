"""The wait for one job, decided apart from I/O."""

from __future__ import annotations

import pytest

from tests.unit.jobs.world import Process, Remote
from together_flows.errors import AuthenticationFailed, NotFound, RateLimited, ServerFailed
from together_flows.jobs.kind import kind_named
from together_flows.jobs.model import JobReference, JobState, JobStatus
from together_flows.jobs.submission import SubmissionPolicy, submission
from together_flows.jobs.waiting import Done, EventTail, Expired, GiveUp, LookAgain, Wait, WaitPolicy, waiting

REFERENCE = JobReference("fine_tune", "ft-1")


def seen(state: JobState, raw: str = "", *, known: bool = True) -> JobStatus:
    return JobStatus(REFERENCE, state, raw or str(state), known=known)


def wait_with(**policy: float) -> Wait:
    return Wait(REFERENCE, WaitPolicy(**policy), spread=lambda: 0.5)  # type: ignore[arg-type] # all are floats


def failing(error: Exception, wait: Wait, *, every: float, times: int) -> list[object]:
    return [wait.failed(error, 1_000 + i * every) for i in range(times)]  # type: ignore[arg-type]


def test_the_first_looks_come_soon_and_then_at_the_interval() -> None:
    wait = wait_with(interval=15)
    pauses = [wait.saw(seen(JobState.RUNNING), 1_000.0).after for _ in range(12)]  # type: ignore[union-attr]
    assert pauses[0] == 1.0
    assert pauses == sorted(pauses)
    assert pauses[-1] == 15


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED])
def test_a_final_state_ends_the_wait(state: JobState) -> None:
    assert wait_with().saw(seen(state), 1_000.0) == Done(seen(state))


def test_a_job_that_is_done_counts_even_after_the_deadline() -> None:
    assert isinstance(wait_with(deadline=10.0).saw(seen(JobState.SUCCEEDED), 1_000.0), Done)


def test_the_deadline_is_an_absolute_time_and_the_last_pause_ends_there() -> None:
    wait = wait_with(deadline=1_000.4)
    assert wait.saw(seen(JobState.RUNNING), 1_000.0) == LookAgain(pytest.approx(0.4))
    assert wait.saw(seen(JobState.RUNNING), 1_000.5) == Expired()


def test_passing_failures_do_not_end_the_wait() -> None:
    wait = wait_with(tolerance=1_200, interval=15)
    decisions = failing(ServerFailed("busy", status_code=503), wait, every=30, times=40)
    assert all(isinstance(decision, LookAgain) for decision in decisions)


def test_one_success_forgives_all_failures_before_it() -> None:
    wait = wait_with(tolerance=100)
    failing(ServerFailed("busy", status_code=500), wait, every=30, times=3)
    wait.saw(seen(JobState.RUNNING), 1_100.0)
    assert isinstance(wait.failed(ServerFailed("busy", status_code=500), 1_150.0), LookAgain)


def test_a_long_run_of_failures_gives_up_and_says_that_the_job_lives() -> None:
    *_, last = failing(ServerFailed("busy", status_code=500), wait_with(tolerance=100), every=60, times=3)
    assert isinstance(last, GiveUp)
    assert "left alone" in str(last.error)
    assert last.error.retryable


@pytest.mark.parametrize(("error", "retryable"), [(NotFound, True), (AuthenticationFailed, False)])
def test_refusals_give_up_after_a_few(error: type[NotFound], retryable: bool) -> None:
    *before, last = failing(error("no", status_code=404), wait_with(refusals=5), every=1, times=5)
    assert all(isinstance(decision, LookAgain) for decision in before)
    assert isinstance(last, GiveUp)
    assert last.error.retryable is retryable


def test_the_server_is_given_the_time_it_asks_for() -> None:
    asked = RateLimited("slow down", status_code=429, retry_after=40.0)
    assert wait_with().failed(asked, 1_000.0) == LookAgain(40.0)


def test_an_unknown_status_is_warned_about_once() -> None:
    wait = wait_with()
    odd = seen(JobState.RUNNING, "dreaming", known=False)
    assert "dreaming" in wait.surprise(odd)
    assert wait.surprise(odd) == ""


def test_events_are_shown_once() -> None:
    tail = EventTail()
    lines = kind_named("fine_tune").event_lines(
        {
            "data": [
                {"type": "job_start", "message": "began", "created_at": "1"},
                {"type": "epoch_complete", "message": "1"},
            ]
        }
    )
    assert [event.text for event in tail.fresh(list(lines))] == ["job_start: began", "epoch_complete: 1"]
    assert tail.fresh(list(lines)) == []


def test_the_blocking_wait_follows_a_job_to_its_end() -> None:
    remote = Remote()
    process = Process(remote, {})
    kind = kind_named("fine_tune")
    record = process.drive(submission(kind, {"training_file": "f", "model": "m"}, SubmissionPolicy()))
    flow = waiting(kind, record.id or "", WaitPolicy(deadline=remote.now + 3_600, interval=10))
    remote.refuse = lambda operation: _finish_at(remote, record.id or "", 1_200.0)
    assert isinstance(process.drive(flow), Done)
    assert any("succeeded" in line for line in process.log)


def _finish_at(remote: Remote, job_id: str, moment: float) -> None:
    if remote.now >= moment:
        remote.finish(job_id, "completed")
