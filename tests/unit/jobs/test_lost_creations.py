"""Whatever dies and whatever answer is lost: one job of a kind that can be found, and a clear word about the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.jobs.specimens import SPECIMENS
from tests.unit.jobs.surfaces import SURFACES
from tests.unit.jobs.world import Crash, Process, Remote
from together_flows.errors import BadRequest, Conflict, ConnectionFailed, SubmissionUnknown, TogetherError
from together_flows.jobs.kind import KINDS, kind_named
from together_flows.jobs.record import JobRecord, Phase
from together_flows.jobs.submission import SubmissionPolicy, submission

FINDABLE = [name for name in KINDS if SPECIMENS[name].findable]
LOST_FOR_GOOD = [name for name in KINDS if not SPECIMENS[name].findable]
CREATED = [name for name in KINDS if name != "file"]


class Account:
    """A person's submissions of one specification, over and over."""

    def __init__(self, name: str, folder: Path, **remote: Any) -> None:
        self.kind = kind_named(name)
        self.spec = SPECIMENS[name].place(folder)
        self.remote = Remote(**remote)
        self.records: dict[str, JobRecord] = {}

    def submit(self, *, dies_at: int = 0, after: bool = False, key: str = "task", **policy: Any) -> JobRecord:
        process = Process(self.remote, self.records, key=key, dies_at=dies_at, after=after)
        flow = submission(self.kind, self.spec, SubmissionPolicy(**policy))
        try:
            record = process.drive(flow)
        finally:
            flow.close()
        assert isinstance(record, JobRecord)
        return record

    def made(self) -> list[str | None]:
        """The jobs that there are."""
        return [*self.remote.jobs] if self.kind.name in SURFACES else [*self.remote.files]

    def own_ids(self, *records: JobRecord) -> set[str]:
        """The API's own ids of the jobs in the records: what stands last in what reading takes."""
        return {(record.id or "").rpartition("/")[2] for record in records}


def steps_of(name: str, folder: Path) -> int:
    account = Account(name, folder)
    process = Process(account.remote, {})
    process.drive(submission(account.kind, account.spec, SubmissionPolicy()))
    return process.steps


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("name", FINDABLE)
def test_a_death_at_any_step_leaves_exactly_one_job(name: str, after: bool, tmp_path: Path) -> None:
    for step in range(1, steps_of(name, tmp_path) + 1):
        account = Account(name, tmp_path, shows_after=4.0)
        with pytest.raises(Crash):
            account.submit(dies_at=step, after=after)
        record = account.submit()
        assert set(account.made()) == account.own_ids(record), f"died at step {step}"


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("name", LOST_FOR_GOOD)
def test_a_death_never_makes_a_second_job_of_a_kind_that_cannot_be_found(
    name: str, after: bool, tmp_path: Path
) -> None:
    unknown = 0
    for step in range(1, steps_of(name, tmp_path) + 1):
        account = Account(name, tmp_path)
        with pytest.raises(Crash):
            account.submit(dies_at=step, after=after)
        if account.records and account.records["task"].phase is Phase.INTENT:
            unknown += 1
            with pytest.raises(SubmissionUnknown, match=r"nothing to find it by.*on_clear="):
                account.submit()
        else:
            assert account.own_ids(account.submit()) == set(account.made())
        assert len(account.made()) <= 1, f"died at step {step}"
    assert unknown  # between the record of the intent and that of the id


@pytest.mark.parametrize("name", [name for name in CREATED if SPECIMENS[name].findable])
@pytest.mark.parametrize("loses", ["answer", "request"])
def test_a_lost_call_leaves_exactly_one_job(name: str, loses: str, tmp_path: Path) -> None:
    account = Account(name, tmp_path, shows_after=5.0)
    setattr(account.remote, f"lost_{loses}s", 1)
    try:
        record = account.submit()
    except ConnectionFailed:  # of what may be repeated, the client gives up with this, and the task is retried
        assert account.kind.repeatable
        record = account.submit()
    assert set(account.made()) == account.own_ids(record)


@pytest.mark.parametrize("name", LOST_FOR_GOOD)
def test_a_lost_answer_is_paid_again_only_at_the_callers_wish(name: str, tmp_path: Path) -> None:
    account = Account(name, tmp_path, lost_answers=1)
    for _ in range(3):
        with pytest.raises(SubmissionUnknown):
            account.submit()
    assert len(account.made()) == 1
    account.submit(on_unknown="create")
    assert len(account.made()) == 2


@pytest.mark.parametrize("name", [name for name in CREATED if SPECIMENS[name].findable and name != "deployment"])
def test_two_tasks_that_want_the_same_get_a_job_each(name: str, tmp_path: Path) -> None:
    account = Account(name, tmp_path)
    records = []
    for key in ("a", "b"):
        account.remote.lost_answers = 0 if account.kind.repeatable else 1
        records.append(account.submit(key=key))
    assert len(account.own_ids(*records)) == 2
    assert account.own_ids(*records) == set(account.made())


@pytest.mark.parametrize("name", [name for name in CREATED if SPECIMENS[name].findable])
def test_a_creation_that_takes_effect_late_leaves_one_job_to_run(name: str, tmp_path: Path) -> None:
    account = Account(name, tmp_path, lost_answers=1, late=95.0)
    if account.kind.repeatable or account.kind.end is None:
        return  # nothing is late under one key; and what cannot be ended cannot be put right
    record = account.submit()
    account.remote.now += 200
    assert account.remote.running() == [record.id]


def refusing(account: Account, error: TogetherError, *, first: int = 0) -> None:
    """Refuse creations from a certain one on."""
    surface = SURFACES[account.kind.name]

    def refuse(operation: Any) -> TogetherError | None:
        if operation.name not in surface.create or sum(account.remote.sent.count(n) for n in surface.create) <= first:
            return None
        return error

    account.remote.refuse = refuse


@pytest.mark.parametrize("name", CREATED)
def test_a_refused_creation_is_no_lost_one(name: str, tmp_path: Path) -> None:
    account = Account(name, tmp_path)
    refusing(account, BadRequest("no", status_code=400))
    with pytest.raises(BadRequest):
        account.submit()
    assert account.records["task"].phase is Phase.PREPARING
    account.remote.refuse = lambda operation: None
    record = account.submit()
    assert set(account.made()) == account.own_ids(record)


@pytest.mark.parametrize("name", [name for name in CREATED if SPECIMENS[name].findable])
def test_a_refusal_after_a_lost_creation_does_not_make_it_forgotten(name: str, tmp_path: Path) -> None:
    """The first creation takes effect later than anybody looks; the second is refused, so the retry must look again."""
    account = Account(name, tmp_path, lost_answers=1, late=120.0)
    if account.kind.repeatable:
        return
    refusing(account, BadRequest("no credit", status_code=400), first=1)
    with pytest.raises(BadRequest):
        account.submit()
    account.remote.refuse = lambda operation: None
    account.remote.now += 600
    record = account.submit()
    assert account.made() == [record.id]


@pytest.mark.parametrize("late", range(0, 100, 3))
@pytest.mark.parametrize("shows_after", [0.0, 4.0, 29.0])
def test_of_two_creations_that_both_took_effect_one_is_ended(late: int, shows_after: float, tmp_path: Path) -> None:
    account = Account("fine_tune", tmp_path, lost_answers=1, late=late, shows_after=shows_after, call_seconds=4.0)
    record = account.submit()
    first = next(iter(account.remote.jobs.values()))
    if account.remote.now >= first.created + shows_after:
        assert account.remote.running() == [record.id]


class TestDeploymentsHaveUniqueNames:
    def test_a_lost_one_is_found_by_its_name_before_any_list_shows_it(self, tmp_path: Path) -> None:
        account = Account("deployment", tmp_path, lost_answers=1, shows_after=10_000.0)
        record = account.submit()
        assert account.made() == [record.id]
        assert "deployments.list" not in account.remote.sent

    def test_a_name_that_somebody_else_has_taken_is_refused_and_theirs_left_alone(self, tmp_path: Path) -> None:
        account = Account("deployment", tmp_path)
        theirs = account.submit(key="theirs")
        account.remote.lost_requests = 1
        with pytest.raises(Conflict):
            account.submit(key="ours")
        assert account.made() == [theirs.id]
        assert account.remote.running() == [theirs.id]

    def test_one_that_arrives_while_it_is_sent_again_is_adopted(self, tmp_path: Path) -> None:
        account = Account("deployment", tmp_path, lost_answers=1, late=60.0 + 31.0)
        record = account.submit(settle=30.0)
        assert account.made() == [record.id]


@pytest.mark.parametrize("name", LOST_FOR_GOOD)
class TestAfterAPersonHasLooked:
    """What the error tells a person to do must work."""

    def lost(self, name: str, folder: Path) -> Account:
        account = Account(name, folder, lost_answers=1)
        with pytest.raises(SubmissionUnknown):
            account.submit()
        return account

    def test_a_clear_with_rerun_submits_anew(self, name: str, tmp_path: Path) -> None:
        account = self.lost(name, tmp_path)
        record = account.submit(generation=1, on_clear="rerun")
        assert record.phase is Phase.SUBMITTED
        assert len(account.made()) == 2

    def test_a_plain_clear_or_a_retry_does_not(self, name: str, tmp_path: Path) -> None:
        account = self.lost(name, tmp_path)
        for policy in ({}, {"generation": 1}, {"on_clear": "rerun"}, {"replace": True}):
            with pytest.raises(SubmissionUnknown):
                account.submit(**policy)
        assert len(account.made()) == 1


def test_a_lost_endpoint_is_found_and_ended_although_another_model_is_wanted_now(tmp_path: Path) -> None:
    account = Account("endpoint", tmp_path)
    for step in range(1, 10):  # die one step later each time, until the creation has just taken effect
        account.records.clear()
        with pytest.raises(Crash):
            account.submit(dies_at=step, after=True)
        if account.made():
            break
    assert account.records["task"].phase is Phase.INTENT
    account.spec = {**account.spec, "model": "another"}
    record = account.submit()
    assert account.made() == [record.id]


class TestEndpointsShowTheirMarkerOnlyWhenRead:
    def test_no_more_of_them_are_read_than_could_be_the_lost_one(self, tmp_path: Path) -> None:
        account = Account("endpoint", tmp_path)
        ours = account.spec
        for key in ("x", "y", "z"):
            account.spec = {**ours, "model": f"theirs-{key}"}
            account.submit(key=key)
        account.spec = ours
        account.remote.lost_answers = 1
        account.remote.sent.clear()
        record = account.submit()
        assert account.remote.sent == ["endpoints.create", "endpoints.list", "endpoints.retrieve"]
        assert record.id in account.made()

    def test_one_that_disappears_meanwhile_is_passed_over(self, tmp_path: Path) -> None:
        account = Account("endpoint", tmp_path)
        theirs = account.submit(key="theirs")
        account.remote.lost_answers = 1

        def vanish(operation: Any) -> None:
            if operation.name == "endpoints.retrieve":
                account.remote.jobs.pop(theirs.id or "", None)

        account.remote.refuse = vanish
        record = account.submit()
        assert account.made() == [record.id]
