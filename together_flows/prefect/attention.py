"""Hearing that a flow run is not wanted any more, where no signal tells of it.

Prefect tells a flow run that it is cancelled by a signal, which reaches the main thread and its event loop. A task that
was submitted to a thread hears nothing until its process is killed, 30 seconds later; and of a run that a person marks
failed, no process hears anything. So a wait asks the server, once an interval, whether its flow run is still wanted.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import anyio
from prefect.client.schemas.objects import StateType

from together_flows.jobs.steps import SystemClock
from together_flows.prefect.interruption import UNWANTED, is_wanted

__all__ = ["AttentiveClock", "RunCancelled", "attentive"]

#: Seconds between two questions about a flow run, at the least.
_SHORTEST = 1.0


class RunCancelled(BaseException):
    """The flow run was cancelled or marked failed. Like a signal, it is no error that code in between should handle.

    It is not Prefect's own `TerminationSignal`, on which Prefect sends the signal to the whole process once more.
    """


@dataclass
class _Question:
    """Whether a flow run has come into one of these states. All its waits in this process share the answers.

    Where signals are heard, a cancellation is left to them: a process that ends by itself just before its signal would
    count as crashed.
    """

    flow_run_id: UUID
    states: tuple[StateType, ...]
    asked_at: float = -math.inf
    answer: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def is_due(self, interval: float) -> bool:
        """Whether it is time to ask, and nobody else is about to."""
        with self.lock:
            due = time.monotonic() - self.asked_at >= max(interval, _SHORTEST)
            if due:
                self.asked_at = time.monotonic()
            return due

    def ask(self) -> None:
        self.answer = is_wanted(self.flow_run_id, unwanted=self.states) is False


_questions: dict[tuple[UUID, tuple[StateType, ...]], _Question] = {}


def _question_of(flow_run_id: UUID) -> _Question:
    """The question for waits of a flow run in the present thread."""
    hears_signals = threading.current_thread() is threading.main_thread()
    states = (StateType.FAILED,) if hears_signals else UNWANTED
    return _questions.setdefault((flow_run_id, states), _Question(flow_run_id, states))


class AttentiveClock(SystemClock):
    """The machine's clock, whose sleep ends as by a signal when the flow run is not wanted any more."""

    def __init__(self, flow_run_id: UUID | None) -> None:
        self._flow_run_id = flow_run_id

    def sleep(self, seconds: float) -> None:
        """Block for a while.

        Raises:
            RunCancelled: the flow run was cancelled or marked failed meanwhile.
        """
        super().sleep(seconds)
        if self._flow_run_id is None:
            return
        question = _question_of(self._flow_run_id)
        if question.is_due(seconds):
            question.ask()
        if question.answer:
            raise RunCancelled(f"Flow run {self._flow_run_id} is not wanted any more")


@asynccontextmanager
async def attentive(flow_run_id: UUID | None, interval: float) -> AsyncIterator[None]:
    """A stretch of waiting that is cancelled when the flow run is not wanted any more.

    Args:
        flow_run_id: the flow run.
        interval: seconds between two questions.
    """
    waiting = asyncio.current_task()
    if flow_run_id is None or waiting is None:
        yield
        return
    question = _question_of(flow_run_id)

    async def ask() -> None:
        while not question.answer:
            if question.is_due(interval):
                await anyio.to_thread.run_sync(question.ask)
            else:
                await asyncio.sleep(interval)
        waiting.cancel()

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        asking.cancel()
