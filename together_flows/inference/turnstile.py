"""Lets requests start when the governor says so: the waiting to the governor's decisions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from together_flows.client.retry import waits_are_instant
from together_flows.inference.governor import NOBODY_LEAVES_SOONER, Governor

__all__ = ["Timer", "Turnstile"]


class Timer:
    """Time as a fan-out needs it: the present in seconds of a steady clock, and waiting."""

    def now(self) -> float:
        """Seconds of a clock that only goes forward."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(0 if waits_are_instant() else seconds)


class Turnstile:
    """Who enters with `async with` may send; the others wait in the order in which they came.

    Args:
        governor: decides.
        timer: tells the time and waits.
    """

    def __init__(self, governor: Governor, timer: Timer) -> None:
        self._governor = governor
        self._now: Callable[[], float] = timer.now
        self._sleep: Callable[[float], Awaitable[None]] = timer.sleep
        self._first_in_line = asyncio.Lock()
        self._somebody_left = asyncio.Event()

    async def __aenter__(self) -> Self:
        async with self._first_in_line:
            while delay := self._governor.delay(self._now()):
                if delay == NOBODY_LEAVES_SOONER:
                    self._somebody_left.clear()
                    await self._somebody_left.wait()
                elif waits_are_instant():
                    await self._sleep(delay)
                    break
                else:
                    await self._sleep(delay)
            self._governor.started(self._now())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._governor.ended()
        self._somebody_left.set()
