"""The world one emulator simulates: its account, clock, records, files, settings and the threads that compute.

Everything here changes on the event loop alone. `JobKind.work` runs in a worker thread: it reads, and returns a result
that is taken in on the loop.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from together_flows.emulator.clock import Clock, Segment
from together_flows.emulator.connections import Connections
from together_flows.emulator.faults import FaultBook
from together_flows.emulator.jobs import Job, JobKind, JobTable
from together_flows.emulator.pace import Pace
from together_flows.emulator.store import Store
from together_flows.emulator.traffic import Traffic

__all__ = ["ACCOUNT", "Settings", "World"]

log = logging.getLogger(__name__)

ACCOUNT = "emulator-user"
"""The one account of the emulator; it leads the names of tuned models and endpoints."""

J = TypeVar("J", bound=Job)

_FOLDERS = ("files", "uploads", "work", "models", "media", "policies")


class Born(NamedTuple):
    """When a new job is created, and from when on list routes show it. Emulator seconds."""

    created: float
    visible: float


class Settings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What the control plane can change while the emulator runs.

    Attributes:
        speed: emulator seconds per real second.
        endpoints_v1_closed: creating or restarting a dedicated endpoint answers 403, as the live service does today.
        list_delay: emulator seconds for which list routes do not show a new job.
        credit_limit: US dollars that one fine-tune may cost.
        fail: words, by kind, with which new jobs of that kind fail.
        rate_limit: requests a real minute before 429; None for no limit.
    """

    speed: float = 1.0
    endpoints_v1_closed: bool = False
    list_delay: float = 0.0
    credit_limit: float = 1_000_000.0
    fail: dict[str, str] = msgspec.field(default_factory=dict)
    rate_limit: int | None = None


class World:
    """Everything the emulator knows.

    Args:
        folder: where records and files are kept.
        speed: emulator seconds per real second.
        api_key: the key that is let in.
        kinds: every kind of job that is served.
    """

    def __init__(self, *, folder: Path, speed: float, api_key: str, kinds: Iterable[JobKind[Any]]) -> None:
        self.folder = folder
        self.api_key = api_key
        self._make_folders()
        self.store = Store(folder / "records.sqlite3")
        self.clock = self._restore_clock()
        self.initial = Settings(speed=speed)
        self.settings = self.initial
        self.faults = FaultBook()
        self.connections = Connections()
        self.pace = Pace()
        self.requests: Counter[str] = Counter()
        self.traffic = Traffic()
        self.tables: dict[str, JobTable[Any]] = {kind.name: JobTable(self, kind) for kind in kinds}
        self.change_settings(self.initial)
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="emulator-work")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._endings: list[Callable[[], None]] = []

    def table(self, kind: JobKind[J]) -> JobTable[J]:
        """The jobs of this kind."""
        return self.tables[kind.name]

    def path(self, *parts: str) -> Path:
        """A path under the emulator's folder."""
        return self.folder.joinpath(*parts)

    def born(self) -> Born:
        """The moments that every new job starts with."""
        now = self.clock.now()
        return Born(created=now, visible=now + self.settings.list_delay)

    def change_settings(self, settings: Settings) -> None:
        """Puts settings in force.

        Raises:
            ValueError: the speed is not above 0, or `fail` names a kind there is not.
        """
        unknown = set(settings.fail) - set(self.tables)
        if unknown:
            raise ValueError(f"fail: no such kind: {', '.join(sorted(unknown))}; there are {', '.join(self.tables)}")
        self.clock.set_speed(settings.speed)
        self.store.put("clock", "clock", msgspec.msgpack.encode(self.clock.segments))
        self.settings = settings

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begins to compute: results are handed to this loop."""
        self._loop = loop
        for table in self.tables.values():
            table.resume()

    def start_work(self, table: JobTable[J], job: J) -> None:
        """Has a worker compute the job; the table takes the result in when it is there."""
        if self._loop is None:
            return  # `start` resumes it
        self._pool.submit(table.kind.work, self, job).add_done_callback(
            lambda future: self._on_loop(table, job, future)
        )

    def reset(self) -> None:
        """Forgets everything but the clock."""
        self._end()
        self.store.clear()
        for table in self.tables.values():
            table.clear()
        self.faults.clear()
        self.connections.forget_use()
        self.pace = Pace()
        self.requests.clear()
        self.traffic.forget()
        for name in _FOLDERS:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        self._make_folders()
        self.change_settings(self.initial)

    def close(self) -> None:
        """Stops computing and closes the store. Unfinished work is begun anew at the next start."""
        self._loop = None
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._end()
        self.store.close()

    def at_end(self, ending: Callable[[], None]) -> None:
        """Has this called at every reset and when the emulator closes: for what no record holds, such as processes."""
        self._endings.append(ending)

    def _end(self) -> None:
        for ending in self._endings:
            ending()

    @property
    def closing(self) -> bool:
        """Whether workers are to give up."""
        return self._loop is None

    def _on_loop(self, table: JobTable[J], job: J, future: Future[Any]) -> None:
        if self._loop is None or future.cancelled():
            return
        try:
            self._loop.call_soon_threadsafe(self._take_in, table, job, future)
        except RuntimeError:  # the loop closed in between; the work is begun anew at the next start
            log.debug("result of %s %s arrived after the end", table.kind.name, job.id)

    def _take_in(self, table: JobTable[J], job: J, future: Future[Any]) -> None:
        failure = future.exception()
        if failure is None:
            table.settle(job, future.result())
        elif job.id in table:
            log.error("the work of %s %s broke", table.kind.name, job.id, exc_info=failure)
            job.computed = True
            table.end(job, table.kind.failure, error=f"The emulator failed: {failure}")

    def _restore_clock(self) -> Clock:
        for body in self.store.all("clock"):
            return Clock(msgspec.msgpack.decode(body, type=list[Segment]))
        return Clock()

    def _make_folders(self) -> None:
        for name in _FOLDERS:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
