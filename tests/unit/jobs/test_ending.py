"""Ending remote work: asked for, insisted on where it bills, and confirmed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.jobs.specimens import SPECIMENS
from tests.unit.jobs.surfaces import SURFACES
from tests.unit.jobs.world import Process, Remote, RemoteJob
from together_flows.api import Operation
from together_flows.errors import (
    ApiError,
    AuthenticationFailed,
    BadRequest,
    Conflict,
    NotFound,
    ServerFailed,
    TogetherError,
)
from together_flows.jobs.ending import CONFIRM_SECONDS, end_job, look
from together_flows.jobs.kind import kind_named
from together_flows.jobs.model import JobState, JobStatus

#: Kinds that the API can end, except those that may hold data.
ENDED = [name for name in SURFACES if kind_named(name).end is not None and name != "shared_volume"]
BILLING = [name for name in ENDED if kind_named(name).bills_until_stopped]


class Job:
    """A job that is being ended."""

    def __init__(self, name: str, status: str = "") -> None:
        self.kind, self.surface = kind_named(name), SURFACES[name]
        self.remote, self.log = Remote(), list[str]()
        body = {**SPECIMENS[name].row}
        self.remote.jobs["job-1"] = RemoteJob("job-1", name, body, 1.0, status or self.surface.begins)
        self.id = self.kind.whole_id("job-1", SPECIMENS[name].spec)

    def ends(self, **patience: float) -> JobStatus:
        status = Process(self.remote, {}, log=self.log).drive(end_job(self.kind, self.id, **patience))
        assert isinstance(status, JobStatus)
        assert status.reference.id == self.id
        return status

    def answers(self, *, ends: Callable[[], TogetherError | None] = lambda: None, reads: Any = lambda: None) -> None:
        """Let the calls that end or read it fail."""

        def answer(operation: Operation[Any]) -> TogetherError | None:
            if operation.name == self.surface.end[-1]:
                return ends()
            return reads() if operation.name in self.surface.read else None

        self.remote.refuse = answer

    def asked(self) -> int:
        return self.remote.sent.count(self.surface.end[-1])


@pytest.mark.parametrize("name", ENDED)
def test_a_running_job_is_ended_and_ending_it_again_does_no_harm(name: str) -> None:
    job = Job(name)
    assert job.ends().state is JobState.CANCELLED
    assert job.remote.running() == []
    assert job.ends().state is JobState.CANCELLED
    assert any("has ended" in line or "does not exist any more" in line for line in job.log)


@pytest.mark.parametrize("name", ENDED)
def test_a_job_that_is_gone_counts_as_cancelled(name: str) -> None:
    job = Job(name)
    job.remote.jobs.clear()
    assert (job.ends().state, job.ends().raw) == (JobState.CANCELLED, "gone")


@pytest.mark.parametrize("name", ["evaluation", "video", "model_upload", "rl_operation"])
def test_a_job_that_the_api_cannot_end_is_left_alone_and_the_log_says_so(name: str) -> None:
    job = Job(name)
    job.remote.jobs["job-1"].body |= {"model_name": "m", "model_source": "s"}
    status = job.ends()
    assert not status.state.is_final
    assert len(job.remote.sent) == 1  # it was looked at
    assert job.kind.end_note in job.log[0]


def test_a_job_that_ended_by_itself_just_before_is_no_error() -> None:
    job = Job("fine_tune", "completed")
    job.answers(ends=lambda: BadRequest("it is over", status_code=400))
    assert job.ends().state is JobState.SUCCEEDED
    assert job.asked() == 1
    assert any("did not take the cancellation" in line for line in job.log)


def test_a_queue_job_that_runs_goes_on_and_the_log_says_why_it_was_not_cancelled() -> None:
    job = Job("queue", "running")
    job.answers(ends=lambda: Conflict('POST /queue/cancel: {"status":"running"} (HTTP 409)', status_code=409))
    assert job.ends(patience=0.0).state is JobState.RUNNING
    refusal, outcome = job.log
    assert refusal.endswith(
        "(HTTP 409). The API cancels only a job that still waits; one that runs goes on to its end."
    )
    assert "still is running" in outcome


@pytest.mark.parametrize("name", ENDED)
def test_a_wrong_key_is_an_error_at_once(name: str) -> None:
    job = Job(name)
    job.answers(ends=lambda: AuthenticationFailed("no", status_code=401))
    with pytest.raises(AuthenticationFailed):
        job.ends()
    assert job.asked() == 1


@pytest.mark.parametrize("name", [name for name in ENDED if name not in BILLING])
def test_a_server_that_fails_does_not_pass_for_a_refusal(name: str) -> None:
    job = Job(name)
    job.answers(ends=lambda: ServerFailed("down", status_code=503))
    with pytest.raises(ServerFailed):
        job.ends()


@pytest.mark.parametrize("name", BILLING)
def test_what_bills_is_ended_although_the_api_refuses_for_a_while(name: str) -> None:
    job, refusals = Job(name), iter([BadRequest("busy", status_code=400)] * 9)
    began = job.remote.now
    job.answers(ends=lambda: next(refusals, None))
    assert job.ends().state is JobState.CANCELLED
    assert job.asked() == 10
    assert job.remote.now - began == pytest.approx(18, abs=2)


@pytest.mark.parametrize("name", BILLING)
def test_what_cannot_be_ended_and_bills_is_an_error(name: str) -> None:
    job = Job(name)
    job.answers(ends=lambda: BadRequest("never", status_code=400))
    with pytest.raises(BadRequest, match="never"):
        job.ends()
    assert job.asked() == 10


@pytest.mark.parametrize("name", BILLING)
def test_what_is_gone_when_it_is_to_be_ended_is_no_error(name: str) -> None:
    job = Job(name)

    def gone() -> ApiError:
        job.remote.jobs.clear()
        return NotFound("gone", status_code=404)

    job.answers(ends=gone)
    assert job.ends().raw == "gone"
    assert job.asked() == 1


@pytest.mark.parametrize(("name", "on_its_way"), [("batch", "CANCELING"), ("cluster", "Deleting")])
def test_the_end_is_looked_for_until_it_is_there(name: str, on_its_way: str) -> None:
    job = Job(name)
    remote_job, ends_at = job.remote.jobs["job-1"], job.remote.now + 30

    def lingers() -> None:
        if job.remote.now < ends_at:
            job.remote.jobs["job-1"] = remote_job
            remote_job.status = on_its_way
        elif job.surface.ends:
            remote_job.status = job.surface.ends
        else:
            job.remote.jobs.pop("job-1", None)

    job.answers(reads=lingers)
    assert job.ends().state is JobState.CANCELLED
    assert ends_at <= job.remote.now < ends_at + 2
    assert sum(job.remote.sent.count(name) for name in job.surface.read) == 31


@pytest.mark.parametrize("patience", [None, 7.0])
def test_an_end_that_does_not_come_is_reported_and_not_waited_for_forever(patience: float | None) -> None:
    job = Job("batch")
    began = job.remote.now
    job.answers(reads=lambda: job.remote.finish("job-1", "CANCELING"))
    status = job.ends() if patience is None else job.ends(patience=patience)
    assert status.raw == "CANCELING"
    assert not status.state.is_final
    assert job.remote.now - began == (patience or CONFIRM_SECONDS) + 1
    assert any("still is CANCELING" in line for line in job.log)


@pytest.mark.parametrize("status", ["available", "bound", "access_revoked", "unknown", "a new one"])
def test_a_volume_that_may_hold_data_is_kept(status: str) -> None:
    job = Job("shared_volume", status)
    job.ends()
    assert "job-1" in job.remote.jobs
    assert any("may hold data" in line for line in job.log)


@pytest.mark.parametrize("status", ["provisioning", "scheduled", "failed"])
def test_a_volume_that_was_never_available_is_deleted(status: str) -> None:
    job = Job("shared_volume", status)
    assert job.ends().raw == "gone"
    assert job.remote.jobs == {}


@pytest.mark.parametrize("status", ["STOPPED", "EXPIRED", "ERROR"])
def test_a_session_that_is_over_is_not_stopped_again(status: str) -> None:
    job = Job("rl_session", f"TRAINING_SESSION_STATUS_{status}")
    job.answers(ends=lambda: BadRequest("it is over", status_code=400))
    assert job.ends().raw == status
    assert job.asked() == 0


def test_an_endpoint_whose_stop_is_refused_is_deleted_all_the_same() -> None:
    job = Job("endpoint")
    refuses = BadRequest("not while it starts", status_code=400)
    job.remote.refuse = lambda operation: refuses if operation.name == "endpoints.update" else None
    assert job.ends().raw == "gone"
    assert job.remote.jobs == {}


def test_an_endpoint_is_stopped_before_it_is_deleted() -> None:
    job = Job("endpoint")
    job.ends()
    assert job.remote.sent[:2] == ["endpoints.update", "endpoints.delete"]


class TestLook:
    def looks(self, error: TogetherError | None) -> JobStatus | None:
        job = Job("batch")
        job.answers(reads=lambda: error)
        status = Process(job.remote, {}).drive(look(job.kind, job.id))
        assert status is None or isinstance(status, JobStatus)
        return status

    def test_shows_the_job(self) -> None:
        status = self.looks(None)
        assert status is not None
        assert (status.raw, status.known) == ("IN_PROGRESS", True)

    def test_shows_nothing_where_there_is_no_job(self) -> None:
        assert self.looks(NotFound("gone", status_code=404)) is None

    def test_knows_nothing_while_the_server_fails(self) -> None:
        status = self.looks(ServerFailed("down", status_code=503))
        assert status is not None
        assert (status.state, status.raw, status.known) == (JobState.RUNNING, "unknown", False)

    def test_fails_where_trying_again_cannot_help(self) -> None:
        with pytest.raises(AuthenticationFailed):
            self.looks(AuthenticationFailed("no", status_code=401))
