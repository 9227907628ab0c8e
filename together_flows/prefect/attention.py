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
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import anyio
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext

from together_flows.jobs.steps import SystemClock
from together_flows.prefect.interruption import UNWANTED, state_of

__all__ = ["AttentiveClock", "RunCancelled", "attentive"]

#: Seconds between two questions about a flow run, at the least.
_SHORTEST = 1.0


class RunCancelled(BaseException):
    """The flow run was cancelled or marked failed. Like a signal, it is no error that code in between should handle.

    It is not Prefect's own `TerminationSignal`, on which Prefect sends the signal to the whole process once more.
    """


@dataclass
class Attention:
    """Whether a flow run is not wanted any more. All its waits in this process share the answers.

    Attributes:
        flow_run_id: the flow run.
        hears_signals: whether signals are heard. A cancellation is left to them then, because a process that ends by
            itself just before its signal counts as crashed.
        is_over: whether the run was cancelled, or a person has marked it failed.
    """

    flow_run_id: UUID
    hears_signals: bool
    is_over: bool = False
    _asked_at: float = -math.inf
    _had_failed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def is_due(self, interval: float) -> bool:
        """Whether it is time to ask, and nobody else is about to."""
        with self._lock:
            due = time.monotonic() - self._asked_at >= max(interval, _SHORTEST)
            if due:
                self._asked_at = time.monotonic()
            return due

    def ask(self) -> None:
        """Ask the server.

        The engine of the run itself says "failed", too, while waits of a run that fails are still about to be stopped.
        A person has said it if the engine knows nothing of it, also when it had the time to.
        """
        state = state_of(self.flow_run_id)
        failed = state is StateType.FAILED and not _engine_is_done()
        self.is_over = (failed and self._had_failed) or (not self.hears_signals and state in UNWANTED)
        self._had_failed = failed


def _engine_is_done() -> bool:
    context = FlowRunContext.get()
    state = context.flow_run.state if context and context.flow_run else None
    return state is not None and state.is_final()


_attention: dict[tuple[UUID, bool], Attention] = {}


def _attention_to(flow_run_id: UUID) -> Attention:
    """The attention that waits of the present thread pay to a flow run."""
    hears_signals = threading.current_thread() is threading.main_thread()
    return _attention.setdefault((flow_run_id, hears_signals), Attention(flow_run_id, hears_signals))


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
        attention = _attention_to(self._flow_run_id)
        if attention.is_due(seconds):
            attention.ask()
        if attention.is_over:
            raise RunCancelled(f"Flow run {self._flow_run_id} is not wanted any more")


@asynccontextmanager
async def attentive(flow_run_id: UUID | None, interval: float) -> AsyncIterator[Callable[[], bool]]:
    """A stretch of waiting that is cancelled when the flow run is not wanted any more.

    Args:
        flow_run_id: the flow run.
        interval: seconds between two questions.

    Yields:
        What tells whether it was cancelled for that.
    """
    waiting = asyncio.current_task()
    if flow_run_id is None or waiting is None:
        yield lambda: False
        return
    attention = _attention_to(flow_run_id)

    async def ask() -> None:
        while not attention.is_over:
            if attention.is_due(interval):
                await anyio.to_thread.run_sync(attention.ask)
            else:
                await asyncio.sleep(interval)
        waiting.cancel()

    asking = asyncio.create_task(ask())
    try:
        yield lambda: attention.is_over
    finally:
        asking.cancel()
