"""One watcher for all waits: how much it asks, and whom it tells."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from together_flows.api import Operation
from together_flows.errors import NotFound, ServerFailed, TogetherError
from together_flows.jobs.model import JobReference, JobState, JobStatus
from together_flows.jobs.waiting import Done, Expired, GiveUp, WaitPolicy
from together_flows.jobs.watcher import JobWatcher


class VirtualClock:
    """Time that passes only when the watcher sleeps."""

    def __init__(self) -> None:
        self.time = 10_000.0
        self.at: dict[float, Any] = {}

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    async def asleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.time += seconds
        for moment in [moment for moment in self.at if moment <= self.time]:
            self.at.pop(moment)()


class Account:
    """Batches of an account, read as the client reads them."""

    account = "test"

    def __init__(self, count: int) -> None:
        self.rows = {f"b{i}": {"id": f"b{i}", "status": "IN_PROGRESS", "progress": 0.0} for i in range(count)}
        self.sent: Counter[str] = Counter()
        self.fails: TogetherError | None = None
        self.unlisted: set[str] = set()

    async def send_measured(self, operation: Operation[Any]) -> tuple[Any, int]:
        self.sent[operation.name] += 1
        await asyncio.sleep(0)
        if self.fails:
            raise self.fails
        if operation.name == "batches.list":
            answer: Any = [dict(row) for key, row in self.rows.items() if key not in self.unlisted]
        else:
            job_id = operation.path.rpartition("/")[2]
            if job_id not in self.rows:
                raise NotFound("gone", status_code=404)
            answer = dict(self.rows[job_id])
        return answer, len(json.dumps(answer))

    def finish(self, status: str = "COMPLETED") -> None:
        for row in self.rows.values():
            row["status"] = status


def watcher_of(account: Account, clock: VirtualClock) -> JobWatcher:
    return JobWatcher(account, clock=clock)  # type: ignore[arg-type] # it has what the watcher uses


def batch(number: int) -> JobReference:
    return JobReference("batch", f"b{number}")


async def test_two_hundred_waits_cost_less_than_24_requests_a_minute() -> None:
    account, clock = Account(200), VirtualClock()
    watcher = watcher_of(account, clock)
    minutes = 10
    clock.at[clock.time + 60 * minutes] = account.finish
    ends = await asyncio.gather(*(watcher.wait(batch(i), WaitPolicy(interval=5)) for i in range(200)))
    assert all(isinstance(end, Done) and end.status.state is JobState.SUCCEEDED for end in ends)
    assert account.sent.total() / minutes <= 24
    assert account.sent["batches.retrieve"] == 0


async def test_waits_that_join_one_by_one_do_not_hurry_the_list() -> None:
    account, clock = Account(400), VirtualClock()
    watcher = watcher_of(account, clock)
    began = clock.time
    waits = []
    for i in range(400):
        waits.append(asyncio.create_task(watcher.wait(batch(i), WaitPolicy(interval=5))))
        clock.at[clock.time + 1] = lambda: None
        await asyncio.sleep(0)
    clock.at[began + 300] = account.finish
    await asyncio.gather(*waits)
    assert account.sent["batches.list"] / 5 <= 24


async def test_a_single_wait_in_a_big_account_reads_its_own_job() -> None:
    account, clock = Account(500), VirtualClock()
    watcher = watcher_of(account, clock)
    clock.at[clock.time + 600] = account.finish
    await watcher.wait(batch(7), WaitPolicy(interval=5))
    assert account.sent["batches.list"] == 0


async def test_a_few_waits_in_a_big_account_settle_on_single_reads() -> None:
    account, clock = Account(5_000), VirtualClock()
    watcher = watcher_of(account, clock)
    clock.at[clock.time + 280] = account.finish
    await asyncio.gather(*(watcher.wait(batch(i), WaitPolicy(interval=5)) for i in range(3)))
    assert account.sent["batches.list"] <= 2


async def test_a_job_missing_from_the_list_is_read_by_itself() -> None:
    account, clock = Account(50), VirtualClock()
    account.unlisted = {"b3"}
    watcher = watcher_of(account, clock)
    clock.at[clock.time + 60] = account.finish
    ends = await asyncio.gather(*(watcher.wait(batch(i), WaitPolicy(interval=5)) for i in range(50)))
    assert all(isinstance(end, Done) for end in ends)


async def test_each_wait_has_its_own_deadline() -> None:
    account, clock = Account(3), VirtualClock()
    watcher = watcher_of(account, clock)
    clock.at[clock.time + 300] = account.finish
    short = WaitPolicy(interval=5, deadline=clock.time + 20)
    ends = await asyncio.gather(
        watcher.wait(batch(0), short), watcher.wait(batch(1), WaitPolicy(interval=5)), watcher.wait(batch(2), short)
    )
    assert [type(end) for end in ends] == [Expired, Done, Expired]


async def test_failing_polls_reach_every_wait_and_are_survived() -> None:
    account, clock = Account(20), VirtualClock()
    account.fails = ServerFailed("down", status_code=503)
    watcher = watcher_of(account, clock)

    def recover() -> None:
        account.fails = None
        account.finish()

    clock.at[clock.time + 1_200] = recover
    ends = await asyncio.gather(*(watcher.wait(batch(i), WaitPolicy(interval=5)) for i in range(20)))
    assert all(isinstance(end, Done) for end in ends)


async def test_a_job_that_is_gone_ends_its_own_wait_only() -> None:
    account, clock = Account(2), VirtualClock()
    watcher = watcher_of(account, clock)
    clock.at[clock.time + 300] = account.finish
    ends = await asyncio.gather(*(watcher.wait(batch(i), WaitPolicy(interval=5)) for i in (0, 99)))
    assert isinstance(ends[0], Done)
    assert isinstance(ends[1], GiveUp)


async def test_a_cancelled_wait_leaves_the_others_alone() -> None:
    account, clock = Account(2), VirtualClock()
    watcher = watcher_of(account, clock)
    leaving = asyncio.create_task(watcher.wait(batch(0), WaitPolicy(interval=5)))
    staying = asyncio.create_task(watcher.wait(batch(1), WaitPolicy(interval=5)))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    account.finish()
    assert isinstance(await staying, Done)


async def test_progress_is_told_when_it_changes_and_only_then() -> None:
    account, clock = Account(1), VirtualClock()
    watcher = watcher_of(account, clock)
    told: list[JobStatus] = []
    clock.at[clock.time + 100] = lambda: account.rows["b0"].update(progress=40.0)
    clock.at[clock.time + 200] = account.finish
    await watcher.wait(batch(0), WaitPolicy(interval=5), on_status=told.append)
    assert [status.progress for status in told] == [0.0, 0.4, 0.4]


async def test_a_malformed_row_is_a_failed_look_and_not_the_end_of_the_watch() -> None:
    account, clock = Account(2), VirtualClock()
    del account.rows["b1"]["status"]
    watcher = watcher_of(account, clock)

    def mend() -> None:
        account.rows["b1"]["status"] = "COMPLETED"
        account.finish()

    clock.at[clock.time + 100] = mend
    ends = await asyncio.gather(*(watcher.wait(batch(i), WaitPolicy(interval=5)) for i in range(2)))
    assert all(isinstance(end, Done) for end in ends)


async def test_a_second_round_of_waits_starts_a_new_watch() -> None:
    account, clock = Account(1), VirtualClock()
    account.finish()
    watcher = watcher_of(account, clock)
    for _ in range(2):
        assert isinstance(await watcher.wait(batch(0), WaitPolicy(interval=5)), Done)
