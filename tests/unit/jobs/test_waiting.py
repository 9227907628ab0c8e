"""The wait for one job, decided apart from I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.jobs.surfaces import SURFACES
from tests.unit.jobs.world import Process, Remote, RemoteJob
from together_flows.api import Operation
from together_flows.errors import (
    ArgumentInvalid,
    AuthenticationFailed,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerFailed,
    TogetherError,
)
from together_flows.jobs.kind import kind_named
from together_flows.jobs.model import JobReference, JobState, JobStatus
from together_flows.jobs.submission import SubmissionPolicy, submission
from together_flows.jobs.waiting import (
    Done,
    EventTail,
    Expired,
    GiveUp,
    LookAgain,
    Wait,
    WaitPolicy,
    waiting,
    with_progress,
)

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
    assert wait.saw(seen(JobState.RUNNING), 1_000.4) == Expired()
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


def test_an_id_that_cannot_be_one_is_given_up_at_once() -> None:
    decision = wait_with().failed(ArgumentInvalid("'None' is not the id of a job in a queue."), 1_000.0)
    assert isinstance(decision, GiveUp)
    assert "is not the id" in str(decision.error)
    assert not decision.error.retryable


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


class TestBlockingWait:
    """A job that is waited for in the task's own process."""

    def waits(self, remote: Remote, job_id: str, name: str = "fine_tune", **policy: Any) -> tuple[object, list[str]]:
        process = Process(remote, {})
        patience = WaitPolicy(**{"deadline": remote.now + 600, "interval": 10.0, **policy})
        seen: list[str] = []
        outcome = process.drive(
            waiting(kind_named(name), job_id, patience, on_status=lambda status: seen.append(status.describe()))
        )
        self.log = process.log
        return outcome, seen

    def job(self, remote: Remote, name: str = "fine_tune", status: str = "") -> str:
        remote.jobs["job-1"] = RemoteJob("job-1", name, {}, 1.0, status or SURFACES[name].begins)
        return "job-1"

    def test_the_jobs_own_events_are_logged_once_and_tell_the_progress(self) -> None:
        remote = Remote()
        job_id = self.job(remote)
        remote.events = [{"type": "job_start", "message": "began", "created_at": "1"}]
        changes = {
            1_020: lambda: remote.events.append({"type": "step", "message": "on", "step": 1, "total_steps": 4}),
            1_060: lambda: remote.events.append({"type": "step", "message": "on", "step": 3, "total_steps": 4}),
            1_100: lambda: remote.finish(job_id, "completed"),
        }
        remote.refuse = lambda operation: _happen(changes, remote.now)
        outcome, seen = self.waits(remote, job_id)
        assert isinstance(outcome, Done)
        assert outcome.status.row["id"] == job_id
        assert [line for line in self.log if line.startswith(("job_start", "step"))] == [
            "job_start: began",
            "step: on (step 1 of 4)",
            "step: on (step 3 of 4)",
        ]
        assert seen == [
            "fine_tune:job-1: running",
            "fine_tune:job-1: running 25%",
            "fine_tune:job-1: running 75%",
            "fine_tune:job-1: succeeded (completed)",
        ]
        assert set(seen) <= set(self.log)

    def test_events_that_cannot_be_read_are_no_failure(self) -> None:
        remote = Remote()
        job_id = self.job(remote, status="completed")
        down = ServerFailed("down", status_code=503)
        remote.refuse = lambda operation: down if operation.name == "fine_tunes.list_events" else None
        assert isinstance(self.waits(remote, job_id)[0], Done)

    def test_a_kind_without_events_is_not_asked_for_any(self) -> None:
        remote = Remote()
        self.waits(remote, self.job(remote, "batch", "COMPLETED"), "batch")
        assert remote.sent == ["batches.retrieve"]

    def test_an_unknown_status_is_told_once_and_waited_through(self) -> None:
        remote = Remote()
        job_id = self.job(remote, status="dreaming")
        remote.refuse = lambda operation: _finish_at(remote, job_id, 1_100.0)
        assert isinstance(self.waits(remote, job_id)[0], Done)
        assert sum("unknown to this version" in line for line in self.log) == 1

    def test_looks_that_fail_are_told_and_waited_through(self) -> None:
        remote = Remote()
        job_id = self.job(remote)
        failures = iter([ServerFailed("down", status_code=503)] * 4)

        def refuse(operation: Operation[Any]) -> TogetherError | None:
            return next(failures, None) or _finish_at(remote, job_id, 0.0)

        remote.refuse = refuse
        outcome, seen = self.waits(remote, job_id)
        assert isinstance(outcome, Done)
        assert seen == ["fine_tune:job-1: succeeded (completed)"]
        assert sum(line.startswith("Looking at fine_tune:job-1 failed") for line in self.log) == 4

    def test_the_wait_ends_at_its_deadline(self) -> None:
        remote = Remote()
        outcome, _ = self.waits(remote, self.job(remote), deadline=1_050.0)
        assert outcome == Expired()
        assert remote.now == 1_050.0

    @pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
    def test_setting_the_clock_neither_ends_the_wait_nor_prolongs_it(self, jump: float) -> None:
        remote = Remote()
        process, job_id = Process(remote, {}), self.job(remote)
        down = ServerFailed("down", status_code=503)

        def jumps(operation: Operation[Any]) -> TogetherError | None:
            process.ahead += jump
            return down if operation.name == "fine_tunes.retrieve" else None

        remote.refuse = jumps
        patience = WaitPolicy(deadline=remote.now + 600, interval=10.0)
        assert process.drive(waiting(kind_named("fine_tune"), job_id, patience)) == Expired()
        assert remote.now == 1_600.0

    def test_a_job_whose_row_tells_less_than_its_reference_keeps_its_reference(self) -> None:
        remote = Remote()
        self.job(remote, "rl_operation", "TRAINING_OPERATION_STATUS_COMPLETED")
        outcome, _ = self.waits(remote, "session%2F1/optim_step/job-1", "rl_operation")
        assert isinstance(outcome, Done)
        assert outcome.status.reference == JobReference("rl_operation", "session%2F1/optim_step/job-1")


def _happen(changes: dict[int, Callable[[], None]], now: float) -> None:
    for moment in [moment for moment in changes if moment <= now]:
        changes.pop(moment)()


def test_a_row_that_tells_its_progress_is_believed_before_the_events() -> None:
    status = JobStatus(REFERENCE, JobState.RUNNING, "running", progress=0.5)
    assert with_progress(status, 0.9).progress == 0.5
    assert with_progress(seen(JobState.RUNNING), 0.9).progress == 0.9


def test_pauses_spread_around_their_length_so_that_waits_do_not_march_in_step() -> None:
    pauses = [
        Wait(REFERENCE, WaitPolicy(interval=10, first=10), spread=lambda x=x: x).saw(seen(JobState.RUNNING), 1.0)
        for x in (0.0, 0.5, 1.0)
    ]
    assert pauses == [LookAgain(pytest.approx(seconds)) for seconds in (8, 10, 12)]


def test_pauses_after_failures_grow_as_well() -> None:
    decisions = failing(ServerFailed("busy", status_code=500), wait_with(interval=15), every=1, times=4)
    assert decisions == [LookAgain(1.0), LookAgain(1.5), LookAgain(2.25), LookAgain(3.375)]


def test_the_usual_patience() -> None:
    policy = WaitPolicy()
    assert (policy.deadline, policy.interval, policy.tolerance, policy.refusals) == (None, 15.0, 3600.0, 5)


def test_failures_count_from_the_first_and_not_from_the_beginning_of_the_wait() -> None:
    wait = wait_with(tolerance=100)
    wait.saw(seen(JobState.RUNNING), 0.0)
    assert isinstance(wait.failed(ServerFailed("busy", status_code=500), 1_000.0), LookAgain)
    assert isinstance(wait.failed(ServerFailed("busy", status_code=500), 1_099.0), LookAgain)
    assert isinstance(wait.failed(ServerFailed("busy", status_code=500), 1_100.0), GiveUp)


def test_a_success_forgives_refusals() -> None:
    wait = wait_with(refusals=2)
    for _ in range(3):
        assert isinstance(wait.failed(NotFound("no", status_code=404), 1.0), LookAgain)
        wait.saw(seen(JobState.RUNNING), 2.0)


def test_a_refused_permission_is_not_retried() -> None:
    *_, last = failing(PermissionDenied("no", status_code=403), wait_with(refusals=2), every=1, times=2)
    assert isinstance(last, GiveUp)
    assert not last.error.retryable
