"""The client for coroutines: the twin of `Together`."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx2

from together_flows.api._operation import Operation
from together_flows.api.files import File
from together_flows.client._base import (
    END_OF_STREAM,
    Body,
    Client,
    call_name,
    check_packing,
    downloadable,
    hop_after,
    is_failure,
    realtime_missing,
    session_of,
    streaming,
)
from together_flows.client._connection import MAX_HOPS, failures
from together_flows.client._request import Prepared, prepare
from together_flows.client._response import EVENT_LIMIT, LARGE, Received
from together_flows.client._sync import Together
from together_flows.client._transfer import Transfer
from together_flows.client._upload import Source
from together_flows.client.retry import ONCE, Retries, verdict
from together_flows.errors import AnswerInvalid, ArgumentInvalid, ConnectionFailed, TogetherError

if TYPE_CHECKING:
    from together_flows.client._session import AsyncSession

__all__ = ["AsyncTogether"]

T = TypeVar("T")

PARALLEL_TRANSFERS = 4
"""Uploads and downloads of one client at the same time; further ones wait. Each has a thread of its own."""


class AsyncTogether(Client):
    """Sends operations to Together AI and awaits their answers. It belongs to the event loop that first uses it.

    ```python
    async with AsyncTogether() as client:
        for file in (await client.send(files.list())).data:
            ...
    ```
    """

    _http: httpx2.AsyncClient | None = None
    _loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
    _transfers: Together | None = None
    _threads: ThreadPoolExecutor | None = None

    async def send(self, operation: Operation[T]) -> T:
        """Send an operation and return its answer.

        What is safe to repeat is tried again, as `retries` allows. Large answers are read in a thread, so that the
        event loop stays free.

        Raises:
            ApiError: the API refused it.
            ConnectionFailed: the network failed.
            AnswerInvalid: the answer is not what the operation promises.
            SubmissionUnknown: the operation may not be repeated, and its answer was lost.
            ArgumentInvalid: it cannot be sent this way.
        """
        return (await self.send_measured(operation))[0]

    async def send_measured(self, operation: Operation[T]) -> tuple[T, int]:
        """The same as `send`, together with the size of the answer's body in bytes."""
        received = await self._patiently(self._answered, operation, prepare(operation, self._settings))
        return received.answer, received.size

    async def send_once(self, operation: Operation[T]) -> Received[T]:
        """The same as `send`, without a second attempt, together with the headers of the answer.

        For callers that decide on their own when to try again, by what the headers say of the rate limit.
        """
        return await self._patiently(self._answered, operation, prepare(operation, self._settings), retries=ONCE)

    def stream(self, operation: Operation[Any]) -> AsyncGenerator[Any]:
        """Send an operation with `stream=True` and yield its events as they come, each of the operation's chunk type.

        Only the opening is tried again; a stream that breaks later is not repeated. Close the
        generator to end it early.

        Raises:
            ArgumentInvalid: the operation cannot stream.
            ApiError: the API refused it, or an event tells of a failure.
            ConnectionFailed: the stream ended before it was complete.
            AnswerInvalid: an event is not what the operation promises.
        """
        asking = streaming(operation)
        return self._events(asking, prepare(asking, self._settings, as_stream=True))

    @asynccontextmanager
    async def connect(self, operation: Operation[T]) -> AsyncIterator[AsyncSession[T]]:
        """Open the WebSocket session of an operation; it ends with the `async with` block.

        It needs the extra `realtime`, and raises what `Together.connect` raises.
        """
        try:
            from together_flows.client._session import opened_async
        except ModuleNotFoundError as error:
            raise realtime_missing(error) from error
        self._check_open()
        url = self._settings.url(session_of(operation).version, operation.path)
        arguments = await asyncio.to_thread(self._tuning.session_arguments, self._settings)
        driver = self._retries.async_driver(call_name(operation), repeatable=operation.repeatable)
        redactor = self._redactor(operation)
        session: AsyncSession[T] = await driver(opened_async, operation, url, redactor=redactor, **arguments)
        try:
            yield session
        finally:
            await session.close()

    async def upload(
        self,
        path: str | Path,
        *,
        purpose: str,
        file_name: str | None = None,
        checksum: str | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> File:
        """Upload a file, as `Together.upload` does, in a thread.

        `on_progress` is called in the loop. When the awaiting task is cancelled, the upload ends at its next block.
        """

        def work(client: Together, transfer: Transfer) -> File:
            source = Source.of(path, file_name)
            transfer.total = source.size
            return client._upload(source, purpose, checksum, transfer)

        return await self._in_a_thread(work, on_progress)

    async def download(
        self,
        operation: Operation[bytes],
        target: str | Path,
        *,
        file_name: str | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        expected_size: int | None = None,
    ) -> Path:
        """Write an answer's bytes to disk, as `Together.download` does, in a thread.

        `on_progress` is called in the loop. When the awaiting task is cancelled, the download ends at its next block.
        """
        downloadable(operation)

        def work(client: Together, transfer: Transfer) -> Path:
            return client._download(
                operation, target, file_name=file_name, expected_size=expected_size, transfer=transfer
            )

        return await self._in_a_thread(work, on_progress)

    async def close(self) -> None:
        """Close all connections. The client cannot be used afterwards."""
        self._closed = True
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        if self._transfers is not None:
            self._transfers.close()
        if self._http is not None:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _patiently(
        self,
        attempt: Callable[[Operation[Any], Prepared], Awaitable[T]],
        operation: Operation[Any],
        prepared: Prepared,
        *,
        retries: Retries | None = None,
    ) -> T:
        driver = (retries or self._retries).async_driver(call_name(operation), repeatable=operation.repeatable)
        try:
            return await driver(attempt, operation, prepared)
        except TogetherError as error:
            outcome = verdict(error, name=operation.name, repeatable=operation.repeatable)
            if outcome is error:
                raise
            raise outcome from error

    async def _answered(self, operation: Operation[T], prepared: Prepared) -> Received[T]:
        response = await self._accepted(operation, prepared)
        async with aclosing(response):
            body = await self._read(operation, response)
        if len(body) <= LARGE:
            answer = self._answer(operation, response, body)
        else:
            answer = await asyncio.to_thread(self._answer, operation, response, body)
        return Received(answer, response.headers, len(body))

    async def _events(self, operation: Operation[Any], prepared: Prepared) -> AsyncGenerator[Any]:
        response = await self._patiently(self._accepted, operation, prepared)
        async with aclosing(response):
            with failures(call_name(operation), self._tuning.timeout):
                async for received in httpx2.EventSource(response, max_event_size=EVENT_LIMIT):
                    event = self._event(operation, received.data)
                    if event is END_OF_STREAM:
                        return
                    yield event
        raise ConnectionFailed(f"{call_name(operation)}: the stream ended before [DONE]")

    async def _accepted(self, operation: Operation[Any], prepared: Prepared) -> httpx2.Response:
        """The head of an answer that is no error. Whoever takes it closes it."""
        response = await self._exchanged(operation, prepared)
        if not is_failure(operation, response):
            return response
        async with aclosing(response):
            check_packing(operation, response)
            raise self._error(operation, response, await self._read(operation, response))

    async def _exchanged(self, operation: Operation[Any], prepared: Prepared) -> httpx2.Response:
        http = await self._client()
        with failures(call_name(operation), self._tuning.timeout), prepared.opened() as arguments:
            request = http.build_request(**arguments)
            for _ in range(MAX_HOPS):
                response = await http.send(request, stream=True)
                following = hop_after(operation, response)
                if following is None:
                    return response
                await response.aclose()
                request = following
        raise AnswerInvalid(f"{call_name(operation)}: redirected more than {MAX_HOPS} times.")

    async def _read(self, operation: Operation[Any], response: httpx2.Response) -> bytes:
        body = Body(operation, response)
        with failures(call_name(operation), self._tuning.timeout):
            async with aclosing(response.aiter_bytes()) as blocks:
                async for block in blocks:
                    if not body.takes(block):
                        break
        return body.whole()

    async def _client(self) -> httpx2.AsyncClient:
        self._check_open()
        self._check_loop()
        if self._http is None:
            # The first client of a process takes 20 ms for certificates and 50 ms for imports. The loop need not wait.
            built = await asyncio.to_thread(self._tuning.async_client, self._settings)
            if self._http is None:  # no other task was faster
                self._http = built
        return self._http

    def _check_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = weakref.ref(loop)
        if self._loop() is not loop:
            raise ArgumentInvalid(
                "This AsyncTogether belongs to another event loop, where its connections live.",
                mend="Make one client for each loop, or take it from async_client_for().",
            )

    async def _in_a_thread(
        self, work: Callable[[Together, Transfer], T], on_progress: Callable[[int, int], None] | None
    ) -> T:
        self._check_open()
        loop = asyncio.get_running_loop()
        stop = threading.Event()

        def tell(done: int, total: int) -> None:
            if on_progress is not None:
                loop.call_soon_threadsafe(on_progress, done, total)

        transfer = Transfer(on_progress=tell, stop=stop)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(PARALLEL_TRANSFERS, thread_name_prefix="together-transfer")
        try:
            return await loop.run_in_executor(self._threads, lambda: work(self._blocking_twin(), transfer))
        except asyncio.CancelledError:
            stop.set()
            raise

    def _blocking_twin(self) -> Together:
        """The sync client that moves files: in a thread it takes half the CPU that the event loop would."""
        if self._transfers is None:
            self._transfers = Together(**self._likeness())
        return self._transfers
