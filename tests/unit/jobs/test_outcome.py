"""How a wait's end becomes a task's end: the manifest, or an error that says what a person needs to know."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.jobs.specimens import SPECIMENS
from tests.unit.jobs.surfaces import SURFACES
from tests.unit.jobs.world import Process, Remote, RemoteJob, waiting_record
from together_flows.api import Operation
from together_flows.errors import (
    AnswerInvalid,
    AuthenticationFailed,
    BadRequest,
    ConnectionFailed,
    JobCancelled,
    JobFailed,
    ServerFailed,
    TogetherError,
    WaitTimeout,
)
from together_flows.jobs.kind import KINDS, kind_named
from together_flows.jobs.model import JobReference, JobState, JobStatus
from together_flows.jobs.outcome import conclude, outcome_from_event, outcome_to_event, remember
from together_flows.jobs.record import JobRecord, Phase, TaskOutcome
from together_flows.jobs.submission import SubmissionPolicy, submission
from together_flows.jobs.waiting import Done, Expired, GiveUp

#: The kinds whose rows the world can show without a submission.
SHOWN = [name for name in SURFACES if name not in ("model_upload", "rl_operation")]
BILLING = [name for name in KINDS if kind_named(name).bills_until_stopped]


class Task:
    """A task that waits for a job of its own."""

    def __init__(self, name: str, status: str = "") -> None:
        self.kind, self.specimen, surface = kind_named(name), SPECIMENS[name], SURFACES[name]
        self.remote = Remote()
        self.job = RemoteJob("job-1", name, {**self.specimen.row}, 1.0, status or surface.begins)
        self.remote.jobs[self.job.id] = self.job
        job_id = self.kind.whole_id("job-1", self.specimen.spec)
        self.reference = JobReference(name, job_id)
        record = JobRecord(
            kind=name, fingerprint="f", marker="tf0", intent_at=1.0, phase=Phase.WAITING, id=job_id, generation=0
        )
        self.records = {"task": record}
        self.log: list[str] = []

    def concludes(self, outcome: Done | Expired | GiveUp | None = None, *, retried: bool = False) -> Any:
        outcome = outcome or Done(self.kind.status(self.remote.row(self.job), self.reference.id))
        process = Process(self.remote, self.records, log=self.log)
        base_url = "https://api.together.ai/v1"
        return process.drive(conclude(self.kind, self.reference, outcome, retried=retried, base_url=base_url))

    @property
    def record(self) -> JobRecord:
        return self.records["task"]


@pytest.mark.parametrize("name", SHOWN)
def test_a_job_that_succeeded_gives_its_manifest_and_the_record_knows(name: str) -> None:
    task = Task(name, SPECIMENS[name].good[0])
    assert task.concludes() == task.kind.manifest(task.remote.row(task.job))
    assert (task.record.phase, task.record.outcome) == (Phase.ENDED, TaskOutcome.SUCCEEDED)
    assert task.record.job_state is JobState.SUCCEEDED
    assert task.remote.cancelled == []


@pytest.mark.parametrize("name", SHOWN)
def test_a_job_that_failed_fails_the_task_with_its_page_and_what_a_retry_does(name: str) -> None:
    task = Task(name, SPECIMENS[name].bad[0])
    with pytest.raises(JobFailed) as failed:
        task.concludes()
    assert failed.value.reference == str(task.reference)
    assert failed.value.status["id" if name == "endpoint" else SURFACES[name].id_key] == "job-1"
    last = str(failed.value).splitlines()[-1]
    assert last.startswith(f"The job {task.reference} (https://api.together.ai")
    assert "does not run any more" in last
    assert last.endswith("A retry submits a new job.")
    assert (task.record.phase, task.record.outcome) == (Phase.ENDED, TaskOutcome.FAILED)
    assert task.record.job_state in (JobState.FAILED, JobState.EXPIRED)


@pytest.mark.parametrize("name", [name for name in SHOWN if SPECIMENS[name].halted])
def test_a_job_that_somebody_stopped_says_that_it_was_not_this_task(name: str) -> None:
    task = Task(name, SPECIMENS[name].halted[0])
    with pytest.raises(JobCancelled, match="not by this task") as cancelled:
        task.concludes()
    assert cancelled.value.reference == str(task.reference)
    assert "job-1" in cancelled.value.status.values()
    assert task.record.job_state is JobState.CANCELLED
    assert task.remote.cancelled == []


@pytest.mark.parametrize(
    ("name", "status"), [("fine_tune", "user_error"), ("evaluation", "user_error"), ("file", "INVALID_FORMAT")]
)
def test_what_the_user_must_mend_is_not_retried(name: str, status: str) -> None:
    kind, specimen = kind_named(name), SPECIMENS[name]
    assert kind.lasting(specimen.with_status(status))
    assert not kind.lasting(specimen.with_status(specimen.bad[0]))


@pytest.mark.parametrize(("code", "lasts"), [("INVALID_INPUT", True), ("RESOURCE_EXHAUSTED", False)])
def test_an_operation_fails_for_good_where_its_input_is_wrong(code: str, lasts: bool) -> None:
    kind, specimen = kind_named("rl_operation"), SPECIMENS["rl_operation"]
    error = {"code": f"TRAINING_OPERATION_ERROR_CODE_{code}", "message": "no"}
    row = {**specimen.with_status(specimen.bad[0]), "error": error}
    assert kind.lasting(row) is lasts
    assert kind.status(row).message == f"{code}: no"


def test_a_lasting_failure_makes_an_error_that_is_not_retryable() -> None:
    for status, retryable in (("user_error", False), ("error", True)):
        with pytest.raises(JobFailed) as failed:
            Task("fine_tune", status).concludes()
        assert failed.value.retryable is retryable


@pytest.mark.parametrize("name", BILLING)
def test_a_failed_job_that_may_still_bill_is_ended(name: str) -> None:
    kind, task = kind_named(name), Task(name, SPECIMENS[name].bad[0])
    with pytest.raises(JobFailed):
        task.concludes()
    assert bool(task.remote.cancelled) is (JobState.FAILED not in kind.over)


@pytest.mark.parametrize("name", BILLING)
def test_what_failed_and_is_ended_does_not_run_any_more(name: str) -> None:
    with pytest.raises(JobFailed) as failed:
        Task(name, SPECIMENS[name].bad[0]).concludes()
    assert "does not run any more. A retry submits a new job." in str(failed.value)


def test_what_failed_and_does_not_end_may_still_bill() -> None:
    task = Task("cluster", "Degraded")

    def lingers(operation: Operation[Any]) -> None:
        if task.remote.cancelled:
            task.remote.jobs["job-1"] = task.job
            task.job.status = "Deleting"

    task.remote.refuse = lingers
    with pytest.raises(JobFailed) as failed:
        task.concludes()
    assert "It was told to end, is Deleting and may still bill" in failed.value.mend


def test_a_job_that_succeeds_as_its_deadline_passes_is_remembered_as_succeeded() -> None:
    task = Task("fine_tune")

    def finishes(operation: Operation[Any]) -> TogetherError | None:
        task.job.status = "completed"
        return BadRequest("it is over", status_code=400) if operation.name == "fine_tunes.cancel" else None

    task.remote.refuse = finishes
    with pytest.raises(WaitTimeout):
        task.concludes(Expired())
    assert task.record.job_state is JobState.SUCCEEDED


def test_an_end_that_was_asked_for_counts_although_it_takes_its_time() -> None:
    task = Task("batch")

    def lingers(operation: Operation[Any]) -> None:
        if task.remote.cancelled:
            task.job.status = "CANCELING"

    task.remote.refuse = lingers
    with pytest.raises(WaitTimeout, match="told to end and is CANCELING"):
        task.concludes(Expired())
    assert task.record.job_state is JobState.CANCELLED


@pytest.mark.parametrize("usd", [None, 0.0, 12.5])
def test_what_the_job_was_estimated_to_cost_is_told_with_its_result(usd: float | None) -> None:
    task = Task("fine_tune", "completed")
    task.records["task"] = replace(task.record, estimated_usd=usd)
    assert task.concludes().get("estimated_price_usd") == usd


def test_a_result_is_told_without_a_record_too() -> None:
    task = Task("fine_tune", "completed")
    task.records.clear()
    assert "estimated_price_usd" not in task.concludes()


@pytest.mark.parametrize("name", BILLING)
def test_a_retry_ends_a_failed_job_that_may_still_bill_before_it_submits_anew(name: str) -> None:
    kind, spec, remote, records = kind_named(name), SPECIMENS[name].spec, Remote(), dict[str, JobRecord]()
    old = Process(remote, records).drive(submission(kind, spec, SubmissionPolicy()))
    records["task"] = waiting_record(records["task"])
    remote.finish(old.id, SPECIMENS[name].bad[0])
    new = Process(remote, records).drive(submission(kind, spec, SubmissionPolicy()))
    assert remote.running() == [new.id]
    assert bool(remote.cancelled) is (JobState.FAILED not in kind.over)
    assert JobState.FAILED in kind.over or old.id not in remote.jobs


@pytest.mark.parametrize("name", [name for name in SHOWN if kind_named(name).end])
def test_a_passed_deadline_ends_the_job(name: str) -> None:
    task = Task(name)
    with pytest.raises(WaitTimeout, match="was cancelled") as timeout:
        task.concludes(Expired())
    assert timeout.value.reference == str(task.reference)
    assert task.remote.running() == []
    assert (task.record.outcome, task.record.job_state) == (TaskOutcome.FAILED, JobState.CANCELLED)


@pytest.mark.parametrize("name", ["evaluation", "video"])
def test_a_passed_deadline_says_where_a_job_cannot_be_cancelled(name: str) -> None:
    task = Task(name)
    with pytest.raises(WaitTimeout, match="cannot cancel it"):
        task.concludes(Expired())
    assert task.remote.running() == ["job-1"]


@pytest.mark.parametrize("name", ["evaluation", "video"])
def test_a_job_that_outlives_its_deadline_is_adopted_by_the_retry(name: str) -> None:
    task = Task(name)
    with pytest.raises(WaitTimeout):
        task.concludes(Expired())
    assert task.record.job_state not in (JobState.CANCELLED, JobState.FAILED)


def test_a_wait_that_was_given_up_leaves_the_job_and_its_state_alone() -> None:
    task = Task("fine_tune")
    with pytest.raises(ServerFailed):
        task.concludes(GiveUp(ServerFailed("down", status_code=503)))
    assert task.remote.running() == ["job-1"]
    assert (task.record.outcome, task.record.job_state) == (TaskOutcome.FAILED, None)


def test_a_wait_that_was_given_up_and_is_tried_again_goes_on_wanting_its_job() -> None:
    task = Task("fine_tune")
    with pytest.raises(ServerFailed):
        task.concludes(GiveUp(ServerFailed("down", status_code=503)), retried=True)
    assert task.remote.running() == ["job-1"]
    assert (task.record.outcome, task.record.job_state) == (None, None)


def test_a_job_that_is_gone_when_its_row_is_read_counts_as_it_was_last_seen() -> None:
    task = Task("fine_tune", "error")
    last = Done(task.kind.status({**task.remote.row(task.job), "events": [{"type": "job_error", "message": "boom"}]}))
    del task.remote.jobs["job-1"]
    with pytest.raises(JobFailed, match="boom"):
        task.concludes(last)


def test_the_words_of_a_failure_come_from_the_jobs_log_where_the_row_has_none() -> None:
    task = Task("fine_tune", "error")
    task.job.body["events"] = []
    task.remote.events = [
        {"type": "job_error", "message": "first", "level": "error"},
        {"type": "job_error", "message": "out of memory", "level": "legacy_ierror"},
        {"type": "job_stopped", "message": "stopped", "level": "info"},
    ]
    with pytest.raises(JobFailed, match="out of memory"):
        task.concludes()


def test_a_failure_without_any_words_says_so() -> None:
    task = Task("fine_tune", "error")
    task.job.body["events"] = []
    with pytest.raises(JobFailed, match="the API gives no reason"):
        task.concludes()


def test_remembering_without_a_record_is_no_error() -> None:
    records: dict[str, JobRecord] = {}
    Process(Remote(), records).drive(remember(TaskOutcome.FAILED, None))
    assert records == {}


def test_remembering_no_state_keeps_the_one_before() -> None:
    task = Task("fine_tune")
    process = Process(task.remote, task.records)
    process.drive(remember(TaskOutcome.SUCCEEDED, JobState.SUCCEEDED))
    process.drive(remember(TaskOutcome.FAILED, None))
    assert (task.record.outcome, task.record.job_state) == (TaskOutcome.FAILED, JobState.SUCCEEDED)


class TestEvent:
    REFERENCE = JobReference("queue", "me%2Fmodel/req-1")

    def back(self, outcome: Done | Expired | GiveUp) -> tuple[JobReference, Done | Expired | GiveUp]:
        return outcome_from_event(json.loads(json.dumps(outcome_to_event(self.REFERENCE, outcome))))

    def test_a_status_comes_back_without_its_row(self) -> None:
        kind, specimen = kind_named("queue"), SPECIMENS["queue"]
        reference, outcome = self.back(Done(kind.status(specimen.row)))
        assert reference == self.REFERENCE
        assert isinstance(outcome, Done)
        assert (outcome.status.state, outcome.status.raw) == (JobState.SUCCEEDED, "done")
        assert outcome.status.row == {}

    def test_a_passed_deadline_comes_back(self) -> None:
        assert self.back(Expired()) == (self.REFERENCE, Expired())

    @pytest.mark.parametrize("retryable", [True, False])
    def test_a_failed_wait_comes_back_with_its_words(self, retryable: bool) -> None:
        _, outcome = self.back(GiveUp(TogetherError("no answer", mend="Wait.", retryable=retryable)))
        assert isinstance(outcome, GiveUp)
        assert str(outcome.error) == "no answer Wait."
        assert outcome.error.retryable is retryable


def test_a_read_that_lags_behind_does_not_undo_what_was_seen() -> None:
    task = Task("fine_tune", "running")
    seen = kind_named("fine_tune").status(SPECIMENS["fine_tune"].row)
    task.job.body["model_output_name"] = "me/llama-tuned-2"
    assert task.concludes(Done(seen))["model"] == "me/llama-tuned-2"
    assert task.record.outcome is TaskOutcome.SUCCEEDED
    assert task.remote.cancelled == []


class TestTheRowOfAResult:
    """It is read again while it is worse than what was seen already."""

    def task(self, answers: list[TogetherError | None]) -> Task:
        """A batch that has completed, though its first reads go wrong: with an error, or as it was before."""
        task = Task("batch", "COMPLETED")
        output, answers = task.job.body.pop("output_file_id"), [*answers]

        def refuse(operation: Operation[Any]) -> TogetherError | None:
            if answers:
                task.job.status = "IN_PROGRESS"
                return answers.pop(0)
            task.job.status, task.job.body["output_file_id"] = "COMPLETED", output
            return None

        task.remote.refuse = refuse
        return task

    @pytest.mark.parametrize(
        "answers",
        [
            [None],
            [None] * 5,
            [ServerFailed("down", status_code=503, retryable=True)] * 5,
            [AnswerInvalid("cut in half"), None, ConnectionFailed("reset")],
        ],
    )
    def test_an_older_row_or_none_at_all_is_not_the_result(self, answers: list[TogetherError | None]) -> None:
        task = self.task(answers)
        manifest = task.concludes()
        assert manifest["output_file_id"] == SPECIMENS["batch"].row["output_file_id"]
        assert manifest["status"] == "COMPLETED"
        assert task.record.outcome is TaskOutcome.SUCCEEDED

    def test_a_row_that_stays_unreadable_leaves_the_job_to_the_retry(self) -> None:
        task = self.task([ServerFailed("down", status_code=503, retryable=True)] * 6)
        with pytest.raises(ServerFailed):
            task.concludes()
        assert (task.record.phase, task.record.outcome) == (Phase.WAITING, None)
        assert task.remote.cancelled == []

    def test_a_refusal_is_no_reason_to_wait(self) -> None:
        task = self.task([AuthenticationFailed("no", status_code=401)])
        began = task.remote.now
        with pytest.raises(AuthenticationFailed):
            task.concludes()
        assert task.remote.now == began

    def test_a_row_without_an_id_is_an_error_that_a_retry_may_mend(self) -> None:
        task = Task("batch", "COMPLETED")
        task.remote.row = lambda job: {"status": "COMPLETED"}  # type: ignore[method-assign] # the API forgets the id
        with pytest.raises(AnswerInvalid, match="malformed row of a batch") as failed:
            task.concludes(Done(JobStatus(task.reference, JobState.SUCCEEDED, raw="COMPLETED")))
        assert failed.value.retryable
        assert task.record.outcome is None
