"""WebSocket sessions: events go both ways until one side has had enough. They need the extra `realtime`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

import msgspec
from pydantic import BaseModel
from websockets.asyncio.client import ClientConnection as AsyncConnection
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection as Connection
from websockets.sync.client import connect

from together_flows.api._operation import Operation, plain, revealed
from together_flows.client._failure import error_in_stream, error_of
from together_flows.client._redaction import Redactor
from together_flows.client._request import pairs
from together_flows.client._response import EVENT_LIMIT, decoded_json
from together_flows.errors import ApiError, ConnectionFailed

__all__ = ["AsyncSession", "Session", "opened", "opened_async"]

T = TypeVar("T")


class Session(Generic[T]):
    """An open session. Iterate over it for the events that the server sends, until the server ends it."""

    def __init__(self, operation: Operation[T], connection: Connection, redactor: Redactor) -> None:
        self._operation = operation
        self._connection = connection
        self._redactor = redactor

    def send(self, event: Mapping[str, Any] | BaseModel) -> None:
        """Send an event.

        Raises:
            ConnectionFailed: the session has ended.
        """
        with _failures(self._operation, self._redactor):
            self._connection.send(_written(event))

    def receive(self, timeout: float | None = None) -> T:
        """Wait for the next event.

        Args:
            timeout: seconds to wait at most; without end by default.

        Raises:
            ConnectionFailed: the session has ended, or nothing came in time.
            AnswerInvalid: the event is not what the operation promises.
        """
        with _failures(self._operation, self._redactor):
            data = self._connection.recv(timeout)
        return _read(self._operation, data, self._redactor)

    def poll(self, within: float) -> T | None:
        """The next event, or `None` if none comes in time.

        Args:
            within: seconds to wait at most; 0 takes only what is there.

        Raises:
            ConnectionFailed: the session has ended.
            AnswerInvalid: the event is not what the operation promises.
        """
        with _failures(self._operation, self._redactor):
            try:
                data = self._connection.recv(within)
            except TimeoutError:
                return None
        return _read(self._operation, data, self._redactor)

    def failure_in(self, event: T) -> ApiError | None:
        """The error that an event reports; `None` for an ordinary event."""
        return _reported(self._operation, event, self._redactor)

    def close(self) -> None:
        """End the session."""
        self._connection.close()

    def __iter__(self) -> Generator[T]:
        with _failures(self._operation, self._redactor):
            for data in self._connection:
                yield _read(self._operation, data, self._redactor)


class AsyncSession(Generic[T]):
    """An open session. Iterate over it for the events that the server sends, until the server ends it."""

    def __init__(self, operation: Operation[T], connection: AsyncConnection, redactor: Redactor) -> None:
        self._operation = operation
        self._connection = connection
        self._redactor = redactor

    async def send(self, event: Mapping[str, Any] | BaseModel) -> None:
        """Send an event.

        Raises:
            ConnectionFailed: the session has ended.
        """
        with _failures(self._operation, self._redactor):
            await self._connection.send(_written(event))

    async def receive(self) -> T:
        """Wait for the next event.

        Raises:
            ConnectionFailed: the session has ended.
            AnswerInvalid: the event is not what the operation promises.
        """
        with _failures(self._operation, self._redactor):
            data = await self._connection.recv()
        return _read(self._operation, data, self._redactor)

    async def poll(self, within: float) -> T | None:
        """The next event, or `None` if none comes in time.

        Args:
            within: seconds to wait at most; 0 takes only what is there.

        Raises:
            ConnectionFailed: the session has ended.
            AnswerInvalid: the event is not what the operation promises.
        """
        with _failures(self._operation, self._redactor):
            try:
                async with asyncio.timeout(within):
                    data = await self._connection.recv()
            except TimeoutError:
                return None
        return _read(self._operation, data, self._redactor)

    def failure_in(self, event: T) -> ApiError | None:
        """The error that an event reports; `None` for an ordinary event."""
        return _reported(self._operation, event, self._redactor)

    async def close(self) -> None:
        """End the session."""
        await self._connection.close()

    async def __aiter__(self) -> AsyncGenerator[T]:
        with _failures(self._operation, self._redactor):
            async for data in self._connection:
                yield _read(self._operation, data, self._redactor)


class _Straight(connect_async):
    """Follows no redirect: the library would take the caller's own headers along to another host."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def opened(operation: Operation[T], url: str, *, redactor: Redactor, **arguments: Any) -> Session[T]:
    """Open a session.

    Args:
        operation: the operation that it belongs to.
        url: its http(s) address without the query.
        redactor: masks the request's secrets.
        arguments: of `websockets.sync.client.connect`.

    Raises:
        ApiError: the API refused it.
        ConnectionFailed: the network failed.
    """
    with _failures(operation, redactor, opening=True):
        return Session(operation, connect(_address(operation, url), max_size=EVENT_LIMIT, **arguments), redactor)


async def opened_async(operation: Operation[T], url: str, *, redactor: Redactor, **arguments: Any) -> AsyncSession[T]:
    """The same as `opened`, with the arguments of `websockets.asyncio.client.connect`."""
    with _failures(operation, redactor, opening=True):
        connection = await _Straight(_address(operation, url), max_size=EVENT_LIMIT, **arguments)
    return AsyncSession(operation, connection, redactor)


def _address(operation: Operation[Any], url: str) -> str:
    query = urlencode(list(pairs(operation.query)))
    return f"ws{url.removeprefix('http')}" + (f"?{query}" if query else "")


def _written(event: Mapping[str, Any] | BaseModel) -> str:
    return msgspec.json.encode(revealed(plain(event))).decode()


def _read(operation: Operation[T], data: str | bytes, redactor: Redactor) -> T:
    body = data.encode() if isinstance(data, str) else data
    return operation.parse(decoded_json(operation.name, body, redactor=redactor))


def _reported(operation: Operation[Any], event: Any, redactor: Redactor) -> ApiError | None:
    told: Any = plain(event)
    if str(told.get("type", "")).endswith(".failed") and not told.get("error"):
        told = {**told, "error": {"message": "no reason given"}}
    return error_in_stream(f"{operation.method} {operation.template}", told, redactor=redactor)


@contextmanager
def _failures(operation: Operation[Any], redactor: Redactor, *, opening: bool = False) -> Iterator[None]:
    """Turn what the library raises into the errors of this package."""
    name = f"{operation.method} {operation.template}"
    try:
        yield
    except InvalidStatus as refused:
        answer = refused.response
        headers = {key.lower(): value for key, value in answer.headers.raw_items()}
        raise error_of(name, answer.status_code, headers, bytes(answer.body or b""), redactor=redactor) from refused
    except ConnectionClosed as closed:
        raise ConnectionFailed(f"{name}: the session ended ({redactor.text(str(closed))})") from closed
    except TimeoutError as late:
        raise ConnectionFailed(f"{name}: nothing came in time", sent=not opening) from late
    except (WebSocketException, OSError, EOFError) as error:
        reason = redactor.text(str(error)) or type(error).__name__
        raise ConnectionFailed(f"{name}: the connection failed ({reason})", sent=not opening) from error


class _WithoutHeaders(logging.Filter):
    """Takes the values of headers out of what the library tells at level DEBUG: the key is among them."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.msg in ("> %s: %s", "< %s: %s") and isinstance(record.args, tuple):
            record.args = (record.args[0], "...")
        return True


logging.getLogger("websockets.client").addFilter(_WithoutHeaders())
