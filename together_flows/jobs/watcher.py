"""One watcher for all waits of an event loop and account.

Waiters register; per kind one loop asks the API once an interval for all of them, by the list operation or by one read
per job, whichever has cost fewer bytes so far. Thousands of waiters so cost what one costs.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from together_flows.errors import AnswerInvalid, ApiError, ConnectionFailed, TogetherError
from together_flows.jobs.kind import JobKind, kind_named
from together_flows.jobs.model import JobReference, JobStatus, Row
from together_flows.jobs.steps import Clock, SystemClock
from together_flows.jobs.waiting import Done, Expired, GiveUp, LookAgain, Wait, WaitPolicy

if TYPE_CHECKING:
    from together_flows.client import AsyncTogether

__all__ = ["JobWatcher"]

_LOGGER = logging.getLogger(__name__)

#: Reads of single jobs that may be under way at once.
_READS_AT_ONCE = 16
#: What a request costs besides its body, in bytes, when list and single reads are weighed.
_REQUEST_OVERHEAD = 1_000
#: A list's size is measured anew after so many rounds of single reads, since it may have shrunk.
_REMEASURE_AFTER = 60
_SHORTEST_PAUSE = 0.2

OnStatus = Callable[[JobStatus], None]


@dataclass(eq=False)
class _Waiter:
    wait: Wait
    done: asyncio.Future[Done | Expired | GiveUp]
    on_status: OnStatus | None
    due: float
    seen: str = ""

    @property
    def id(self) -> str:
        return self.wait.reference.id


@dataclass
class _Poll:
    """The loop of one kind: its waiters, and what a look has cost."""

    kind: JobKind
    waiters: list[_Waiter] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    list_bytes: float | None = None
    read_bytes: float = 2_000.0
    reads_since_list: int = 0
    listed_at: float = float("-inf")

    def prefers_list(self, jobs: int) -> bool:
        """Whether one list is cheaper than a read for each job."""
        if self.kind.list_all is None:
            return False
        if self.list_bytes is None or self.reads_since_list >= _REMEASURE_AFTER:
            return jobs > 1
        return self.list_bytes + _REQUEST_OVERHEAD <= jobs * (self.read_bytes + _REQUEST_OVERHEAD)


class JobWatcher:
    """Waits for any number of jobs with few requests. It belongs to the event loop that made it.

    Args:
        client: sends the operations.
        clock: tells the time and sleeps.
    """

    def __init__(self, client: AsyncTogether, *, clock: Clock | None = None) -> None:
        self._client = client
        self._clock = clock or SystemClock()
        self._polls: dict[str, _Poll] = {}
        self._reading = asyncio.Semaphore(_READS_AT_ONCE)

    @classmethod
    def of(cls, client: AsyncTogether) -> JobWatcher:
        """The watcher of the running event loop and the client's account."""
        watchers = _WATCHERS.setdefault(asyncio.get_running_loop(), {})
        if client.account not in watchers:
            watchers[client.account] = cls(client)
        return watchers[client.account]

    async def wait(
        self, reference: JobReference, policy: WaitPolicy, *, on_status: OnStatus | None = None
    ) -> Done | Expired | GiveUp:
        """Wait until the job is final, the deadline passes, or looking makes no sense any more.

        Cancelling the wait leaves the job alone.

        Args:
            reference: the job.
            policy: how to wait.
            on_status: called with each status that differs from the one before. It must not block.
        """
        poll = self._polls.setdefault(reference.kind, _Poll(kind_named(reference.kind)))
        waiter = _Waiter(
            wait=Wait(reference, policy.measured(self._clock.now(), self._clock.elapsed())),
            done=asyncio.get_running_loop().create_future(),
            on_status=on_status,
            due=max(self._clock.elapsed(), poll.listed_at + policy.interval / 2),  # newcomers do not hurry the list
        )
        poll.waiters.append(waiter)
        poll.woken.set()
        if poll.task is None or poll.task.done():
            poll.task = asyncio.create_task(self._run(poll), name=f"watch {reference.kind}")
        try:
            return await waiter.done
        finally:
            if waiter in poll.waiters:
                poll.waiters.remove(waiter)
                poll.woken.set()

    async def _run(self, poll: _Poll) -> None:
        """Look, tell the waiters, sleep; end when nobody waits."""
        try:
            while poll.waiters:
                await self._pause(poll)
                now = self._clock.elapsed()
                due = [waiter for waiter in poll.waiters if waiter.due <= now]
                if due:
                    await self._look(poll, due)
        except Exception as error:  # a defect here must fail the waits, not leave them hanging
            _LOGGER.exception("The watch of %s failed", poll.kind.name)
            failure = TogetherError(f"The watch of {poll.kind.name} failed: {error}", retryable=True)
            for waiter in list(poll.waiters):
                self._finish(poll, waiter, GiveUp(failure))
        except asyncio.CancelledError:
            raise
        except BaseException as signal:  # what a signal handler raises, wherever it finds the process, is for the waits
            for waiter in list(poll.waiters):
                if not waiter.done.done():
                    waiter.done.set_exception(signal)

    async def _pause(self, poll: _Poll) -> None:
        """Sleep until the first waiter is due, or somebody joins.

        Waiters that are due shortly after are served with the first, so that looks happen once an interval and not once
        a waiter.
        """
        first = min(waiter.due for waiter in poll.waiters)
        shortest = min(waiter.wait.policy.interval for waiter in poll.waiters)
        slack = max(_SHORTEST_PAUSE, shortest * 0.5)
        late = max(waiter.due for waiter in poll.waiters if waiter.due <= first + slack)
        poll.woken.clear()
        delay = max(late - self._clock.elapsed(), 0.0 if late <= self._clock.elapsed() else _SHORTEST_PAUSE)
        if delay <= 0:
            await asyncio.sleep(0)
            return
        sleeping = asyncio.ensure_future(self._clock.asleep(delay))
        waking = asyncio.ensure_future(poll.woken.wait())
        try:
            await asyncio.wait({sleeping, waking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            waking.cancel()

    async def _look(self, poll: _Poll, due: list[_Waiter]) -> None:
        ids = {waiter.id for waiter in due}
        rows: dict[str, Row | TogetherError] = {}
        if poll.prefers_list(len(ids)):
            rows = await self._read_list(poll, {waiter.id for waiter in poll.waiters})
        missing = [job_id for job_id in ids if job_id not in rows]
        rows |= await self._read_each(poll, missing)
        now = self._clock.elapsed()
        for waiter in list(poll.waiters):
            if waiter.id in rows:
                self._tell(poll, waiter, rows[waiter.id], now)

    async def _read_list(self, poll: _Poll, wanted: set[str]) -> dict[str, Row | TogetherError]:
        assert poll.kind.list_all is not None
        try:
            answer, size = await self._client.send_measured(poll.kind.list_all().untyped())
            rows: dict[str, Row | TogetherError] = await _pick(poll.kind, answer, wanted, size)
        except TogetherError as error:
            if isinstance(error, ApiError | ConnectionFailed) and error.retryable:
                return dict.fromkeys(wanted, error)
            # A list that is malformed or refused says nothing of the jobs; each is asked for by itself.
            _LOGGER.warning("The list of %s jobs is of no use: %s", poll.kind.name, error)
            poll.list_bytes, poll.reads_since_list = math.inf, 0
            return {}
        poll.list_bytes, poll.reads_since_list, poll.listed_at = float(size), 0, self._clock.elapsed()
        return rows

    async def _read_each(self, poll: _Poll, ids: Iterable[str]) -> dict[str, Row | TogetherError]:
        async def read(job_id: str) -> tuple[str, Row | TogetherError]:
            async with self._reading:
                try:
                    row, size = await self._client.send_measured(poll.kind.read(job_id).untyped())
                except TogetherError as error:
                    return job_id, error
            poll.read_bytes = 0.8 * poll.read_bytes + 0.2 * size
            return job_id, row

        found = await asyncio.gather(*(read(job_id) for job_id in ids))
        poll.reads_since_list += bool(found)
        return dict(found)

    def _tell(self, poll: _Poll, waiter: _Waiter, found: Row | TogetherError, now: float) -> None:
        if isinstance(found, TogetherError):
            _LOGGER.warning("Looking at %s failed: %s", waiter.wait.reference, found)
            decision = waiter.wait.failed(found, now)
        else:
            try:
                status = poll.kind.status(found, waiter.id)
            except AnswerInvalid as error:
                self._tell(poll, waiter, error, now)
                return
            decision = self._show(waiter, status) or waiter.wait.saw(status, now)
        if isinstance(decision, LookAgain):
            waiter.due = now + decision.after
        else:
            self._finish(poll, waiter, decision)

    def _show(self, waiter: _Waiter, status: JobStatus) -> GiveUp | None:
        """Tell of a change. A callback that fails ends its own wait, and nobody else's."""
        if surprise := waiter.wait.surprise(status):
            _LOGGER.warning(surprise)
        line = f"{status.describe()}|{status.row.get('updated_at', '')}"
        if line == waiter.seen or waiter.on_status is None:
            return None
        waiter.seen = line
        try:
            waiter.on_status(status)
        except Exception as error:
            _LOGGER.exception("Telling of %s failed", waiter.wait.reference)
            return GiveUp(TogetherError(f"Telling of {waiter.wait.reference} failed: {error!r}", retryable=True))
        return None

    def _finish(self, poll: _Poll, waiter: _Waiter, decision: Done | Expired | GiveUp) -> None:
        if waiter in poll.waiters:
            poll.waiters.remove(waiter)
        if not waiter.done.done():
            waiter.done.set_result(decision)


async def _pick(kind: JobKind, answer: Any, wanted: set[str], size: int) -> dict[str, Row | TogetherError]:
    """The wanted rows of a list, by id; of a big list in a thread, so that the loop goes on."""

    def pick() -> dict[str, Row | TogetherError]:
        return {job_id: row for job_id, row in kind.jobs_in(answer).items() if job_id in wanted}

    return await asyncio.to_thread(pick) if size > 1_000_000 else pick()


_WATCHERS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, JobWatcher]] = WeakKeyDictionary()
