"""One attempt for one row: a request and its answer, or a job from its submission to its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

from together_flows.api import Operation
from together_flows.client import AsyncTogether
from together_flows.datasets.storage import is_url, local_copy
from together_flows.errors import ArgumentInvalid
from together_flows.inference.answers import Address, AnswerParts, parts_of
from together_flows.inference.journal import Journal, JournalStore
from together_flows.inference.requests import Asked
from together_flows.jobs import JobReference, JobWatcher, WaitPolicy, arun, asubmit_once, conclude, kind_named

__all__ = ["Came", "Exchange", "Job", "Request"]

_VIDEO = "video"


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a good attempt.

    Attributes:
        parts: the answer.
        headers: of the answer; empty for a job.
        cost_usd: what it cost in US dollars, where that is known.
        readable_again: it can be had once more without being paid for.
    """

    parts: AnswerParts
    headers: Mapping[str, str]
    cost_usd: float = 0.0
    readable_again: bool = False


class Exchange(Protocol):
    """Sends a row once."""

    async def attempt(self, asked: Asked) -> Came:
        """Send it, and take what comes.

        Raises:
            TogetherError: nothing good came of it.
        """


class Request(Exchange):
    """Rows that are answered at once.

    Args:
        client: sends them.
    """

    def __init__(self, client: AsyncTogether) -> None:
        self._client = client

    async def attempt(self, asked: Asked) -> Came:
        """Send the row's operation."""
        assert asked.operation is not None
        try:
            async with _recording_here(asked, asked.operation) as operation:
                received = await self._client.send_once(operation)
        except OSError as error:  # the network's are errors of our own by now
            raise ArgumentInvalid(f"The row's file cannot be read: {error}.", mend="Check the path.") from error
        return Came(parts_of(received.answer), received.headers)


class Job(Exchange):
    """Rows that are jobs: each is submitted once, waited for, and adopted by whoever goes on after a crash.

    Args:
        client: sends the operations.
        journal: keeps the job records.
        poll_interval: seconds between two looks at a job, in the long run.
        timeout: seconds that a job may take, counted from its submission; no limit by default.
    """

    def __init__(
        self, client: AsyncTogether, journal: Journal, *, poll_interval: float, timeout: float | None = None
    ) -> None:
        self._client = client
        self._submitting = cast(AsyncTogether, _SendingOnce(client))
        self._journal = journal
        self._watcher = JobWatcher(client)
        self._interval = poll_interval
        self._timeout = timeout

    async def attempt(self, asked: Asked) -> Came:
        """Submit the row's job, or find the one of an earlier attempt, and wait for its end."""
        assert asked.arguments is not None
        store, key = JournalStore(self._journal, asked.index, asked.digest), asked.custom_id
        record = await asubmit_once(self._submitting, _VIDEO, asked.arguments, store=store, key=key)
        reference: JobReference = record.reference
        deadline = None if self._timeout is None else record.intent_at + self._timeout
        policy = WaitPolicy(deadline=deadline, interval=self._interval, first=min(1.0, self._interval))
        outcome = await self._watcher.wait(reference, policy)
        ending = conclude(kind_named(_VIDEO), reference, outcome, base_url=self._client.base_url)
        manifest = await arun(ending, client=self._client, store=store, key=key)
        address = Address(str(manifest.pop("video_url") or ""))
        cost = float(manifest.get("cost_usd") or 0.0)
        return Came(AnswerParts(manifest, [address]), {}, cost, readable_again=True)


class _SendingOnce:
    """Sends what may not be repeated a single time, so that a refusal for the rate of all rows is heard of at once.

    Args:
        client: sends the operations.
    """

    def __init__(self, client: AsyncTogether) -> None:
        self._client = client

    async def send(self, operation: Operation[Any]) -> Any:
        """Send an operation, and answer with what it answers."""
        if operation.repeatable:
            return await self._client.send(operation)
        return (await self._client.send_once(operation)).answer


@contextlib.asynccontextmanager
async def _recording_here(asked: Asked, operation: Operation[Any]) -> AsyncIterator[Operation[Any]]:
    """The operation with its recording on this machine: one in object storage is copied for the while."""
    location = (asked.arguments or {}).get("file")
    if not isinstance(location, str) or not is_url(location) or location.lower().startswith(("http://", "https://")):
        yield operation
        return
    copying = contextlib.ExitStack()
    try:
        copy = await asyncio.to_thread(copying.enter_context, local_copy(location))
        yield replace(operation, parts={"file": copy})
    finally:
        await asyncio.to_thread(copying.close)
