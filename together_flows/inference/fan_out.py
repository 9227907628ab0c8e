"""Inference over rows: an operation is sent once for each row, and each row is accounted for, in order.

What holds, whatever happens:

- A row that has an answer is not paid again: not by a retry of the task, not after a crash. Only rows whose answers
  were under way when the process died are sent again; of videos, which are jobs, not even those.
- The output has one line for each row, in the order of the input, and takes its name only when it is complete.
- Memory does not grow with the rows, but for 17 bytes each.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

from together_flows.client import AsyncTogether
from together_flows.errors import ArgumentInvalid, JobFailed, TogetherError
from together_flows.inference.attempts import AttemptPolicy
from together_flows.inference.exchange import Exchange, Job, Request
from together_flows.inference.governor import Governor
from together_flows.inference.intake import Intake
from together_flows.inference.journal import Journal
from together_flows.inference.media import MediaFolder
from together_flows.inference.merging import Tally, write_output
from together_flows.inference.places import Place, PlaceLike, place_of
from together_flows.inference.pricing import PRICED_BY_TOKEN, Meter, PriceList, check_priced, estimate, price_list
from together_flows.inference.progress import OnProgress
from together_flows.inference.requests import MAKES_MEDIA, RowTemplate
from together_flows.inference.rows import Rows, check_rows, count_rows, read_rows
from together_flows.inference.sending import Sending
from together_flows.inference.turnstile import Timer
from together_flows.jobs import check_budget

__all__ = ["FanOut"]

DEFAULT_CONCURRENCY = 32


def _silent(message: str, level: str) -> None:
    """Tells nobody."""


@dataclass(frozen=True, kw_only=True)
class FanOut:
    """What is to be done with each row, and how.

    Attributes:
        operation: what each row is sent to: `chat.create`, `completions.create`, `embeddings.create`, `rerank.create`,
            `images.generate`, `audio.create_speech`, `audio.create_transcription`, `audio.create_translation` or
            `videos.create`.
        model: the model for rows that name none.
        system: the system message for chats that begin with none.
        defaults: further arguments of the operation, for rows that do not give them.
        concurrency: most requests in flight; of videos, most that are made at once. The API's answers may call for
            fewer.
        policy: how patient to be with a row.
        max_rows: refuse sources of more rows, before anything is sent; no limit by default.
        budget: US dollars that the rows may cost at list price, where the API lists one. More is refused before
            anything is sent; answers count at `max_tokens` there. And nothing more is sent once that much is spent.
        max_failed_share: share of the rows that may fail, 0 to 1; all but one unless given.
        poll_interval: seconds between two looks at a video, in the long run.
        wait_timeout: seconds that one video may take, counted from its submission; no limit by default.
        progress_interval: seconds between two words of progress.
    """

    operation: str
    model: str | None = None
    system: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    concurrency: int = DEFAULT_CONCURRENCY
    policy: AttemptPolicy = field(default_factory=AttemptPolicy)
    max_rows: int | None = None
    budget: float | None = None
    max_failed_share: float | None = None
    poll_interval: float = 15.0
    wait_timeout: float | None = None
    progress_interval: float = 30.0

    async def run(
        self,
        client: AsyncTogether,
        rows: Rows,
        output_path: PlaceLike,
        *,
        files_path: PlaceLike | None = None,
        key: str = "",
        fresh: bool = False,
        log: Callable[[str, str], None] = _silent,
        on_progress: OnProgress | None = None,
        timer: Timer | None = None,
    ) -> dict[str, Any]:
        """Send all rows and write what comes of them.

        A row is a text; or a mapping with the operation's arguments by name, or with them under `body`, and perhaps a
        `custom_id`. `prompt` stands for the text of a chat too. What is no argument is not sent and comes back under
        `columns`.

        A line of the output is `{"custom_id", "index", "status", "response", "error", "status_code"}`: `index` is the
        row, from 0; `status` is `"succeeded"` or `"failed"`; `response` is the answer, or null; `error` is
        `{"message", "code"}`, or null. Pictures, sound and videos go into files; the line has their `paths`.

        Args:
            client: sends the requests. Its `max_connections` bounds what is in flight too.
            rows: rows in memory, or a `.jsonl` or `.csv` file of them: a path, an fsspec URL, or a path object that
                brings its file system.
            output_path: the file to write, likewise. What has come of the rows so far lies beside it, in
                `.<name>.part`, until all is well.
            files_path: the folder for pictures, sound and videos; beside the output unless given. A file's name is the
                row's number, and what is harmless of its `custom_id`.
            key: names the attempt's intention, the same for all retries of a task. With one, an output that was
                completed under it before is not made again.
            fresh: send all rows that were settled under another key, or none, again. By default only rows that have no
                answer yet are sent.
            log: called with a message and a level.
            on_progress: told how far the rows have come: at the start, every `progress_interval` seconds and at the
                end. It must not fail.
            timer: tells the time and waits.

        Returns:
            A small manifest: `operation`, `output_path`, `files_path` where there are files, `rows`, `succeeded`,
            `failed`, `prompt_tokens`, `completion_tokens`, `cost_usd` (`None` where no price is known; what is read
            is estimated where an answer does not count it); and of this
            attempt `resumed` (rows that were settled before), `retries`, `rate_limited` and `seconds`.

        Raises:
            ArgumentInvalid: an argument does not fit, or there are no rows, or too many.
            DatasetInvalid: a CSV file is not sound.
            BudgetExceeded: the rows would cost too much, or have.
            JobFailed: too many rows have failed. The output is written all the same; another attempt sends the failed
                rows again, and no others.
            ApiError: no row can succeed: the key is wrong, or the money is used up.
        """
        template = RowTemplate(self.operation, model=self.model, system=self.system, defaults=self.defaults)
        if self.budget is not None:
            check_priced(self.operation)
        target = place_of(output_path)
        files = place_of(files_path) if files_path is not None else target.sibling(f"{_stem(target)}-files")
        seal = _Seal(target, self._intention(key, rows, output_path)) if key else None
        if seal is not None and (made := await asyncio.to_thread(seal.manifest)) is not None:
            log(f"{target} was completed before; nothing is sent.", "info")
            return made
        await asyncio.to_thread(self._check, rows)
        prices = await self._prices(client)
        await self._check_price(template, rows, prices, log)
        async with _journal_of(target, owner=key, fresh=fresh) as journal, _folder_of(files, self.concurrency) as media:
            sending = Sending(
                intake=Intake(map(template.ask, read_rows(rows)), journal.settles),
                exchange=self._exchange(client, journal),
                journal=journal,
                governor=Governor(self.concurrency),
                policy=self.policy,
                media=media,
                meter=await self._meter(prices, journal),
                timer=timer or Timer(),
                log=log,
                count=lambda: count_rows(rows),
                on_progress=on_progress,
                tell_every=self.progress_interval,
            )
            began = time.monotonic()
            await sending.run()
            if not sending.intake.rows:
                raise ArgumentInvalid("There are no rows.", mend="Give at least one.")
            tally = await asyncio.to_thread(write_output, journal, sending.intake.rows, target)
            manifest = self._manifest(sending, tally, target, files, time.monotonic() - began, prices)
            self._judge(tally, sending, target)
            if seal is not None:
                await asyncio.to_thread(seal.set, manifest)
            await asyncio.to_thread(journal.remove)
        log(f"{tally.succeeded} of {tally.rows} rows have an answer: {target}", "info")
        return manifest

    def _check(self, rows: Rows) -> None:
        check_rows(rows)
        if self.max_rows is not None and (count := count_rows(rows)) > self.max_rows:
            raise ArgumentInvalid(
                f"There are {count} rows, more than max_rows={self.max_rows}. Nothing was sent.",
                mend="Raise max_rows, or give fewer rows.",
            )

    async def _prices(self, client: AsyncTogether) -> PriceList | None:
        if self.operation not in PRICED_BY_TOKEN:
            return None
        try:
            return await price_list(client)
        except TogetherError:
            if self.budget is not None:
                raise
            return None

    async def _check_price(
        self, template: RowTemplate, rows: Rows, prices: PriceList | None, log: Callable[[str, str], None]
    ) -> None:
        if self.budget is None or prices is None:
            return
        expected = await asyncio.to_thread(lambda: estimate(map(template.ask, read_rows(rows)), prices))
        log(f"Estimated price: ${expected.usd:.2f} ({expected.basis}).", "info")
        check_budget(expected, self.budget)

    async def _meter(self, prices: PriceList | None, journal: Journal) -> Meter:
        """A meter that knows what the attempts before have spent, where that counts."""
        meter = Meter(prices, self.budget)
        if self.budget is not None:
            meter.add(await asyncio.to_thread(lambda: sum(entry.cost_usd for entry in journal.entries())))
        return meter

    def _exchange(self, client: AsyncTogether, journal: Journal) -> Exchange:
        if self.operation == "videos.create":
            return Job(client, journal, poll_interval=self.poll_interval, timeout=self.wait_timeout)
        return Request(client)

    def _manifest(
        self, sending: Sending, tally: Tally, target: Place, files: Place, seconds: float, prices: PriceList | None
    ) -> dict[str, Any]:
        priced = prices is not None or tally.cost_usd > 0
        manifest: dict[str, Any] = {"operation": self.operation, "output_path": str(target)}
        if self.operation in MAKES_MEDIA:
            manifest["files_path"] = str(files)
        manifest |= asdict(tally)
        del manifest["first_error"]  # it may be long; the output has it
        manifest["cost_usd"] = round(tally.cost_usd, 9) if priced else None
        return manifest | {
            "resumed": sending.intake.skipped,
            "retries": sending.retries,
            "rate_limited": sending.governor.refusals,
            "seconds": round(seconds, 3),
        }

    def _judge(self, tally: Tally, sending: Sending, target: Place) -> None:
        allowed = tally.rows - 1
        if self.max_failed_share is not None:
            allowed = min(allowed, int(self.max_failed_share * tally.rows))
        if tally.failed > allowed:
            raise JobFailed(
                f"{tally.failed} of {tally.rows} rows have failed; at most {allowed} may. "
                f"The first says: {tally.first_error}",
                mend=f"Their errors are in {target}. Another attempt sends them again, and no others.",
                retryable=sending.mendable > 0,
            )

    def _intention(self, key: str, rows: Rows, output_path: PlaceLike) -> str:
        given = rows if isinstance(rows, list | tuple) else str(rows)
        wanted = [key, self.operation, self.model, self.system, self.defaults, given, str(output_path)]
        return hashlib.sha256(msgspec.json.encode(wanted, order="sorted", enc_hook=str)).hexdigest()


@asynccontextmanager
async def _journal_of(target: Place, *, owner: str, fresh: bool) -> AsyncIterator[Journal]:
    """The journal, opened and closed in threads: it reads and writes files."""
    journal = await asyncio.to_thread(Journal(target, owner=owner, fresh=fresh).__enter__)
    try:
        yield journal
    finally:
        await asyncio.shield(asyncio.to_thread(journal.__exit__, None, None, None))


@asynccontextmanager
async def _folder_of(place: Place, concurrency: int) -> AsyncIterator[MediaFolder]:
    """The folder for media, closed in a thread: what is being written is waited for."""
    folder = MediaFolder(place, at_once=concurrency)
    try:
        yield folder
    finally:
        await asyncio.shield(asyncio.to_thread(folder.__exit__, None, None, None))


class _Seal:
    """Says beside a complete output for which intention it was made, so that a retry does not pay for it again."""

    def __init__(self, target: Place, intention: str) -> None:
        self._target = target
        self._place = target.sibling(f"{target.name}.manifest.json")
        self._intention = intention

    def manifest(self) -> dict[str, Any] | None:
        """The manifest, if the output was completed for this very intention."""
        if not self._place.exists() or not self._target.exists():
            return None
        with self._place.open() as stream:
            try:
                kept = msgspec.json.decode(stream.read(), type=dict[str, Any])
            except msgspec.DecodeError:
                return None
        return kept.get("manifest") if kept.get("intention") == self._intention else None

    def set(self, manifest: Mapping[str, Any]) -> None:
        """Write it."""
        with self._place.replacing() as stream:
            stream.write(msgspec.json.encode({"intention": self._intention, "manifest": manifest}))


def _stem(target: Place) -> str:
    return target.name.rpartition(".")[0] or target.name
