"""Job records as artifacts of a flow run: what an artifact holds, and who may take a record over."""

from __future__ import annotations

import json
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.client.schemas.objects import Artifact

from together_flows.jobs import JobRecord, JobState, Phase, TaskOutcome
from together_flows.prefect.identity import Owner
from together_flows.prefect.kept import KeptRecord
from together_flows.prefect.paging import every
from together_flows.prefect.records import is_over, key_of

RUN = UUID(int=1)
RECORD = JobRecord(
    kind="fine_tune", fingerprint="f" * 64, marker="tf0", intent_at=5.0, phase=Phase.SUBMITTED, id="ft-1"
)


def owner(task_run: str = "a", attempt: int = 1) -> Owner:
    return Owner(RUN, attempt, task_run)


def artifact(data: object) -> Artifact:
    return Artifact(type="result", data=data, flow_run_id=RUN)


@given(
    credentials=st.text(),
    attempt=st.integers(1, 99),
    taken=st.booleans(),
    leaves=st.booleans(),
    job_id=st.none() | st.text(min_size=1),
    state=st.none() | st.sampled_from(JobState),
)
def test_a_record_reads_back_as_it_was_written(
    credentials: str, attempt: int, taken: bool, leaves: bool, job_id: str | None, state: JobState | None
) -> None:
    record = replace(RECORD, id=job_id, job_state=state)
    kept = KeptRecord("k.f", record, credentials, attempt, taken, leaves, flow_run_id=RUN)
    written = artifact(json.loads(json.dumps(kept.dump())))
    assert KeptRecord.parse(written) == replace(kept, artifact_id=written.id)


def test_a_record_that_was_written_before_a_stop_could_leave_its_job_can_be_read() -> None:
    data = KeptRecord("k.f", RECORD, flow_run_id=RUN).dump()
    del data["leaves"]
    read = KeptRecord.parse(artifact(data))
    assert read is not None
    assert not read.leaves


def test_a_record_stays_small() -> None:
    kept = KeptRecord("0" * 32 + "." + "f" * 16, RECORD, "together", flow_run_id=RUN)
    assert len(json.dumps(kept.dump(), separators=(",", ":"))) < 400, "a run that has a thousand reads them all"


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_list_is_read_whole_however_few_rows_come_at_once(size: int) -> None:
    rows = list(range(5))
    assert list(every(lambda offset: rows[offset : offset + size])) == rows


@pytest.mark.parametrize("data", [None, "text", 3, {}, {"kind": "fine_tune"}])
def test_an_artifact_of_somebody_else_is_no_record(data: object) -> None:
    assert KeptRecord.parse(artifact(data)) is None


def test_the_same_task_run_with_the_same_inputs_means_the_same_job() -> None:
    assert key_of(owner(), "f" * 64) == key_of(owner(), "f" * 64)


def test_another_task_run_or_other_inputs_mean_another_job() -> None:
    assert len({key_of(owner("a"), "f" * 64), key_of(owner("b"), "f" * 64), key_of(owner("a"), "e" * 64)}) == 3


def test_a_flows_own_body_may_ask_twice_and_finds_both_again_when_it_is_tried_again() -> None:
    def keys(attempt: int) -> list[str]:
        return [key_of(Owner(UUID(int=7), attempt, "flow"), "f" * 64) for _ in range(2)]

    first = keys(1)
    assert len(set(first)) == 2
    assert keys(2) == first


@pytest.mark.parametrize(
    ("kept", "attempt", "free"),
    [
        (KeptRecord("k", RECORD, attempt=1), 1, False),
        (KeptRecord("k", RECORD, attempt=1), 2, True),
        (KeptRecord("k", RECORD, attempt=1, taken=True), 2, False),
        (KeptRecord("k", replace(RECORD, outcome=TaskOutcome.FAILED), attempt=2), 2, True),
        (KeptRecord("k", replace(RECORD, outcome=TaskOutcome.SUCCEEDED), attempt=2), 2, False),
    ],
)
def test_a_record_is_taken_over_from_an_attempt_before_or_from_a_task_that_failed(
    kept: KeptRecord, attempt: int, free: bool
) -> None:
    assert kept.is_open_to(owner(attempt=attempt)) is free


@pytest.mark.parametrize(
    ("kind", "phase", "state", "over"),
    [
        ("fine_tune", Phase.PREPARING, None, True),
        ("fine_tune", Phase.INTENT, None, False),
        ("fine_tune", Phase.SUBMITTED, None, False),
        ("fine_tune", Phase.ENDED, JobState.SUCCEEDED, True),
        ("fine_tune", Phase.ENDED, None, False),
        ("endpoint", Phase.ENDED, JobState.SUCCEEDED, False),
        ("endpoint", Phase.ENDED, JobState.FAILED, False),
        ("endpoint", Phase.ENDED, JobState.CANCELLED, True),
    ],
)
def test_what_bills_until_it_is_stopped_is_over_only_when_it_was_stopped(
    kind: str, phase: Phase, state: JobState | None, over: bool
) -> None:
    assert is_over(replace(RECORD, kind=kind, phase=phase, job_state=state)) is over
