"""Work in a thread that nothing cuts short."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from threading import Event

import anyio
import pytest

from together_flows.prefect import threads
from together_flows.prefect.threads import to_its_end

told: ContextVar[str] = ContextVar("told")


async def test_work_comes_to_its_end_however_often_its_waiter_is_cancelled() -> None:
    go, done = Event(), Event()

    def work() -> None:
        go.wait(10)
        done.set()

    waiter = asyncio.create_task(to_its_end(work))
    for _ in range(3):
        await asyncio.sleep(0)
        waiter.cancel()
    await asyncio.sleep(0)
    assert not waiter.done()
    go.set()
    await waiter
    assert done.is_set()


async def test_work_comes_to_its_end_in_a_scope_that_is_cancelled() -> None:
    done = Event()
    with anyio.move_on_after(0):
        await to_its_end(done.set)
    assert done.is_set()


def test_the_end_of_a_loop_waits_for_work() -> None:
    begun, go = Event(), Event()

    async def process() -> None:
        waiter = asyncio.create_task(to_its_end(lambda: (begun.set(), go.wait(10))))
        await asyncio.to_thread(begun.wait)
        asyncio.get_running_loop().call_later(0.05, go.set)
        assert not waiter.done()

    asyncio.run(process())
    assert go.is_set()


async def test_work_that_takes_too_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_LONGEST", 0.01)
    go, done = Event(), Event()
    await to_its_end(lambda: (go.wait(10), done.set()))
    assert not done.is_set()
    go.set()
    assert done.wait(10)


async def test_what_the_work_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await to_its_end(lambda: 1 / 0)


async def test_work_knows_the_context_of_its_caller() -> None:
    told.set("here")
    heard: list[str] = []
    await to_its_end(lambda: heard.append(told.get()))
    assert heard == ["here"]
