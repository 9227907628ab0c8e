"""The client for ordinary code."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
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
    plain_name,
    realtime_missing,
    session_of,
    streaming,
)
from together_flows.client._connection import MAX_HOPS, failures
from together_flows.client._download import Download, place_in
from together_flows.client._request import Prepared, prepare
from together_flows.client._response import EVENT_LIMIT, Received
from together_flows.client._transfer import Transfer
from together_flows.client._upload import Source, Uploader
from together_flows.client.retry import ONCE, Retries, verdict
from together_flows.errors import AnswerInvalid, ConnectionFailed, TogetherError

if TYPE_CHECKING:
    from together_flows.client._session import Session

__all__ = ["Together"]

T = TypeVar("T")


class Together(Client):
    """Sends operations to Together AI and waits for their answers. It may be shared between threads.

    ```python
    with Together() as client:
        for file in client.send(files.list()).data:
            ...
    ```
    """

    _http: httpx2.Client | None = None

    def send(self, operation: Operation[T]) -> T:
        """Send an operation and return its answer.

        What is safe to repeat is tried again, as `retries` allows.

        Raises:
            ApiError: the API refused it.
            ConnectionFailed: the network failed.
            AnswerInvalid: the answer is not what the operation promises.
            SubmissionUnknown: the operation may not be repeated, and its answer was lost.
            ArgumentInvalid: it cannot be sent this way.
        """
        return self.send_measured(operation)[0]

    def send_measured(self, operation: Operation[T]) -> tuple[T, int]:
        """The same as `send`, together with the size of the answer's body in bytes."""
        received = self._patiently(self._answered, operation, prepare(operation, self._settings))
        return received.answer, received.size

    def send_once(self, operation: Operation[T]) -> Received[T]:
        """The same as `send`, without a second attempt, together with the headers of the answer.

        For callers that decide on their own when to try again, by what the headers say of the rate limit.
        """
        return self._patiently(self._answered, operation, prepare(operation, self._settings), retries=ONCE)

    def stream(self, operation: Operation[Any]) -> Generator[Any]:
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

    @contextmanager
    def connect(self, operation: Operation[T]) -> Iterator[Session[T]]:
        """Open the WebSocket session of an operation; it ends with the `with` block. It needs the extra `realtime`.

        ```python
        with client.connect(audio.connect_speech(voice="tara")) as session:
            session.send({"type": "input_text_buffer.append", "text": "Good morning."})
            for event in session: ...
        ```

        Raises:
            ArgumentInvalid: the operation is no session.
            ConfigurationInvalid: the extra `realtime` is not installed.
            ApiError: the API refused it.
            ConnectionFailed: the network failed.
        """
        try:
            from together_flows.client._session import opened
        except ModuleNotFoundError as error:
            raise realtime_missing(error) from error
        self._check_open()
        url = self._settings.url(session_of(operation).version, operation.path)
        arguments = self._tuning.session_arguments(self._settings)
        driver = self._retries.driver(call_name(operation), repeatable=operation.repeatable)
        session = driver(opened, operation, url, redactor=self._redactor(operation), **arguments)
        try:
            yield session
        finally:
            session.close()

    def upload(
        self,
        path: str | Path,
        *,
        purpose: str,
        file_name: str | None = None,
        checksum: str | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> File:
        """Upload a file of any size, and have the API check it. Content that the API has already is not sent again.

        Args:
            path: the local file.
            purpose: what the file is for, such as `fine-tune`, `eval` or `batch-api`.
            file_name: its name on the server; its own by default. It ends in `.jsonl`, `.parquet` or `.csv`.
            checksum: SHA-256 of the content in hexadecimal, if it is known already; it saves a reading.
            on_progress: called now and then with the bytes sent and the bytes in all.

        Returns:
            The file as the API knows it. Its check has begun and need not have ended.

        Raises:
            ArgumentInvalid: the file is missing, empty or too large, or its name does not tell its type.
            TransferIncomplete: the bytes could not be stored, or the file changed meanwhile.
            ApiError: the API refused the file.
            ConnectionFailed: the network failed.
        """
        source = Source.of(path, file_name)
        return self._upload(source, purpose, checksum, Transfer(source.size, on_progress=on_progress))

    def download(
        self,
        operation: Operation[bytes],
        target: str | Path,
        *,
        file_name: str | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        expected_size: int | None = None,
    ) -> Path:
        """Write the bytes that an operation answers to disk, in constant memory.

        They grow in `<target>.part`, which takes the target's place when it is whole and vanishes otherwise. When the
        connection breaks, the download goes on where it was.

        Args:
            operation: one that answers with bytes, such as `files.content(id)`.
            target: a file; or a folder, that is an existing one or a path that ends in a slash.
            file_name: the file's name in that folder; by default the one that the server gives. No name leads out of
                the folder.
            on_progress: called now and then with the bytes received and the bytes in all (0 while unknown).
            expected_size: bytes that there must be.

        Returns:
            Where the file is.

        Raises:
            ArgumentInvalid: the operation does not answer with bytes.
            TransferIncomplete: the bytes could not be had whole, or are not as many as expected.
            ApiError: the API refused it.
            ConnectionFailed: the API could not be reached.
        """
        return self._download(
            operation,
            target,
            file_name=file_name,
            expected_size=expected_size,
            transfer=Transfer(on_progress=on_progress),
        )

    def close(self) -> None:
        """Close all connections. The client cannot be used afterwards."""
        self._closed = True
        self._storage.close()
        if self._http is not None:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _upload(self, source: Source, purpose: str, checksum: str | None, transfer: Transfer) -> File:
        def send(operation: Operation[Any]) -> Any:
            prepared = prepare(operation, self._settings)
            return self._patiently(self._answered, operation, prepared, pause=transfer.pause).answer

        return Uploader(send, self._storage).upload(source, purpose=purpose, checksum=checksum, transfer=transfer)

    def _download(
        self,
        operation: Operation[bytes],
        target: str | Path,
        *,
        file_name: str | None,
        expected_size: int | None,
        transfer: Transfer,
    ) -> Path:
        prepared = prepare(downloadable(operation), self._settings)
        return Download(
            call_name(operation),
            lambda headers: self._accepted(operation, prepared.with_headers(headers)),
            place=place_in(target, file_name=file_name, fallback=plain_name(operation)),
            expected_size=expected_size,
            timeout=self._tuning.timeout,
            retries=self._retries,
            transfer=transfer,
        ).run()

    def _patiently(
        self,
        attempt: Callable[[Operation[Any], Prepared], T],
        operation: Operation[Any],
        prepared: Prepared,
        *,
        pause: Callable[[float], None] | None = None,
        retries: Retries | None = None,
    ) -> T:
        patience = retries or self._retries
        driver = patience.driver(call_name(operation), repeatable=operation.repeatable, sleep=pause)
        try:
            return driver(attempt, operation, prepared)
        except TogetherError as error:
            outcome = verdict(error, name=operation.name, repeatable=operation.repeatable)
            if outcome is error:
                raise
            raise outcome from error

    def _answered(self, operation: Operation[T], prepared: Prepared) -> Received[T]:
        with closing(self._accepted(operation, prepared)) as response:
            body = self._read(operation, response)
        return Received(self._answer(operation, response, body), response.headers, len(body))

    def _events(self, operation: Operation[Any], prepared: Prepared) -> Generator[Any]:
        response = self._patiently(self._accepted, operation, prepared)
        with closing(response), failures(call_name(operation), self._tuning.timeout):
            for received in httpx2.EventSource(response, max_event_size=EVENT_LIMIT):
                event = self._event(operation, received.data)
                if event is END_OF_STREAM:
                    return
                yield event
        raise ConnectionFailed(f"{call_name(operation)}: the stream ended before [DONE]")

    def _accepted(self, operation: Operation[Any], prepared: Prepared) -> httpx2.Response:
        """The head of an answer that is no error. Whoever takes it closes it."""
        response = self._exchanged(operation, prepared)
        if not is_failure(operation, response):
            return response
        with closing(response):
            check_packing(operation, response)
            raise self._error(operation, response, self._read(operation, response))

    def _exchanged(self, operation: Operation[Any], prepared: Prepared) -> httpx2.Response:
        http = self._client()
        with failures(call_name(operation), self._tuning.timeout), prepared.opened() as arguments:
            request = http.build_request(**arguments)
            for _ in range(MAX_HOPS):
                response = http.send(request, stream=True)
                following = hop_after(operation, response)
                if following is None:
                    return response
                response.close()
                request = following
        raise AnswerInvalid(f"{call_name(operation)}: redirected more than {MAX_HOPS} times.")

    def _read(self, operation: Operation[Any], response: httpx2.Response) -> bytes:
        body = Body(operation, response)
        with failures(call_name(operation), self._tuning.timeout):
            for block in response.iter_bytes():
                if not body.takes(block):
                    break
        return body.whole()

    def _client(self) -> httpx2.Client:
        self._check_open()
        with self._opening:
            if self._http is None:
                self._http = self._tuning.client(self._settings)
            return self._http
