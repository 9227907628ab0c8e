"""Asking the server whether a flow run is still wanted: by whom, how often, and what is done about the answer."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import StateType

from together_flows.prefect import attention
from together_flows.prefect.attention import AttentiveClock, RunCancelled, attentive

LONG = 1000.0


class Server:
    """A Prefect server that knows one thing of its flow runs: their state."""

    def __init__(self) -> None:
        self.state = StateType.RUNNING
        self.questions = 0

    def state_of(self, flow_run_id: UUID) -> StateType:
        self.questions += 1
        return self.state


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr(attention, "state_of", server.state_of)
    monkeypatch.setattr(attention, "_SHORTEST", 0.0)
    return server


async def test_all_waits_of_a_run_share_one_question_an_interval(server: Server) -> None:
    flow_run_id, all_have_begun = uuid4(), asyncio.Barrier(100)

    async def wait() -> None:
        async with attentive(flow_run_id, LONG):
            await all_have_begun.wait()
            while not server.questions:
                await asyncio.sleep(0.01)
            await all_have_begun.wait()

    await asyncio.gather(*(wait() for _ in range(100)))
    assert server.questions == 1


async def test_all_waits_of_a_run_hear_that_a_person_has_marked_it_failed(server: Server) -> None:
    flow_run_id = uuid4()
    server.state = StateType.FAILED

    async def wait() -> None:
        async with attentive(flow_run_id, 0.01):
            await asyncio.Event().wait()

    ends = await asyncio.wait_for(asyncio.gather(*(wait() for _ in range(3)), return_exceptions=True), timeout=60)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends)


def test_where_signals_are_heard_a_cancellation_is_left_to_them(server: Server) -> None:
    server.state = StateType.CANCELLING
    clock = AttentiveClock(uuid4())
    clock.sleep(0)
    clock.sleep(0)
    assert server.questions == 2


async def test_in_a_worker_thread_a_cancellation_is_asked_for(server: Server) -> None:
    server.state = StateType.CANCELLING
    with pytest.raises(RunCancelled):
        await asyncio.to_thread(AttentiveClock(uuid4()).sleep, 0)


def test_a_failure_is_believed_when_it_is_said_twice(server: Server) -> None:
    """The first time it may be the engine's own, which is about to end all waits."""
    server.state = StateType.FAILED
    clock = AttentiveClock(uuid4())
    clock.sleep(0)
    with pytest.raises(RunCancelled):
        clock.sleep(0)


def test_outside_a_flow_run_nobody_is_asked(server: Server) -> None:
    AttentiveClock(None).sleep(0)
    assert server.questions == 0
