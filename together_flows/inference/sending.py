"""Sends rows: so many at once as the governor allows, each until it has an answer or has failed for good."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from together_flows.errors import ApiError, SubmissionUnknown, TogetherError
from together_flows.inference.answers import Address, AnswerParts
from together_flows.inference.attempts import Again, AttemptPolicy, Halt, is_refusal
from together_flows.inference.exchange import Came, Exchange
from together_flows.inference.governor import Governor
from together_flows.inference.intake import Intake
from together_flows.inference.journal import Entry, Journal
from together_flows.inference.media import MediaFolder
from together_flows.inference.pricing import Meter
from together_flows.inference.progress import OnProgress, Progress
from together_flows.inference.requests import Asked
from together_flows.inference.turnstile import Timer, Turnstile

__all__ = ["Sending"]

_SAFE_EVERY = 5.0
"""Seconds after which what was journaled is made to survive the machine."""

_encode: Final = msgspec.json.Encoder().encode


@dataclass
class Sending:
    """Everything that the sending of rows needs.

    Attributes:
        intake: what is still to be sent.
        exchange: sends a row once.
        journal: where outcomes go.
        governor: how many may be in flight.
        policy: how patient to be with a row.
        media: keeps pictures, sound and videos.
        meter: counts what was spent.
        timer: tells the time and waits.
        log: called with a message and a level.
        count: counts all rows, for the progress to have a share. It blocks.
        on_progress: told how far the rows have come, now and then and at the end.
        tell_every: seconds between two words of progress.
        total: all rows, once they are counted.
        retries: requests that were sent again.
        done: rows that have an outcome since this began.
        failed: of these, those that have failed.
        mendable: rows that have failed in a way that another attempt may mend.
        stopped_by: why no further row is sent.
    """

    intake: Intake
    exchange: Exchange
    journal: Journal
    governor: Governor
    policy: AttemptPolicy
    media: MediaFolder
    meter: Meter
    timer: Timer
    log: Callable[[str, str], None]
    count: Callable[[], int]
    on_progress: OnProgress | None = None
    tell_every: float = 30.0
    total: int | None = None
    retries: int = 0
    done: int = 0
    failed: int = 0
    mendable: int = 0
    stopped_by: Exception | None = None

    async def run(self) -> None:
        """Send everything.

        Raises:
            TogetherError: no further row can succeed. What was in flight was waited for and is journaled.
        """
        self._turnstile = Turnstile(self.governor, self.timer)
        self._began = time.monotonic()
        beside = [asyncio.create_task(work) for work in (self._keep_safe(), self._tell(), self._count())]
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.governor.ceiling):
                    group.create_task(self._work())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            for task in beside:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        if self.stopped_by is None:
            self.total = self.intake.rows
        await self._show()
        if self.stopped_by is not None:
            raise self.stopped_by

    async def _work(self) -> None:
        while (asked := await self._next()) is not None:
            entry = await self._outcome(asked)
            if entry is not None:
                self.journal.add(entry)
                self.done += 1
                self.failed += not entry.succeeded

    async def _next(self) -> Asked | None:
        try:
            return await self.intake.next()
        except Exception as error:  # of whatever sort: rows that are under way are paid, and go on to their end
            self._stop(error)
            return None

    async def _outcome(self, asked: Asked) -> Entry | None:
        """What comes of a row; `None` when it was not settled, because everything stops."""
        if asked.operation is None:
            return _failed(asked, asked.problem)
        came: Came | Entry | None = self._paid_before(asked)
        if came is None:
            came = await self._answer(asked)
            if isinstance(came, Came):
                came = await self._paid(asked, came)
        return await self._with_media(asked, came) if isinstance(came, Came) else came

    async def _answer(self, asked: Asked) -> Came | Entry | None:
        """The answer to a row, however often it has to be sent; or its failure."""
        failures = refusals = 0
        while True:
            try:
                return await self._attempt(asked)
            except TogetherError as error:
                failures += not is_refusal(error)
                refusals += is_refusal(error)
                decision = self.policy.after(error, failures=failures, refusals=refusals)
                if isinstance(decision, Halt):
                    self._stop(error)
                    return None
                if not isinstance(decision, Again):
                    self.mendable += error.retryable
                    return _failed(asked, str(error), error, final=isinstance(error, SubmissionUnknown))
            if self.stopped_by is not None:
                return None
            self.retries += 1
            if decision.wait:
                await self.timer.sleep(decision.wait)

    async def _attempt(self, asked: Asked) -> Came:
        async with self._turnstile:
            began = self.timer.now()
            try:
                came = await self.exchange.attempt(asked)
            except TogetherError as error:
                if is_refusal(error):
                    asked_for = error.retry_after if isinstance(error, ApiError) else None
                    self.governor.refused(began=began, now=self.timer.now(), retry_after=asked_for)
                raise
            self.governor.answered(came.headers)
            return came

    def _paid_before(self, asked: Asked) -> Came | None:
        """The answer that an earlier attempt has paid for, where only its media are missing."""
        entry = self.journal.unfetched(asked.index, asked.digest)
        if entry is None or entry.unfetched is None:
            return None
        media = [Address(url) for url in entry.unfetched["addresses"]]
        parts = AnswerParts(entry.unfetched["response"], media, entry.prompt_tokens, entry.completion_tokens)
        return Came(parts, {}, entry.cost_usd)

    async def _paid(self, asked: Asked, came: Came) -> Came:
        """Count what an answer cost. One whose media can only be fetched once is journaled before they are."""
        parts = came.parts
        cost = came.cost_usd or self.meter.price(asked, parts.prompt_tokens, parts.completion_tokens)
        if (overspent := self.meter.add(cost)) is not None:
            self._stop(overspent)
        came = replace(came, cost_usd=cost)
        addresses = [medium.url for medium in parts.media if isinstance(medium, Address)]
        if addresses and len(addresses) == len(parts.media) and not came.readable_again:
            unfetched = {"response": parts.response, "addresses": addresses}
            await asyncio.to_thread(self.journal.add_unfetched, _entry(asked, came, unfetched=unfetched))
        return came

    async def _with_media(self, asked: Asked, came: Came) -> Entry | None:
        """The outcome of a row that has an answer, once its media are in their files."""
        try:
            paths = await self.media.keep(asked, came.parts.media) if came.parts.media else []
        except TogetherError as error:
            self.mendable += error.retryable
            failure = {"message": str(error), "code": None}
            line = _line(asked, "failed", response=came.parts.response, error=failure)
            return _entry(asked, came, output=msgspec.Raw(_encode(line)), unfinished=True)
        except Exception as error:  # the folder refuses this file, and so the files of all other rows
            self._stop(_cannot_write(error))
            return None
        line = _line(asked, "succeeded", response=came.parts.response) | ({"paths": paths} if paths else {})
        return _entry(asked, came, succeeded=True, output=msgspec.Raw(_encode(line)))

    def _stop(self, error: Exception) -> None:
        self.stopped_by = self.stopped_by or error
        self.intake.stop()

    async def _keep_safe(self) -> None:
        while True:
            await asyncio.sleep(_SAFE_EVERY)
            try:
                await asyncio.to_thread(self.journal.keep_safe)
            except Exception as error:  # it is tried again soon, and insisted on at the end
                self.log(f"The journal cannot be kept safe at present: {error}", "warning")

    async def _tell(self) -> None:
        while True:
            await self._show()
            await asyncio.sleep(self.tell_every)
            self.log(self._progress.describe(), "info")

    async def _count(self) -> None:
        with suppress(Exception):  # what is wrong with the rows is found when they are read to be sent
            self.total = await asyncio.to_thread(self.count)

    async def _show(self) -> None:
        if self.on_progress is not None:
            await self.on_progress(self._progress)

    @property
    def _progress(self) -> Progress:
        return Progress(
            settled=self.intake.skipped + self.done,
            failed=self.failed,
            resumed=self.intake.skipped,
            total=self.total,
            in_flight=self.governor.in_flight,
            limit=int(self.governor.limit),
            cost_usd=self.meter.usd,
            seconds=time.monotonic() - self._began,
        )


def _entry(asked: Asked, came: Came, **fields: Any) -> Entry:
    """The journal's entry of a row that was answered."""
    return Entry(
        index=asked.index,
        digest=asked.digest,
        prompt_tokens=came.parts.prompt_tokens,
        completion_tokens=came.parts.completion_tokens,
        cost_usd=came.cost_usd,
        **fields,
    )


def _cannot_write(error: Exception) -> TogetherError:
    return TogetherError(
        f"The files of pictures, sound and videos cannot be written: {error!r}.",
        mend="See to the folder's space and rights. The next attempt goes on from here.",
        retryable=True,
    )


def _failed(asked: Asked, words: str, error: TogetherError | None = None, *, final: bool = False) -> Entry:
    status = error.status_code if isinstance(error, ApiError) else None
    code = error.code or None if isinstance(error, ApiError) else None
    failure = {"message": words, "code": code}
    line = _line(asked, "failed", error=failure, status_code=status)
    return Entry(index=asked.index, digest=asked.digest, final=final, output=msgspec.Raw(_encode(line)))


def _line(
    asked: Asked,
    status: str,
    *,
    response: Any = None,
    error: Mapping[str, Any] | None = None,
    status_code: int | None = None,
) -> dict[str, Any]:
    """A row's line in the output, in the form that the lines of batches have."""
    line = {
        "custom_id": asked.custom_id,
        "index": asked.index,
        "status": status,
        "response": response,
        "error": error,
        "status_code": status_code,
    }
    return line | ({"columns": asked.columns} if asked.columns else {})
