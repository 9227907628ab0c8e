"""Submit once: the policy as a table, and the flow that carries it out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.jobs.world import Crash, Process, Remote
from together_flows.errors import ArgumentInvalid, BadRequest, SubmissionUnknown
from together_flows.jobs.kind import kind_named
from together_flows.jobs.model import JobState
from together_flows.jobs.outcome import conclude
from together_flows.jobs.record import JobRecord, Phase, TaskOutcome, fingerprint
from together_flows.jobs.submission import (
    Adopt,
    Create,
    LookFor,
    Resume,
    SubmissionPolicy,
    decide,
    killed_by_the_clear,
    submission,
)
from together_flows.jobs.waiting import Done

SPEC = {"training_file": "file-1", "model": "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference", "n_epochs": 1}
INPUTS = fingerprint("fine_tune", SPEC)


def record(phase: Phase, **changes: Any) -> JobRecord:
    job_id = None if phase in (Phase.PREPARING, Phase.INTENT) else "ft-1"
    return JobRecord(
        kind="fine_tune", fingerprint=INPUTS, marker="tf0123456789", intent_at=1.0, phase=phase, id=job_id, **changes
    )


SUCCEEDED = {"outcome": TaskOutcome.SUCCEEDED, "job_state": JobState.SUCCEEDED}
FAILED_ALIVE = {"outcome": TaskOutcome.FAILED}
FAILED_DEAD = {"outcome": TaskOutcome.FAILED, "job_state": JobState.FAILED}


class TestDecision:
    def test_nothing_before_means_a_new_job(self) -> None:
        assert decide(None, INPUTS, SubmissionPolicy()) == Create()

    @pytest.mark.parametrize(
        ("before", "expected"),
        [
            (record(Phase.PREPARING), Resume()),
            (record(Phase.INTENT), LookFor()),
            (record(Phase.SUBMITTED), Adopt()),
            (record(Phase.WAITING), Adopt()),
            (record(Phase.ENDED, **SUCCEEDED), Adopt()),
            (record(Phase.ENDED, **FAILED_ALIVE), Adopt()),
        ],
    )
    def test_a_retry_goes_on_where_the_attempt_before_stopped(self, before: JobRecord, expected: object) -> None:
        assert decide(before, INPUTS, SubmissionPolicy()) == expected

    def test_a_retry_after_a_failed_job_submits_a_new_one(self) -> None:
        assert isinstance(decide(record(Phase.ENDED, **FAILED_DEAD), INPUTS, SubmissionPolicy()), Create)

    @pytest.mark.parametrize(
        ("before", "ends"),
        [(record(Phase.WAITING), "ft-1"), (record(Phase.ENDED, **SUCCEEDED), "ft-1")],
    )
    def test_clearing_a_waiting_or_succeeded_task_starts_again(self, before: JobRecord, ends: str) -> None:
        decision = decide(before, INPUTS, SubmissionPolicy(generation=1))
        assert isinstance(decision, Create)
        assert decision.ends == ends

    @pytest.mark.parametrize("before", [record(Phase.SUBMITTED), record(Phase.ENDED, **FAILED_ALIVE)])
    def test_clearing_a_failed_task_adopts_its_living_job(self, before: JobRecord) -> None:
        assert decide(before, INPUTS, SubmissionPolicy(generation=1)) == Adopt(across_clear=True)

    def test_clearing_a_task_whose_job_failed_submits_a_new_one(self) -> None:
        decision = decide(record(Phase.ENDED, **FAILED_DEAD), INPUTS, SubmissionPolicy(generation=1))
        assert isinstance(decision, Create)

    @pytest.mark.parametrize("phase", [Phase.SUBMITTED, Phase.WAITING])
    def test_changed_inputs_start_again(self, phase: Phase) -> None:
        decision = decide(record(phase), "other inputs", SubmissionPolicy())
        assert isinstance(decision, Create)
        assert decision.ends == "ft-1"

    def test_changed_inputs_end_a_job_that_may_exist(self) -> None:
        assert decide(record(Phase.INTENT), "other inputs", SubmissionPolicy()) == LookFor(then_end=True)

    @pytest.mark.parametrize("before", [record(Phase.WAITING), record(Phase.ENDED, **SUCCEEDED)])
    def test_reattach_adopts_after_every_clear(self, before: JobRecord) -> None:
        policy = SubmissionPolicy(generation=1, on_clear="reattach")
        assert decide(before, INPUTS, policy) == Adopt(across_clear=True)

    @pytest.mark.parametrize("before", [record(Phase.SUBMITTED), record(Phase.ENDED, **FAILED_ALIVE)])
    def test_rerun_starts_again_after_every_clear(self, before: JobRecord) -> None:
        decision = decide(before, INPUTS, SubmissionPolicy(generation=1, on_clear="rerun"))
        assert isinstance(decision, Create)
        assert decision.ends == "ft-1"

    def test_rerun_does_not_touch_retries(self) -> None:
        assert decide(record(Phase.WAITING), INPUTS, SubmissionPolicy(on_clear="rerun")) == Adopt()

    def test_a_kill_counts_as_the_clears_only_shortly_after_the_adoption(self) -> None:
        adopted = record(Phase.SUBMITTED, adopted_at=100.0)
        assert killed_by_the_clear(adopted, 101.0)
        assert not killed_by_the_clear(adopted, 1_000.0)
        assert not killed_by_the_clear(record(Phase.SUBMITTED), 101.0)


def submit(remote: Remote, records: dict[str, JobRecord], spec: dict[str, Any] = SPEC, **policy: Any) -> JobRecord:
    return Process(remote, records).drive(submission(kind_named("fine_tune"), spec, SubmissionPolicy(**policy)))


class TestFlow:
    def test_the_marker_travels_in_the_suffix_and_keeps_the_users_own(self) -> None:
        remote = Remote()
        done = submit(remote, {}, {**SPEC, "suffix": "a-name-that-is-much-too-long-for-the-api-to-take"})
        suffix = remote.jobs[done.id or ""].body["suffix"]
        assert suffix.startswith("a-name-that")
        assert suffix.endswith(done.marker)
        assert len(suffix) <= 40

    def test_a_lost_answer_is_found_and_not_paid_twice(self) -> None:
        remote = Remote(lost_answers=1, shows_after=5)
        done = submit(remote, {})
        assert list(remote.jobs) == [done.id]

    def test_a_lost_request_is_sent_again_once_the_job_is_surely_not_there(self) -> None:
        remote = Remote(lost_requests=1)
        done = submit(remote, {})
        assert list(remote.jobs) == [done.id]
        assert remote.sent.count("fine_tunes.list") >= 3

    def test_a_creation_that_takes_effect_late_leaves_one_job_running(self) -> None:
        remote = Remote(lost_answers=1, late=95.0)
        done = submit(remote, {})
        assert remote.running() == [done.id]

    def test_a_refused_creation_leaves_nothing_to_look_for(self) -> None:
        remote, records = Remote(), {}
        remote.refuse = lambda operation: BadRequest("no", status_code=400) if "create" in operation.name else None
        with pytest.raises(BadRequest):
            submit(remote, records)
        assert records["task"].phase is Phase.PREPARING

    def test_a_wrong_argument_is_refused_before_anything_is_stored_as_sent(self) -> None:
        remote, records = Remote(), {}
        with pytest.raises(ArgumentInvalid, match="n_epochs"):
            submit(remote, records, {**SPEC, "n_epochs": "many"})
        assert not remote.sent
        assert "task" not in records

    def test_clearing_a_waiting_task_ends_the_old_job_and_leaves_one_new(self) -> None:
        remote, records = Remote(), {}
        old = submit(remote, records)
        records["task"] = replace(records["task"], phase=Phase.WAITING)
        new = submit(remote, records, generation=1)
        assert remote.cancelled == [old.id]
        assert remote.running() == [new.id]

    def test_an_adopted_job_that_is_dead_meanwhile_is_replaced(self) -> None:
        remote, records = Remote(), {}
        old = submit(remote, records)
        remote.finish(old.id or "", "error")
        new = submit(remote, records)
        assert remote.running() == [new.id]
        assert remote.cancelled == []

    def test_a_job_that_somebody_cancelled_is_not_resubmitted_by_a_retry(self) -> None:
        remote, records = Remote(), {}
        old = submit(remote, records)
        remote.finish(old.id or "", "cancelled")
        assert submit(remote, records).id == old.id

    def test_an_endpoint_that_stopped_meanwhile_is_replaced_by_a_retry(self) -> None:
        remote, records = Remote(), {}
        spec = {"model": "m", "hardware": "1x", "autoscaling": {"min_replicas": 1, "max_replicas": 1}}
        process = Process(remote, records)
        old = process.drive(submission(kind_named("endpoint"), spec, SubmissionPolicy()))
        remote.finish(old.id or "", "STOPPED")
        new = process.drive(submission(kind_named("endpoint"), spec, SubmissionPolicy()))
        assert remote.running() == [new.id]
        assert new.id != old.id

    @pytest.mark.parametrize("after", [False, True])
    def test_a_death_at_any_step_leaves_exactly_one_job(self, after: bool) -> None:
        whole = Process(Remote(), {})
        whole.drive(submission(kind_named("fine_tune"), SPEC, SubmissionPolicy()))
        for step in range(1, whole.steps + 1):
            remote, records = Remote(shows_after=4), {}
            with pytest.raises(Crash):
                Process(remote, records, dies_at=step, after=after).drive(
                    submission(kind_named("fine_tune"), SPEC, SubmissionPolicy())
                )
            done = submit(remote, records)
            assert list(remote.jobs) == [done.id], f"died at step {step}"


class TestBatchOnItsOwnFile:
    def spec(self, folder: Path) -> dict[str, Any]:
        path = folder / "rows.jsonl"
        path.write_text('{"custom_id": "a", "body": {"model": "m", "messages": [{"role": "user", "content": "x"}]}}\n')
        return {"input_path": str(path), "endpoint": "/v1/chat/completions"}

    @pytest.mark.parametrize("after", [False, True])
    def test_a_death_at_any_step_leaves_exactly_one_batch(self, tmp_path: Path, after: bool) -> None:
        spec = self.spec(tmp_path)
        whole = Process(Remote(), {})
        whole.drive(submission(kind_named("batch"), spec, SubmissionPolicy()))
        for step in range(1, whole.steps + 1):
            remote, records = Remote(shows_after=4), {}
            flow = submission(kind_named("batch"), spec, SubmissionPolicy())
            with pytest.raises(Crash):
                Process(remote, records, dies_at=step, after=after).drive(flow)
            flow.close()
            done = Process(remote, records).drive(submission(kind_named("batch"), spec, SubmissionPolicy()))
            assert list(remote.jobs) == [done.id], f"died at step {step}"

    def test_a_death_while_the_file_is_on_its_way_keeps_the_marker(self, tmp_path: Path) -> None:
        remote, records, spec = Remote(), dict[str, JobRecord](), self.spec(tmp_path)
        flow = submission(kind_named("batch"), spec, SubmissionPolicy())
        with pytest.raises(Crash):
            Process(remote, records, dies_at=4, after=True).drive(flow)
        flow.close()
        assert len(remote.files) == 1
        done = Process(remote, records).drive(submission(kind_named("batch"), spec, SubmissionPolicy()))
        assert len(remote.files) == 1  # the same content, so the same file
        assert records["task"].marker == done.marker

    def test_two_tasks_with_the_same_rows_get_a_batch_each(self, tmp_path: Path) -> None:
        remote, spec = Remote(lost_answers=2), self.spec(tmp_path)
        first = Process(remote, {}, key="a").drive(submission(kind_named("batch"), spec, SubmissionPolicy()))
        second = Process(remote, {}, key="b").drive(submission(kind_named("batch"), spec, SubmissionPolicy()))
        assert {first.id, second.id} == set(remote.jobs)
        assert len(remote.jobs) == 2

    def test_a_lost_batch_on_a_shared_file_is_not_paid_twice(self) -> None:
        spec = {"input_file_id": "file-9", "endpoint": "/v1/chat/completions"}
        remote = Remote(lost_answers=1)
        with pytest.raises(SubmissionUnknown, match="nothing to find it by"):
            Process(remote, {}).drive(submission(kind_named("batch"), spec, SubmissionPolicy()))
        assert len(remote.jobs) == 1


class TestEndpoint:
    SPEC = {  # noqa: RUF012 - a constant
        "model": "meta-llama/Llama-3.3-70B-Instruct-Turbo",
        "hardware": "1x_nvidia_h100_80gb_sxm",
        "autoscaling": {"min_replicas": 1, "max_replicas": 1},
    }

    def test_a_lost_endpoint_is_found_by_reading_each_candidate(self) -> None:
        remote = Remote(lost_answers=1)
        done = Process(remote, {}).drive(submission(kind_named("endpoint"), self.SPEC, SubmissionPolicy()))
        assert list(remote.jobs) == [done.id]

    def test_an_endpoint_that_is_replaced_is_stopped_and_deleted(self) -> None:
        remote, records = Remote(), {}
        kind = kind_named("endpoint")
        Process(remote, records).drive(submission(kind, self.SPEC, SubmissionPolicy()))
        new = Process(remote, records).drive(submission(kind, {**self.SPEC, "inactive_timeout": 5}, SubmissionPolicy()))
        assert list(remote.jobs) == [new.id]


def test_what_a_job_was_estimated_to_cost_comes_back_with_its_result() -> None:
    remote, records = Remote(), {}
    kind = kind_named("fine_tune")
    process = Process(remote, records)
    record = process.drive(submission(kind, SPEC, SubmissionPolicy(estimated_usd=4.25)))
    remote.finish(record.id or "", "completed")
    adopted = process.drive(submission(kind, SPEC, SubmissionPolicy()))
    status = kind.status(remote.row(remote.jobs[record.id or ""]))
    assert process.drive(conclude(kind, adopted.reference, Done(status)))["estimated_price_usd"] == 4.25


def test_a_job_that_was_told_to_end_and_did_not_is_ended_before_the_next_is_submitted() -> None:
    remote, records = Remote(), {}
    old = submit(remote, records)
    records["task"] = replace(
        records["task"], phase=Phase.ENDED, outcome=TaskOutcome.FAILED, job_state=JobState.CANCELLED
    )
    new = submit(remote, records)
    assert remote.cancelled == [old.id]
    assert remote.running() == [new.id]


@pytest.mark.parametrize("told", [None, JobState.EXPIRED])
def test_an_ended_job_whose_results_are_still_of_use_is_adopted(told: JobState | None) -> None:
    remote, records = Remote(), {}
    old = submit(remote, records)
    remote.finish(old.id or "", "error")
    records["task"] = replace(records["task"], phase=Phase.ENDED, outcome=TaskOutcome.FAILED, job_state=told)
    assert submit(remote, records, keep_ended=True).id == old.id
