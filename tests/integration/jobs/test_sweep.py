"""The sweep against the emulator: it knows jobs of every kind by their markers, and ends what its owner cannot want."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from together_flows.api import endpoints
from together_flows.errors import AuthenticationFailed
from together_flows.jobs import JobRecord, Phase, kind_named
from together_flows.jobs.census import Census, census, looked_up
from together_flows.jobs.claim import Claim, Standing
from together_flows.jobs.sweep import SweepWishes, sweep
from together_flows.jobs.sweep_report import SweepReport
from together_flows.jobs.verdict import Verdict

from .desk import CASES, HARDWARE, MODEL, Desk

#: What runs by itself and is no file. An operation of a session runs with its session.
KINDS = [name for name in CASES if not kind_named(name).repeatable]
LOOK, STOP = SweepWishes(grace=0.0), SweepWishes(stop=True, grace=0.0)


@dataclass
class Owners:
    """Owners of jobs, as an orchestrator knows them. `later` is how they stand when they are asked once more."""

    records: dict[str, JobRecord]
    standing: Standing = Standing.CANCELLED
    later: Standing | None = None
    store: Any = None
    _asked: list[str] = field(default_factory=list)

    def claims(self) -> Iterator[Claim]:
        return (self.claim(key, self.standing) for key in self.records)

    def claim(self, key: str, standing: Standing) -> Claim:
        def renew() -> Claim:
            self._asked.append(key)
            return self.claim(key, self.later or standing)

        return Claim(
            record=self.records[key],
            owner=f"owner of {key}",
            owner_state=str(standing),
            standing=standing,
            renew=renew,
            store=self.store,
            key=key,
        )


def submitted(desk: Desk, name: str) -> JobRecord:
    """A job that does not end while a test looks at it."""
    spec = CASES[name].spec(desk)
    desk.emulator.settings(speed=0.01)
    return desk.submit(name, spec)


def owners(desk: Desk, **options: Any) -> Owners:
    return Owners(desk.store.records, store=desk.store, **options)


def swept(desk: Desk, *sources: Owners, wishes: SweepWishes = LOOK) -> SweepReport:
    return sweep(desk.client, sources, wishes, log=lambda text, _: desk.note(text))


@pytest.mark.parametrize("name", KINDS)
def test_a_running_job_of_every_kind_is_known_by_its_marker_where_it_carries_one(name: str, desk: Desk) -> None:
    record = submitted(desk, name)
    found: Census = desk.run(census())
    kind = kind_named(name)
    mine = [job for job in found.jobs if job.reference == record.reference]
    if kind.list_all is None:
        assert mine == []
        mine = list(desk.run(looked_up([record.reference])))
    [job] = mine
    assert job.marker == (record.marker if kind.carries else "")
    assert found.unlisted == ()


@pytest.mark.parametrize("name", KINDS)
def test_what_a_cancelled_owner_has_left_is_ended_where_the_api_can(name: str, desk: Desk) -> None:
    record = submitted(desk, name)
    kind = kind_named(name)

    listed = swept(desk, owners(desk))
    assert [finding.reference for finding in listed.findings] == [record.reference]
    assert desk.running(name) == 1, "a dry run ends nothing"

    desk.emulator.settings(speed=CASES[name].ending_speed)
    report = swept(desk, owners(desk), wishes=STOP)
    if kind.end is None:
        assert [finding.verdict for finding in report.findings] == [Verdict.LEAVE]
        assert report.ended == {}
        return
    assert report.ended[record.reference].confirmed, report.text()
    assert report.is_clean
    assert desk.running(name) == 0
    assert desk.store.records["task"].phase is Phase.ENDED


def test_what_has_become_wanted_since_it_was_judged_is_not_ended(desk: Desk) -> None:
    submitted(desk, "endpoint")
    report = swept(desk, owners(desk, standing=Standing.FAILED, later=Standing.ACTIVE), wishes=STOP)
    assert [finding.verdict for finding in report.findings] == [Verdict.WANTED]
    assert report.ended == {}
    assert report.is_clean
    assert desk.running("endpoint") == 1


def test_a_second_job_of_the_same_marker_is_ended_and_the_record_of_the_first_is_not_touched(desk: Desk) -> None:
    record = submitted(desk, "endpoint")
    desk.client.send(
        endpoints.create(
            model=MODEL,
            hardware=HARDWARE,
            autoscaling={"min_replicas": 1, "max_replicas": 1},
            display_name=f"again [{record.marker}]",
        )
    )
    report = swept(desk, owners(desk, standing=Standing.FAILED), wishes=STOP)
    assert len(report.ended) == 2
    assert desk.running("endpoint") == 0
    assert desk.store.records["task"].id == record.id


def test_a_list_that_fails_hides_no_other_kind_and_is_told(desk: Desk) -> None:
    submitted(desk, "endpoint")
    desk.emulator.fault(method="GET", path="/batches", status=500, times=None)
    report = swept(desk, owners(desk, standing=Standing.FAILED))
    assert [finding.verdict for finding in report.findings] == [Verdict.ORPHAN]
    assert [gap.kind for gap in report.unlisted] == ["batch"]
    assert not report.is_clean
    assert any("list of every batch" in note for note in report.notes())


def test_a_claimed_job_is_found_when_its_list_cannot_be_read(desk: Desk) -> None:
    record = submitted(desk, "endpoint")
    desk.emulator.fault(method="GET", path="/endpoints", status=403, times=None)
    report = swept(desk, owners(desk, standing=Standing.FAILED))
    assert [(finding.reference, finding.verdict) for finding in report.findings] == [(record.reference, Verdict.ORPHAN)]


def test_a_wrong_key_fails_the_sweep_instead_of_finding_nothing(desk: Desk) -> None:
    desk.emulator.fault(status=401, times=None)
    with pytest.raises(AuthenticationFailed):
        swept(desk)


def test_what_was_stopped_and_is_still_to_be_read_does_not_run(desk: Desk) -> None:
    record = desk.submit("endpoint", CASES["endpoint"].spec(desk))
    desk.client.send(endpoints.update(record.reference.id, state="STOPPED"))
    desk.emulator.force("endpoint", record.reference.id, "STOPPED")
    assert swept(desk, owners(desk)).findings == ()


def test_a_session_whose_answer_was_lost_is_told_to_a_person(desk: Desk) -> None:
    record = submitted(desk, "rl_session")
    desk.store.records["task"] = replace(record, id=None, phase=Phase.INTENT)
    report = swept(desk, owners(desk, standing=Standing.FAILED), wishes=STOP)
    assert [finding.verdict for finding in report.findings] == [Verdict.FOREIGN]
    assert [claim.owner for claim in report.lost] == ["owner of task"]
    assert desk.running("rl_session") == 1
