"""Job records on a Prefect server: found again by whoever may, taken over once, and never undone by another's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from contextvars import copy_context
from dataclasses import replace
from typing import Any, TypeVar
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from together_flows.jobs import JobRecord, JobReference, Phase, TaskOutcome
from together_flows.prefect import records
from together_flows.prefect.identity import Owner
from together_flows.prefect.kept import KeptRecord, kept_by, write
from together_flows.prefect.records import FlowRunStore, KnownRecords, kept_by_job, look_up

T = TypeVar("T")

pytestmark = pytest.mark.usefixtures("prefect_server")


@flow
def nothing() -> None:
    """A flow whose runs only keep records."""


@pytest.fixture
def run_id() -> UUID:
    with get_client(sync_client=True) as prefect:
        return prefect.create_flow_run(nothing).id


def record_of(job_id: str | None = None, **changes: Any) -> JobRecord:
    phase = Phase.SUBMITTED if job_id else Phase.INTENT
    record = JobRecord(
        kind="fine_tune", fingerprint="f" * 64, marker=f"tf{job_id}", intent_at=5.0, phase=phase, id=job_id
    )
    return replace(record, **changes)


def store(run_id: UUID, task_run: str, attempt: int = 1) -> FlowRunStore:
    return FlowRunStore(Owner(run_id, attempt, task_run), "block")


def at_once(calls: list[Callable[[], T]]) -> list[T]:
    with ThreadPoolExecutor(len(calls)) as threads:
        return [future.result(60) for future in [threads.submit(copy_context().run, call) for call in calls]]


def test_a_record_is_found_again_and_replaced_by_the_next(run_id: UUID) -> None:
    assert store(run_id, "a").load("a.f") is None
    for job_id in (None, "ft-1"):
        store(run_id, "a").save("a.f", record_of(job_id))
        assert store(run_id, "a").load("a.f") == record_of(job_id)
    [kept] = kept_by(run_id)
    assert (kept.key, kept.credentials, kept.attempt) == ("a.f", "block", 1)


def test_records_that_are_written_at_once_are_all_kept(run_id: UUID) -> None:
    keys = [f"{number}.f" for number in range(24)]

    def submission(key: str) -> Callable[[], None]:
        def submit() -> None:
            own = store(run_id, key)
            assert own.load(key) is None
            own.save(key, record_of(marker=f"tfft-{key}"))
            own.save(key, record_of(f"ft-{key}"))

        return submit

    at_once([submission(key) for key in keys])
    assert {kept.key: kept.record for kept in kept_by(run_id)} == {key: record_of(f"ft-{key}") for key in keys}


@pytest.mark.parametrize("in_one_process", [True, False])
def test_each_record_of_the_attempt_before_is_taken_over_once(
    run_id: UUID, in_one_process: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not in_one_process:
        monkeypatch.setattr(records, "_taking_over", nullcontext())
    left = [f"ft-{number}" for number in range(5)]
    for job_id in left:
        store(run_id, job_id).save(f"{job_id}.f", record_of(job_id))
    found = at_once([lambda n=n: store(run_id, f"new{n}", 2).load(f"new{n}.f") for n in range(9)])
    assert Counter(record.id for record in found if record) == Counter(left)
    assert {job.id for job in kept_by_job(run_id)} == set(left)
    assert {kept.key[:3] for kept in kept_by_job(run_id).values()} == {"new"}
    assert store(run_id, left[0]).load(f"{left[0]}.f") is None, "its task run is over, and the job another's"


def test_whoever_was_too_slow_to_take_a_record_over_keeps_one_of_its_own(
    run_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(run_id, "a").save("a.f", record_of("ft-1"))
    late = iter([kept_by(run_id)] * 2)
    assert store(run_id, "quick", 2).load("quick.f") == record_of("ft-1")
    slow = store(run_id, "slow", 2)
    monkeypatch.setattr(records, "kept_by", lambda *runs: next(late, None) or kept_by(*runs))
    assert slow.load("slow.f") is None
    slow.save("slow.f", record_of("ft-2"))
    found = {kept.key: kept.record.id for kept in kept_by_job(run_id).values()}
    assert found == {"quick.f": "ft-1", "slow.f": "ft-2"}


def test_a_record_of_other_inputs_or_of_a_task_that_lives_is_not_taken_over(run_id: UUID) -> None:
    store(run_id, "a").save("a.f", record_of("ft-1"))
    assert store(run_id, "b", 2).load("b.e") is None
    assert store(run_id, "b", 1).load("b.f") is None


def test_a_task_takes_over_what_a_task_that_failed_has_left(run_id: UUID) -> None:
    failed = record_of("ft-1", outcome=TaskOutcome.FAILED)
    store(run_id, "a").save("a.f", failed)
    assert store(run_id, "b").load("b.f") == record_of("ft-1")


def test_a_task_that_failed_finds_its_own_record_again_and_nobody_else_takes_it(run_id: UUID) -> None:
    store(run_id, "a").save("a.f", record_of("ft-1", outcome=TaskOutcome.FAILED))
    assert store(run_id, "a").load("a.f") == record_of("ft-1")
    assert store(run_id, "b").load("b.f") is None


def test_a_flows_own_body_finds_its_records_again_and_no_task_takes_them(run_id: UUID) -> None:
    for number in range(2):
        store(run_id, "flow").save(f"flow{number}.f", record_of(f"ft-{number}"))
    for number in range(2):
        assert store(run_id, "flow", 2).load(f"flow{number}.f") == record_of(f"ft-{number}")
    assert store(run_id, "flow", 2).load("flow2.f") is None


def test_a_job_of_another_account_is_not_taken_over(run_id: UUID) -> None:
    FlowRunStore(Owner(run_id, 1, "a"), "other").save("a.f", record_of("ft-1"))
    assert store(run_id, "b", 2).load("b.f") is None


def test_a_flows_own_body_finds_its_job_also_when_its_block_has_got_another_name(run_id: UUID) -> None:
    FlowRunStore(Owner(run_id, 1, "flow"), "old").save("flow0.f", record_of("ft-1"))
    assert FlowRunStore(Owner(run_id, 2, "flow"), "new").load("flow0.f") == record_of("ft-1")


def test_of_two_jobs_that_were_left_the_later_is_taken_over_first(run_id: UUID) -> None:
    store(run_id, "a").save("a.f", record_of("ft-1"))
    store(run_id, "b").save("b.f", record_of("ft-2", intent_at=6.0))
    assert store(run_id, "c", 2).load("c.f") == record_of("ft-2", intent_at=6.0)


def test_looking_a_record_up_does_not_take_it_over(run_id: UUID) -> None:
    store(run_id, "a").save("a.f", record_of("ft-1"))
    assert look_up(store(run_id, "b", 2), "b.f") is None
    assert look_up(store(run_id, "a", 2), "a.f") == record_of("ft-1")


def test_of_the_failed_runs_of_a_subflow_the_one_that_went_on_counts(
    run_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    with get_client(sync_client=True) as prefect:
        first, second = (prefect.create_flow_run(nothing) for _ in range(2))
    store(first.id, "a").save("a.f", record_of(marker="tf1"))
    monkeypatch.setattr(records, "forerunners", lambda run: [first])
    heir = store(second.id, "b")
    with monkeypatch.context() as killed:
        killed.setattr(records, "write", lambda kept: kept if kept.taken else write(kept))
        assert heir.load("b.f") == record_of(marker="tf1")
    heir.save("b.f", record_of("ft-1", marker="tf1"))
    monkeypatch.setattr(records, "forerunners", lambda run: [first, second])
    assert store(run_id, "c").load("c.f") == record_of("ft-1", marker="tf1")
    assert store(run_id, "d").load("d.f") is None


def test_a_task_whose_record_was_taken_over_keeps_its_next_job_as_any_other(run_id: UUID) -> None:
    store(run_id, "a").save("a.f", record_of("ft-1", outcome=TaskOutcome.FAILED))
    assert store(run_id, "b").load("b.f") == record_of("ft-1")
    retry = store(run_id, "a")
    assert retry.load("a.f") is None
    for job_id in (None, "ft-2"):
        retry.save("a.f", record_of(job_id, marker="tf2"))
        assert store(run_id, "a").load("a.f") == record_of(job_id, marker="tf2")
    assert store(run_id, "b").load("b.f") == record_of("ft-1")


def test_whoever_has_read_a_record_writes_it_for_its_owner(run_id: UUID) -> None:
    store(run_id, "a").save("a.f", record_of("ft-1"))
    known = KnownRecords.of(*kept_by(run_id))
    known.save("a.f", record_of("ft-1", phase=Phase.ENDED))
    [kept] = kept_by(run_id)
    assert (kept.record.phase, kept.credentials, kept.attempt) == (Phase.ENDED, "block", 1)
    assert known.load("a.f") == kept.record


def test_whoever_has_read_a_record_loses_it_to_who_takes_it_over(run_id: UUID) -> None:
    store(run_id, "a").save("a.f", record_of("ft-1"))
    known = KnownRecords.of(*kept_by(run_id))
    heir = store(run_id, "b", 2)
    assert heir.load("b.f") == record_of("ft-1")
    heir.save("b.f", record_of("ft-2"))
    assert known.load("a.f") is None
    known.save("a.f", record_of("ft-1", phase=Phase.ENDED))
    assert [kept.record for kept in kept_by(run_id) if not kept.taken] == [record_of("ft-2")]


def test_a_process_that_was_taken_for_dead_does_not_undo_who_goes_on_for_it(run_id: UUID) -> None:
    dead = store(run_id, "a")
    dead.save("a.f", record_of(marker="tf1"))
    heir = store(run_id, "b", 2)
    assert heir.load("b.f") == record_of(marker="tf1")
    heir.save("b.f", record_of("ft-2", marker="tf2"))
    dead.save("a.f", record_of("ft-1", marker="tf1"))
    assert {kept.key: kept.record.id for kept in kept_by(run_id)} == {"a.f": "ft-1", "b.f": "ft-2"}


def test_a_record_whose_artifact_was_deleted_is_written_anew(run_id: UUID) -> None:
    own = store(run_id, "a")
    own.save("a.f", record_of())
    [kept] = kept_by(run_id)
    assert kept.artifact_id
    with get_client(sync_client=True) as prefect:
        prefect.delete_artifact(kept.artifact_id)
    own.save("a.f", record_of("ft-1"))
    assert store(run_id, "a").load("a.f") == record_of("ft-1")


def test_a_deleted_run_submits_nothing(run_id: UUID) -> None:
    with get_client(sync_client=True) as prefect:
        prefect.delete_flow_run(run_id)
    with pytest.raises(ObjectNotFound):
        store(run_id, "a").load("a.f")


def test_of_a_record_that_was_created_twice_the_last_written_counts(run_id: UUID) -> None:
    first, second = (write(KeptRecord("a.f", record_of(), flow_run_id=run_id)) for _ in range(2))
    assert kept_by(run_id) == [first]
    later = write(replace(second, record=record_of("ft-1")))
    assert kept_by(run_id) == [later]
    assert store(run_id, "a").load("a.f") == record_of("ft-1")


def test_a_record_that_was_created_twice_is_taken_over_once(run_id: UUID) -> None:
    for _ in range(2):
        write(KeptRecord("a.f", record_of(), "block", flow_run_id=run_id))
    assert store(run_id, "b", 2).load("b.f") == record_of()
    assert store(run_id, "c", 2).load("c.f") is None


def test_a_run_may_have_more_jobs_than_one_answer_holds(run_id: UUID) -> None:
    jobs = [f"ft-{number}" for number in range(203)]
    at_once([lambda part=part: [_create(run_id, job_id) for job_id in jobs[part::8]] for part in range(8)])
    assert kept_by_job(run_id).keys() == {JobReference("fine_tune", job_id) for job_id in jobs}


def _create(run_id: UUID, job_id: str) -> KeptRecord:
    return write(KeptRecord(f"{job_id}.f", record_of(job_id), flow_run_id=run_id))
