"""One watcher for all waits: how much it asks, and whom it tells."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from typing import Any

import pytest

from together_flows.api import Operation
from together_flows.errors import NotFound, RateLimited, ServerFailed
from together_flows.jobs.model import JobReference, JobState, JobStatus
from together_flows.jobs.waiting import Done, Expired, GiveUp, WaitPolicy
from together_flows.jobs.watcher import JobWatcher


class VirtualClock:
    """Time that passes only when the watcher sleeps."""

    def __init__(self) -> None:
        self.time = 10_000.0
        self.set_by = 0.0  # what somebody has set the machine's clock forward by
        self.at: dict[float, Any] = {}

    def now(self) -> float:
        return self.time + self.set_by

    def elapsed(self) -> float:
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
        self.fails: BaseException | None = None
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


async def test_a_callback_that_fails_ends_its_own_wait_only() -> None:
    account, clock = Account(3), VirtualClock()
    watcher = watcher_of(account, clock)
    clock.at[clock.time + 60] = account.finish

    def broken(status: JobStatus) -> None:
        raise RuntimeError("boom")

    ends = await asyncio.gather(
        watcher.wait(batch(0), WaitPolicy(interval=5)),
        watcher.wait(batch(1), WaitPolicy(interval=5), on_status=broken),
        watcher.wait(batch(2), WaitPolicy(interval=5)),
    )
    assert isinstance(ends[0], Done)
    assert isinstance(ends[2], Done)
    assert isinstance(ends[1], GiveUp)
    assert "boom" in str(ends[1].error)
    assert ends[1].error.retryable


async def test_a_defect_fails_the_waits_and_does_not_leave_them_hanging() -> None:
    account, clock = Account(2), VirtualClock()

    async def broken(operation: Operation[Any]) -> tuple[Any, int]:
        raise RuntimeError("boom")

    account.send_measured = broken  # type: ignore[method-assign]
    ends = await asyncio.gather(*(watcher_of(account, clock).wait(batch(i), WaitPolicy(interval=5)) for i in range(2)))
    assert all(isinstance(end, GiveUp) and "boom" in str(end.error) and end.error.retryable for end in ends)


@pytest.mark.parametrize("malformed", [{}, {"data": None}, [{"status": "COMPLETED"}], [None], "text"])
async def test_a_malformed_list_is_a_failed_look(malformed: Any) -> None:
    account, clock = Account(2), VirtualClock()
    true_answer = account.send_measured
    bad = {"list": True}

    async def answer(operation: Operation[Any]) -> tuple[Any, int]:
        if operation.name == "batches.list" and bad["list"]:
            return malformed, 10
        return await true_answer(operation)

    account.send_measured = answer  # type: ignore[method-assign]
    clock.at[clock.time + 100] = lambda: (bad.update(list=False), account.finish())
    watcher = watcher_of(account, clock)
    ends = await asyncio.gather(*(watcher.wait(batch(i), WaitPolicy(interval=5)) for i in range(2)))
    assert all(isinstance(end, Done) for end in ends)


async def test_the_server_is_given_the_time_it_asks_for() -> None:
    account, clock = Account(1), VirtualClock()
    account.fails = RateLimited("slow down", status_code=429, retry_after=300.0)
    watcher = watcher_of(account, clock)
    began = clock.time
    clock.at[began + 100] = lambda: (setattr(account, "fails", None), account.finish())
    assert isinstance(await watcher.wait(batch(0), WaitPolicy(interval=5)), Done)
    assert account.sent.total() == 2
    assert clock.time - began == pytest.approx(300, rel=0.1)


async def test_jobs_of_a_kind_without_a_list_are_read_one_by_one() -> None:
    clock = VirtualClock()
    sent: Counter[str] = Counter()

    class Studio:
        account = "studio"

        async def send_measured(self, operation: Operation[Any]) -> tuple[Any, int]:
            sent[operation.name] += 1
            return {"id": operation.path.rpartition("/")[2], "status": "completed"}, 50

    watcher = JobWatcher(Studio(), clock=clock)  # type: ignore[arg-type]
    references = [JobReference("video", f"v{i}") for i in range(40)]
    ends = await asyncio.gather(*(watcher.wait(reference, WaitPolicy(interval=5)) for reference in references))
    assert [end.status.reference for end in ends if isinstance(end, Done)] == references
    assert sent == {"videos.retrieve": 40}


async def test_no_more_than_a_few_reads_are_under_way_at_once() -> None:
    clock, busy, most = VirtualClock(), 0, 0

    class Studio:
        account = "studio"

        async def send_measured(self, operation: Operation[Any]) -> tuple[Any, int]:
            nonlocal busy, most
            busy += 1
            most = max(most, busy)
            await asyncio.sleep(0)
            busy -= 1
            return {"id": "v", "status": "completed"}, 50

    watcher = JobWatcher(Studio(), clock=clock)  # type: ignore[arg-type]
    await asyncio.gather(*(watcher.wait(JobReference("video", f"v{i}"), WaitPolicy(interval=5)) for i in range(100)))
    assert most == 16


async def test_a_job_read_by_more_than_its_own_id_keeps_its_reference() -> None:
    class Queue:
        account = "queue"

        async def send_measured(self, operation: Operation[Any]) -> tuple[Any, int]:
            return {**operation.query, "status": "done"}, 50

    watcher = JobWatcher(Queue(), clock=VirtualClock())  # type: ignore[arg-type]
    reference = JobReference("queue", "me%2Fmodel/req%2F1")
    end = await watcher.wait(reference, WaitPolicy(interval=5))
    assert isinstance(end, Done)
    assert end.status.reference == reference


class ToldToStop(BaseException):
    """What a handler of signals raises."""


@pytest.mark.parametrize("waits", [1, 20])  # a job of its own is read, many are listed
async def test_what_a_signal_handler_raises_within_the_watch_reaches_all_who_wait(waits: int) -> None:
    account = Account(20)
    account.fails = ToldToStop()
    watcher = watcher_of(account, VirtualClock())
    ends = await asyncio.gather(
        *(watcher.wait(batch(i), WaitPolicy(interval=5)) for i in range(waits)), return_exceptions=True
    )
    assert [type(end) for end in ends] == [ToldToStop] * waits


async def test_two_waits_for_one_job_are_told_both_and_cost_one_read() -> None:
    account, clock = Account(1), VirtualClock()
    account.finish()
    watcher = watcher_of(account, clock)
    ends = await asyncio.gather(*(watcher.wait(batch(0), WaitPolicy(interval=5)) for _ in range(5)))
    assert all(isinstance(end, Done) for end in ends)
    assert account.sent.total() == 1


async def test_an_account_has_one_watcher_on_a_loop() -> None:
    one, other = Account(1), Account(1)
    other.account = "other"
    first = JobWatcher.of(one)  # type: ignore[arg-type]
    assert JobWatcher.of(Account(1)) is first  # type: ignore[arg-type]
    assert JobWatcher.of(other) is not first  # type: ignore[arg-type]
    elsewhere = await asyncio.to_thread(lambda: asyncio.run(_watcher(one)))
    assert elsewhere is not first


async def _watcher(account: Account) -> JobWatcher:
    return JobWatcher.of(account)  # type: ignore[arg-type]


async def test_a_big_list_is_picked_apart_while_the_loop_goes_on() -> None:
    account, clock = Account(3), VirtualClock()
    threads: set[str] = set()

    class Noted(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            threads.add(threading.current_thread().name)
            return super().__getitem__(key)

    async def answer(operation: Operation[Any]) -> tuple[Any, int]:
        return [Noted(row) for row in account.rows.values()], 2_000_000

    account.finish()
    account.send_measured = answer  # type: ignore[method-assign]
    watcher = watcher_of(account, clock)
    await asyncio.gather(*(watcher.wait(batch(i), WaitPolicy(interval=5)) for i in range(3)))
    assert any(name != threading.current_thread().name for name in threads)


async def test_an_unknown_status_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    account, clock = Account(1), VirtualClock()
    account.finish("DREAMING")
    watcher = watcher_of(account, clock)
    clock.at[clock.time + 60] = account.finish
    await watcher.wait(batch(0), WaitPolicy(interval=5))
    assert sum("unknown to this version" in record.message for record in caplog.records) == 1


class StoppedClock:
    """Time that never passes: whoever sleeps, sleeps until somebody wakes the sleeper by other means."""

    def __init__(self) -> None:
        self.sleeps = 0

    def now(self) -> float:
        return 10_000.0

    def elapsed(self) -> float:
        return 10_000.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError("a watcher never blocks")

    async def asleep(self, seconds: float) -> None:
        self.sleeps += 1
        await asyncio.Event().wait()


async def turns(count: int = 50) -> None:
    """Let the event loop go round a few times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_newcomer_is_looked_at_while_the_others_sleep() -> None:
    account, clock = Account(2), StoppedClock()
    watcher = JobWatcher(account, clock=clock)  # type: ignore[arg-type] # it has what the watcher uses
    sleeper = asyncio.create_task(watcher.wait(batch(0), WaitPolicy(interval=3_600)))
    await turns()
    assert clock.sleeps == 1
    account.finish()
    async with asyncio.timeout(5):
        assert isinstance(await watcher.wait(batch(1), WaitPolicy(interval=3_600)), Done)
    assert not sleeper.done()
    sleeper.cancel()


async def test_a_newcomer_wakes_the_watch_once_and_does_not_keep_it_awake() -> None:
    account, clock = Account(3), StoppedClock()
    watcher = JobWatcher(account, clock=clock)  # type: ignore[arg-type]
    tasks = [asyncio.create_task(watcher.wait(batch(i), WaitPolicy(interval=3_600))) for i in range(2)]
    await turns()
    tasks.append(asyncio.create_task(watcher.wait(batch(2), WaitPolicy(interval=3_600))))
    await turns(500)
    assert clock.sleeps <= 4
    for task in tasks:
        task.cancel()


async def test_nobody_is_asked_any_more_when_the_last_wait_is_cancelled() -> None:
    account, clock = Account(1), VirtualClock()
    watcher = watcher_of(account, clock)
    waiting = asyncio.create_task(watcher.wait(batch(0), WaitPolicy(interval=5)))
    await turns()
    waiting.cancel()
    await turns()
    asked = account.sent.total()
    assert asked > 0
    await turns(500)
    assert account.sent.total() == asked


async def test_a_wait_that_is_cancelled_while_its_job_is_read_harms_no_other() -> None:
    account, clock = Account(2), VirtualClock()
    true_answer = account.send_measured
    watcher = watcher_of(account, clock)
    leaving = asyncio.create_task(watcher.wait(batch(0), WaitPolicy(interval=5)))
    staying = asyncio.create_task(watcher.wait(batch(1), WaitPolicy(interval=5)))

    async def answer(operation: Operation[Any]) -> tuple[Any, int]:
        answered = await true_answer(operation)
        leaving.cancel()
        return answered

    account.send_measured = answer  # type: ignore[method-assign]
    account.finish()
    assert isinstance(await staying, Done)
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_a_list_that_was_long_is_measured_anew_now_and_then() -> None:
    account, clock = Account(5_000), VirtualClock()
    watcher = watcher_of(account, clock)
    shrunk = {f"b{i}" for i in range(3, 5_000)}
    clock.at[clock.time + 100] = lambda: account.unlisted.update(shrunk)
    clock.at[clock.time + 1_200] = account.finish
    await asyncio.gather(*(watcher.wait(batch(i), WaitPolicy(interval=5)) for i in range(3)))
    assert account.sent["batches.list"] > 100
    assert account.sent["batches.retrieve"] < 3 * 100


async def test_reads_of_big_rows_are_weighed_against_the_list() -> None:
    account, clock = Account(40), VirtualClock()
    account.rows["b0"]["note"] = "x" * 50_000
    watcher = watcher_of(account, clock)
    clock.at[clock.time + 600] = account.finish
    await asyncio.gather(*(watcher.wait(batch(i), WaitPolicy(interval=5)) for i in (1, 2)))
    assert account.sent["batches.list"] <= 3  # the list is large for what is asked


async def test_a_list_that_a_strangers_row_has_spoiled_does_not_spoil_the_waits() -> None:
    account, clock = Account(5), VirtualClock()
    account.rows["stranger"] = {"status": "COMPLETED"}  # type: ignore[assignment] # a row without an id
    watcher = watcher_of(account, clock)
    clock.at[clock.time + 60] = account.finish
    ends = await asyncio.gather(*(watcher.wait(batch(i), WaitPolicy(interval=5)) for i in range(5)))
    assert all(isinstance(end, Done) for end in ends)
    assert account.sent["batches.retrieve"] > 0


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
async def test_setting_the_clock_neither_ends_a_wait_nor_prolongs_it(jump: float) -> None:
    account, clock = Account(1), VirtualClock()
    account.fails = ServerFailed("down", status_code=503)
    clock.at = {10_050.0: lambda: setattr(clock, "set_by", jump), 10_300.0: lambda: setattr(account, "fails", None)}
    policy = WaitPolicy(interval=10.0, deadline=10_600.0)
    assert await watcher_of(account, clock).wait(batch(0), policy) == Expired()
    assert 10_600 <= clock.time <= 10_610
