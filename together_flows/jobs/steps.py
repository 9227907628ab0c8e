"""Flows without I/O: what a job needs done is written once, as a generator of steps, and driven in two ways.

A flow yields a step, such as "send this operation" or "store this record", and is resumed with what came of it, or
with the error thrown into it where it stands. So submitting, cancelling and waiting are ordinary code with ordinary
`try` and `except`, they hold no socket and no clock, and the sync and the async world differ only in the two drivers
at the end of this module.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from together_flows.api import Operation
from together_flows.jobs.crash import reach

if TYPE_CHECKING:
    from together_flows.client import AsyncTogether, Together
    from together_flows.jobs.record import JobRecord, JobStore

__all__ = [
    "Clock",
    "Elapsed",
    "Load",
    "Log",
    "Now",
    "Save",
    "Send",
    "Sleep",
    "Step",
    "Steps",
    "SystemClock",
    "Upload",
    "arun",
    "run",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Send:
    """Send an operation; resumed with its answer."""

    operation: Operation[Any]


@dataclass(frozen=True)
class Upload:
    """Upload a file; resumed with the stored file."""

    path: Path
    purpose: str
    file_name: str


@dataclass(frozen=True)
class Load:
    """Read the job record; resumed with it, or with `None`."""


@dataclass(frozen=True)
class Save:
    """Store the job record, durably, before the next step.

    With `instead_of` it is stored only if that one is still kept, or none: another attempt may have stored its own.
    """

    record: JobRecord
    instead_of: JobRecord | None = None

    def applies(self, kept: JobRecord | None) -> bool:
        """Whether it is to be stored where this one is kept."""
        return self.instead_of is None or kept in (None, self.instead_of)


@dataclass(frozen=True)
class Sleep:
    """Wait, in seconds."""

    seconds: float


@dataclass(frozen=True)
class Now:
    """Ask for the moment; resumed with seconds since the epoch. For records, which other processes read."""


@dataclass(frozen=True)
class Elapsed:
    """Ask how much time has passed; resumed with seconds since some fixed moment.

    Whoever measures how long something lasts asks for this and not for `Now`: machines' clocks are set while jobs run,
    and a wait that seems over too early can cost a second job.
    """


@dataclass(frozen=True)
class Log:
    """Tell the person who reads the log."""

    message: str
    level: str = "info"


Step: TypeAlias = Send | Upload | Load | Save | Sleep | Now | Elapsed | Log
Steps: TypeAlias = Generator[Step, Any, T]
Logger: TypeAlias = Callable[[str, str], None]


class Clock(Protocol):
    """Time, so that tests can own it."""

    def now(self) -> float:
        """Seconds since the epoch. It jumps when the machine's clock is set."""

    def elapsed(self) -> float:
        """Seconds since some fixed moment of this process. It never jumps."""

    def sleep(self, seconds: float) -> None:
        """Block for a while."""

    async def asleep(self, seconds: float) -> None:
        """Wait without blocking the event loop."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def elapsed(self) -> float:
        """Seconds since some fixed moment of this process. It never jumps."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block for a while."""
        time.sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        """Wait without blocking the event loop."""
        await asyncio.sleep(seconds)


_SYSTEM_CLOCK = SystemClock()


def run(
    steps: Steps[T],
    *,
    client: Together,
    store: JobStore | None = None,
    key: str = "",
    log: Logger | None = None,
    clock: Clock = _SYSTEM_CLOCK,
) -> T:
    """Drive a flow to its end, blocking.

    Args:
        steps: the flow.
        client: sends its operations.
        store: keeps its job record; needed by flows that load or save one.
        key: under which the record is kept.
        log: called with a message and a level.
        clock: tells the time and sleeps.
    """

    def perform(step: Step) -> Any:
        match step:
            case Send(operation):
                return client.send(operation)
            case Upload(path, purpose, file_name):
                return client.upload(path, purpose=purpose, file_name=file_name)
            case Sleep(seconds):
                return clock.sleep(seconds)
            case _:
                return _local(step, store, key, log, clock)

    try:
        step = next(steps)
        while True:
            try:
                value = perform(step)
            except Exception as error:
                step = steps.throw(error)
            else:
                reach(step, "after")
                step = steps.send(value)
            reach(step, "before")
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return] # a generator's return value is untyped at run time
    finally:
        steps.close()


async def arun(
    steps: Steps[T],
    *,
    client: AsyncTogether,
    store: JobStore | None = None,
    key: str = "",
    log: Logger | None = None,
    clock: Clock = _SYSTEM_CLOCK,
) -> T:
    """Drive a flow to its end on the event loop. The store, which blocks, is used in a thread."""

    async def perform(step: Step) -> Any:
        match step:
            case Send(operation):
                return await client.send(operation)
            case Upload(path, purpose, file_name):
                return await client.upload(path, purpose=purpose, file_name=file_name)
            case Sleep(seconds):
                return await clock.asleep(seconds)
            case Load() | Save():
                return await asyncio.to_thread(_local, step, store, key, log, clock)
            case _:
                return _local(step, store, key, log, clock)

    try:
        step = next(steps)
        while True:
            try:
                value = await perform(step)
            except Exception as error:
                step = steps.throw(error)
            else:
                reach(step, "after")
                step = steps.send(value)
            reach(step, "before")
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return] # a generator's return value is untyped at run time
    finally:
        steps.close()


def _local(step: Step, store: JobStore | None, key: str, log: Logger | None, clock: Clock) -> Any:
    """The steps that touch neither the network nor the flow of time."""
    match step:
        case Now():
            return clock.now()
        case Elapsed():
            return clock.elapsed()
        case Log(message, level):
            return log(message, level) if log else None
        case Load() if store:
            return store.load(key)
        case Save(record, before) if store:
            if before is None or step.applies(store.load(key)):
                store.save(key, record)
            return None
    raise TypeError(f"{type(step).__name__} needs a job store")
