"""Hearing of a cancellation where no signal is heard.

Prefect tells a flow run that it is cancelled by a signal, which reaches the main thread and its event loop. A task that
was submitted to a thread hears nothing until its process is killed, 30 seconds later. So a wait in such a thread asks
the server, once an interval, whether its flow run is still wanted.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import anyio

from together_flows.jobs.steps import SystemClock
from together_flows.prefect.interruption import is_wanted

__all__ = ["AttentiveClock", "RunCancelled", "attentive"]


class RunCancelled(BaseException):
    """The flow run was cancelled. Like a signal, it is no error that code in between should handle.

    It is not Prefect's own `TerminationSignal`, on which Prefect sends the signal to the whole process once more.
    """


def _hears_signals(flow_run_id: UUID | None) -> bool:
    return flow_run_id is None or threading.current_thread() is threading.main_thread()


class AttentiveClock(SystemClock):
    """The machine's clock, whose sleep ends as by a signal when the flow run was cancelled."""

    def __init__(self, flow_run_id: UUID | None) -> None:
        self._flow_run_id = flow_run_id

    def sleep(self, seconds: float) -> None:
        """Block for a while.

        Raises:
            RunCancelled: the flow run was cancelled meanwhile.
        """
        super().sleep(seconds)
        if not _hears_signals(self._flow_run_id) and is_wanted(self._flow_run_id) is False:
            raise RunCancelled(f"Flow run {self._flow_run_id} was cancelled")


@asynccontextmanager
async def attentive(flow_run_id: UUID | None, interval: float) -> AsyncIterator[None]:
    """A stretch of waiting that is cancelled when the flow run was.

    Args:
        flow_run_id: the flow run.
        interval: seconds between two questions.
    """
    waiting = asyncio.current_task()
    if _hears_signals(flow_run_id) or waiting is None:
        yield
        return

    async def ask() -> None:
        while await anyio.to_thread.run_sync(is_wanted, flow_run_id) is not False:  # noqa: ASYNC110 - it is the server's
            await asyncio.sleep(interval)
        waiting.cancel()

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        asking.cancel()
