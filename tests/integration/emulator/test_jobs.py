"""The shape that all kinds share: stages by the clock, work once, rows encoded only when they can have changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from together_flows.emulator.clock import Clock
from together_flows.emulator.jobs import Job, JobKind, JobTable, Stage
from together_flows.emulator.world import World


class Errand(Job, kw_only=True):
    outcome: str = ""


class _Errands(JobKind[Errand]):
    name = "errand"
    noun = "Errand"
    active = frozenset({"waiting", "going"})
    failure = "lost"
    tick = 5.0
    record = Errand

    def __init__(self) -> None:
        self.encoded = 0

    def row(self, world: World, job: Errand, now: float) -> dict[str, Any]:
        self.encoded += 1
        return {"id": job.id, "status": job.status(now), "outcome": job.outcome}

    def settle(self, world: World, job: Errand, result: str, now: float) -> None:
        if job.status(now) in self.active:
            job.outcome = result
            job.stages.append(Stage("done", max(job.planned_end, now)))


def errand(number: int = 0, **more: Any) -> Errand:
    stages = [Stage("waiting", 0), Stage("going", 10)]
    return Errand(**{"id": f"e-{number}", "created": 0, "visible": 0, "stages": stages, "planned_end": 20} | more)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(folder=tmp_path, speed=1, api_key="key", kinds=[_Errands()])
    yield world
    world.close()


def table_of(world: World) -> JobTable[Errand]:
    return world.tables["errand"]


def test_a_status_is_what_the_clock_says() -> None:
    job = errand()

    assert [job.status(now) for now in (0, 9.9, 10, 1e9)] == ["waiting", "waiting", "going", "going"]
    assert job.next_change(0) == 10


def test_work_that_ends_early_waits_for_the_planned_end_and_late_work_ends_late(world: World) -> None:
    early, late = errand(1), errand(2, planned_end=-5.0)
    for job in (early, late):
        table_of(world).add(job)
        table_of(world).settle(job, "found")

    now = world.clock.now()
    assert (early.status(19), early.status(20)) == ("going", "done")
    assert late.stages[-1].at <= now


def test_a_cancelled_job_stays_cancelled_when_its_work_comes_in(world: World) -> None:
    world.change_settings(type(world.settings)(fail={"errand": "Out of luck"}))
    job = errand(computed=False)
    table_of(world).add(job)
    table_of(world).end(job, "recalled")
    table_of(world).settle(job, "found")

    assert (job.status(1e9), job.error) == ("recalled", "")


def test_a_doomed_job_fails_at_the_end_it_had_planned(world: World) -> None:
    world.change_settings(type(world.settings)(fail={"errand": "Out of luck"}))
    job = errand(computed=False)
    table_of(world).add(job)
    table_of(world).settle(job, "found")

    assert [job.status(now) for now in (5, 15, 20)] == ["waiting", "going", "lost"]
    assert job.error == "Out of luck"


def test_the_result_of_a_deleted_job_is_dropped(world: World) -> None:
    job = errand(computed=False)
    table_of(world).add(job)
    table_of(world).remove(job)
    table_of(world).settle(job, "found")

    assert list(table_of(world)) == []
    assert job.outcome == ""


def test_ten_thousand_rows_are_encoded_once_until_they_can_change(world: World) -> None:
    table = table_of(world)
    for number in range(10_000):
        table.add(errand(number))
    kind = table.kind
    assert isinstance(kind, _Errands)
    rows = table.rows(1)
    for now in (1, 2, 5.9):
        assert table.rows(now) == rows
    assert kind.encoded == 10_000, "within a tick nothing is encoded again"

    table.rows(10)
    assert kind.encoded == 20_000, "a new stage is seen at once"
    changed = table.get("e-7")
    table.end(changed, "recalled")
    table.rows(10.1)
    assert kind.encoded == 20_001, "a change concerns its own row alone"


def test_what_was_acknowledged_is_there_after_a_restart_without_a_farewell(tmp_path: Path) -> None:
    first = World(folder=tmp_path, speed=1, api_key="key", kinds=[_Errands()])
    table_of(first).add(errand(1, computed=False))
    table_of(first).add(errand(2))
    table_of(first).count_cancelled()
    # No close: the process was killed.
    second = World(folder=tmp_path, speed=1, api_key="key", kinds=[_Errands()])

    assert [job.id for job in table_of(second)] == ["e-2", "e-1"]
    assert table_of(second).get("e-1").computed is False
    assert (second.store.tally("created"), second.store.tally("cancelled")) == ({"errand": 2}, {"errand": 1})
    first.close()
    second.close()


class TestClock:
    def test_emulator_time_runs_at_its_speed_and_a_new_speed_changes_no_past(self) -> None:
        real = 1_000_000.0
        clock = Clock(real_time=lambda: real)
        clock.set_speed(60)
        real += 10
        assert clock.now() == 600
        clock.set_speed(3600)
        real += 1

        assert clock.now() == 600 + 3600
        assert clock.wall(300) == 1_000_005
        assert clock.wall(600 + 1800) == 1_000_010.5

    def test_time_goes_on_while_nobody_looks(self) -> None:
        real = 1_000_000.0
        clock = Clock(real_time=lambda: real)
        clock.set_speed(60)
        segments = list(clock.segments)
        real += 100

        assert Clock(segments, real_time=lambda: real).now() == 6_000

    def test_moments_are_written_as_the_api_writes_them(self) -> None:
        clock = Clock(real_time=lambda: 1_684_345_845.1239)

        assert clock.iso(0) == "2023-05-17T17:50:45.123Z"
        assert clock.epoch(0.9) == 1_684_345_846

    @pytest.mark.parametrize("speed", [0, -1])
    def test_time_cannot_stand_still_or_run_backwards(self, speed: float) -> None:
        with pytest.raises(ValueError, match="above 0"):
            Clock().set_speed(speed)
