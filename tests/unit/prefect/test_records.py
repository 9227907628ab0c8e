"""Job records as labels of a flow run: what a label holds, and who may take it over."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from together_flows.errors import TogetherError
from together_flows.jobs import JobRecord, JobState, Phase, TaskOutcome
from together_flows.prefect import records
from together_flows.prefect.identity import Owner
from together_flows.prefect.labels import Label, labels_in
from together_flows.prefect.records import FlowRunStore, is_over, key_of

RUN = UUID(int=1)
RECORD = JobRecord(
    kind="fine_tune", fingerprint="f" * 64, marker="tf0", intent_at=5.0, phase=Phase.SUBMITTED, id="ft-1"
)


def owner(task_run: str = "a", attempt: int = 1) -> Owner:
    return Owner(RUN, attempt, task_run)


@given(
    credentials=st.text(),
    attempt=st.integers(1, 99),
    taken=st.booleans(),
    job_id=st.none() | st.text(min_size=1),
    state=st.none() | st.sampled_from(JobState),
)
def test_a_label_reads_back_as_it_was_written(
    credentials: str, attempt: int, taken: bool, job_id: str | None, state: JobState | None
) -> None:
    record = replace(RECORD, id=job_id, job_state=state)
    label = Label("k.f", record, credentials, attempt, taken)
    assert labels_in({"prefect.flow.id": "x", "number": 3, **label.dump()}) == [label]


class SlowServer:
    """Takes its time for the first write, and may refuse the others."""

    def __init__(self, refuses: Exception | None = None) -> None:
        self.writes: list[list[str]] = []
        self.is_writing, self.may_go_on = threading.Event(), threading.Event()
        self._refuses = refuses

    def write(self, flow_run_id: UUID, *labels: Label) -> None:
        self.writes.append(sorted(label.key for label in labels))
        if len(self.writes) == 1:
            self.is_writing.set()
            assert self.may_go_on.wait(60)
        elif self._refuses:
            raise self._refuses


@pytest.mark.parametrize("refusal", [None, TogetherError("not kept")])
def test_records_that_come_while_one_is_written_are_written_together(
    refusal: TogetherError | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = SlowServer(refusal)
    monkeypatch.setattr(records, "write_labels", server.write)
    keys = [f"{number}.f" for number in range(9)]
    with ThreadPoolExecutor(len(keys)) as threads:
        first = threads.submit(FlowRunStore(owner(), "").save, keys[0], RECORD)
        assert server.is_writing.wait(60)
        others = [threads.submit(FlowRunStore(owner(), "").save, key, RECORD) for key in keys[1:]]
        while len(records._queue.get(RUN, [])) < len(others):
            time.sleep(0.001)
        server.may_go_on.set()
        assert first.result(60) is None
        assert {other.exception(60) for other in others} == {refusal}
    assert server.writes == [keys[:1], keys[1:]]


def test_a_label_stays_small() -> None:
    [(name, text)] = Label("0" * 32 + "." + "f" * 16, RECORD, "together").dump().items()
    assert len(name) + len(text) < 400, "every write of a label sends it, and a run may have a thousand"


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
    ("label", "attempt", "free"),
    [
        (Label("k", RECORD, attempt=1), 1, False),
        (Label("k", RECORD, attempt=1), 2, True),
        (Label("k", RECORD, attempt=1, taken=True), 2, False),
        (Label("k", replace(RECORD, outcome=TaskOutcome.FAILED), attempt=2), 2, True),
        (Label("k", replace(RECORD, outcome=TaskOutcome.SUCCEEDED), attempt=2), 2, False),
    ],
)
def test_a_record_is_taken_over_from_an_attempt_before_or_from_a_task_that_failed(
    label: Label, attempt: int, free: bool
) -> None:
    assert label.is_open_to(owner(attempt=attempt)) is free


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
