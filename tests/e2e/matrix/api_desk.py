"""Where a job is submitted, awaited and concluded through the real clients, with a hand on its clock and its deaths."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.integration.jobs.desk import CASES, Desk, HurriedClock
from together_flows import AsyncTogether
from together_flows.jobs import JobRecord, JobReference, JobWatcher, MemoryStore, WaitPolicy, arun
from together_flows.jobs.outcome import Outcome
from together_flows.jobs.record import Phase
from together_flows.jobs.steps import Steps

#: Emulated seconds per real second. The clients' clocks run as fast, so that pauses and jobs keep their proportion.
SPEED = 7200.0
#: The same where real time-outs count: a lost job is looked for through six real seconds, so that an effect that comes
#: even later than planned, on a machine that is busy, is still waited for.
SLOW = 5.0
#: Seconds that a client waits for an answer, and those where that is the subject.
TIMEOUT, SHORT_TIMEOUT = 20.0, 0.2

#: Seconds after which a task gives up: more than any of this takes, less than a clock is set by.
DEADLINE = 20 * 3_600.0


class Death(BaseException):
    """The process died."""


class SettableClock(HurriedClock):
    """A hurried clock that somebody sets, and that does things at moments."""

    def __init__(self, speed: float) -> None:
        super().__init__(speed)
        self.jumps_at_each_sleep = 0.0
        self._set_by = 0.0
        self._at: list[tuple[float, Callable[[], None]]] = []

    def now(self) -> float:
        return super().now() + self._set_by

    def set(self, by: float) -> None:
        """Set it on, or back, as seen from the right time."""
        self._set_by = by

    def at(self, moment: float, happens: Callable[[], None]) -> None:
        """Have something happen when the first sleep after that moment, in elapsed time, is over."""
        self._at.append((moment, happens))

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self._wake()

    async def asleep(self, seconds: float) -> None:
        await super().asleep(seconds)
        self._wake()

    def _wake(self) -> None:
        self._set_by += self.jumps_at_each_sleep
        due = [entry for entry in self._at if entry[0] <= self.elapsed()]
        for entry in due:
            self._at.remove(entry)
            entry[1]()


class MortalStore(MemoryStore):
    """A store whose process can die just before it stores a job's id."""

    def __init__(self) -> None:
        super().__init__()
        self.dies = False

    def save(self, key: str, record: JobRecord) -> None:
        if self.dies and record.phase is Phase.SUBMITTED:
            self.dies = False
            raise Death
        super().save(key, record)


@dataclass
class ApiDesk(Desk):
    """A desk with the sync client, in the task's own process.

    Attributes:
        hasty: the same clients with a short time-out.
        is_hasty: whether it submits with those.
        when_submitted: called when the job is submitted.
        when_waited: called when the wait is over, before its result is read.
        when_dead: called after a death, before the retry.
    """

    clock: SettableClock = field(default_factory=lambda: SettableClock(SPEED))
    store: MortalStore = field(default_factory=MortalStore)
    hasty: Mapping[str, Any] = field(default_factory=dict)
    is_hasty: bool = False
    when_submitted: Callable[[JobRecord], None] = lambda record: None
    when_waited: Callable[[], None] = lambda: None
    when_dead: Callable[[], None] = lambda: None

    def submit(self, name: str, spec: Mapping[str, Any], *, key: str = "task", **policy: Any) -> JobRecord:
        desk = replace(self, **self.hasty) if self.is_hasty else self
        return Desk.submit(desk, name, spec, key=key, **policy)

    def until_done(self, record: JobRecord) -> None:
        self.wait(record.reference)

    def wait(self, reference: JobReference, **policy: Any) -> Outcome:
        return super().wait(reference, **{"deadline": self.clock.now() + DEADLINE, **policy})

    def upload_as(self, kind: str) -> None:
        """Upload the content that the kind's specification names, as it would."""
        spec = CASES[kind].spec(self)
        path = Path(spec.get("path") or spec["input_path"])
        self.uploaded(path, spec.get("purpose", "eval"))


@dataclass
class AsyncApiDesk(ApiDesk):
    """A desk with the async client and the watcher, on an event loop of its own."""

    loop: asyncio.Runner = field(kw_only=True)
    async_client: AsyncTogether = field(kw_only=True)

    def run(self, steps: Steps[Any], key: str = "task") -> Any:
        driver: dict[str, Any] = {"client": self.async_client, "store": self.store, "key": key, "clock": self.clock}
        return self.loop.run(arun(steps, **driver, log=lambda text, _: self.note(text)))

    def wait(self, reference: JobReference, **policy: Any) -> Outcome:
        """Wait as a deferred task does."""
        patience = WaitPolicy(**{"interval": 2.0, "first": 0.5, "deadline": self.clock.now() + DEADLINE, **policy})

        async def waits() -> Outcome:
            return await JobWatcher(self.async_client, clock=self.clock).wait(reference, patience)

        return self.loop.run(waits())
