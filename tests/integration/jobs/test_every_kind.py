"""Every kind of job against the emulator, through the real clients: from the submission to the end, on bad days too."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from together_flows import AsyncTogether
from together_flows.errors import JobCancelled, JobFailed, SubmissionUnknown, WaitTimeout
from together_flows.jobs import KINDS, JobWatcher, SubmissionPolicy, WaitPolicy, arun, end_job, kind_named
from together_flows.jobs.model import JobState
from together_flows.jobs.outcome import conclude
from together_flows.jobs.record import Phase, TaskOutcome
from together_flows.jobs.submission import submission
from together_flows.jobs.waiting import Done

from .desk import CASES, Desk

every_kind = pytest.mark.parametrize("name", CASES)
findable = pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.findable])
lost_for_good = pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.findable])

#: Kinds that the API can end while they are at work.
ENDED = [name for name in CASES if kind_named(name).end is not None]


def _without_signatures(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What two looks at one job have in common: each answer signs the addresses in it anew, for an hour from then."""
    return dict(json.loads(re.sub(r"\?expires=\d+&signature=[0-9a-f]+", "", json.dumps(manifest))))


def test_there_is_a_case_of_every_kind() -> None:
    assert set(CASES) == set(KINDS)


@every_kind
def test_a_job_is_submitted_awaited_and_concluded(name: str, desk: Desk) -> None:
    record = desk.submit(name, CASES[name].spec(desk))
    outcome = desk.wait(record.reference)
    assert isinstance(outcome, Done)
    assert outcome.status.state is JobState.SUCCEEDED
    assert outcome.status.reference == record.reference
    manifest = desk.conclude(record.reference, outcome)
    assert len(json.dumps(manifest)) < 2_000
    assert desk.store.records["task"].outcome is TaskOutcome.SUCCEEDED
    assert desk.created(name) == 1
    assert not [line for line in desk.log if "unknown to this version" in line]


@every_kind
async def test_a_job_is_submitted_watched_and_concluded_on_the_event_loop(
    name: str, desk: Desk, async_client: AsyncTogether
) -> None:
    kind, spec = kind_named(name), CASES[name].spec(desk)
    driver = {"client": async_client, "store": desk.store, "key": "task", "clock": desk.clock}
    record = await arun(submission(kind, spec, SubmissionPolicy()), **driver)
    watcher = JobWatcher(async_client, clock=desk.clock)
    outcome = await watcher.wait(record.reference, WaitPolicy(interval=2.0, deadline=desk.clock.now() + 600))
    assert isinstance(outcome, Done)
    assert outcome.status.reference == record.reference
    manifest = await arun(conclude(kind, record.reference, outcome), **driver)
    awaited = desk.conclude(record.reference, desk.wait(record.reference))
    assert _without_signatures(manifest) == _without_signatures(awaited)
    assert desk.created(name) == 1


@findable
@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_lost_call_leaves_one_job_and_the_retry_adopts_it(name: str, drop: str, desk: Desk) -> None:
    spec = CASES[name].spec(desk)
    desk.emulator.fault(method="POST", path=CASES[name].creates, drop=drop)
    first = desk.submit(name, spec, settle=5.0)
    assert kind_named(name).repeatable or any("answer to a submission was lost" in line for line in desk.log)
    assert desk.created(name) == 1
    assert desk.submit(name, spec).id == first.id
    assert desk.created(name) == 1


@lost_for_good
@pytest.mark.parametrize(("drop", "made"), [("before", 0), ("after", 1)])
def test_a_lost_call_is_not_repeated_where_its_job_cannot_be_found(name: str, drop: str, made: int, desk: Desk) -> None:
    spec = CASES[name].spec(desk)
    desk.emulator.fault(method="POST", path=CASES[name].creates, drop=drop)
    for _ in range(2):
        with pytest.raises(SubmissionUnknown, match="nothing to find it by"):
            desk.submit(name, spec)
    assert desk.created(name) == made
    desk.submit(name, spec, on_unknown="create")
    assert desk.created(name) == made + 1


@findable
def test_a_lost_job_is_found_although_lists_show_it_late(name: str, desk: Desk) -> None:
    spec = CASES[name].spec(desk)
    desk.emulator.settings(speed=60, list_delay=15)  # a quarter of a second
    desk.emulator.fault(method="POST", path=CASES[name].creates, drop="after")
    record = desk.submit(name, spec, settle=60.0)
    assert record.phase is Phase.SUBMITTED
    assert desk.created(name) == 1


@every_kind
def test_a_server_that_is_busy_for_a_while_does_not_end_the_wait(name: str, desk: Desk) -> None:
    record = desk.submit(name, CASES[name].spec(desk))
    desk.emulator.fault(method="GET", path=CASES[name].reads, status=503, times=12)
    assert isinstance(desk.wait(record.reference), Done)
    assert any(line.startswith(f"Looking at {record.reference} failed") for line in desk.log)
    assert desk.emulator.faults()[0]["hits"] == 12


@pytest.mark.parametrize("name", ENDED)
def test_a_job_is_ended_and_ending_it_again_does_no_harm(name: str, desk: Desk) -> None:
    case, kind = CASES[name], kind_named(name)
    spec = case.spec(desk)
    desk.emulator.settings(speed=case.ending_speed)
    record = desk.submit(name, spec)
    assert desk.running(name) == 1
    ended = desk.run(end_job(kind, record.reference.id))
    assert ended.state is JobState.CANCELLED
    assert desk.running(name) == 0
    assert desk.run(end_job(kind, record.reference.id)).state is JobState.CANCELLED
    assert desk.created(name) == 1


@pytest.mark.parametrize("name", ENDED)
def test_a_passed_deadline_ends_the_job_and_says_so(name: str, desk: Desk) -> None:
    spec = CASES[name].spec(desk)
    desk.emulator.settings(speed=CASES[name].ending_speed)
    record = desk.submit(name, spec)
    outcome = desk.wait(record.reference, deadline=desk.clock.now() + 0.01)
    with pytest.raises(WaitTimeout, match="was cancelled"):
        desk.conclude(record.reference, outcome)
    assert desk.running(name) == 0
    assert desk.store.records["task"].job_state is JobState.CANCELLED


@every_kind
def test_a_failed_job_fails_the_task_with_its_own_words(name: str, desk: Desk) -> None:
    desk.emulator.settings(fail={name: "the disk is full"})
    record = desk.submit(name, CASES[name].spec(desk))
    with pytest.raises(JobFailed) as failed:
        desk.conclude(record.reference, desk.wait(record.reference))
    assert not isinstance(failed.value, JobCancelled)
    assert ("the disk is full" in str(failed.value)) is CASES[name].tells_why
    assert desk.store.records["task"].outcome is TaskOutcome.FAILED
    assert desk.running(name) == 0


@pytest.mark.parametrize("name", [name for name in CASES if kind_named(name).bills_until_stopped])
def test_work_that_bills_is_replaced_by_new_work_and_not_doubled(name: str, desk: Desk) -> None:
    spec = CASES[name].spec(desk)
    first = desk.submit(name, spec)
    assert isinstance(desk.wait(first.reference), Done)
    second = desk.submit(name, spec, replace=True)
    assert second.id != first.id
    assert isinstance(desk.wait(second.reference), Done)
    kind = kind_named(name)
    assert kind.list_all is not None
    rows = kind.rows(desk.client.send(kind.list_all().untyped()))
    assert [kind.id_of(row) for row in rows if kind.status(row).state not in kind.over] == [second.id]
