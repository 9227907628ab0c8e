"""Answers: JSON, and the ways in which an answer goes wrong on its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from together_flows.emulator.connections import Connections
from together_flows.emulator.refusals import ErrorBody, Refusal

__all__ = ["Cut", "Truncated", "data_list", "event_stream", "json_array", "json_reply", "refuse"]


def json_reply(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return _json(msgspec.json.encode(value), status, headers)


def data_list(rows: Iterable[bytes], *, opening: bytes = b'{"data":[') -> Response:
    """A list wrapped in `{"data": […]}`, from rows that are JSON already."""
    return _json(opening + b",".join(rows) + b"]}")


def json_array(rows: Iterable[bytes]) -> Response:
    """A bare array, from rows that are JSON already."""
    return _json(b"[" + b",".join(rows) + b"]")


def event_stream(events: Iterable[bytes], headers: dict[str, str] | None = None) -> Response:
    """Server-sent events, closed by `[DONE]` as the API closes them."""

    async def lines() -> AsyncIterator[bytes]:
        for event in events:
            yield b"data: " + event + b"\n\n"
        yield b"data: [DONE]\n\n"

    return StreamingResponse(lines(), headers=headers, media_type="text/event-stream")


def refuse(refusal: Refusal, errors: ErrorBody) -> Response:
    """The answer to a refused request, in the manner of the group."""
    body = errors(refusal) if refusal.body is None else refusal.body
    if isinstance(body, str):
        return PlainTextResponse(body, refusal.status, refusal.headers)
    return json_reply(body, refusal.status, refusal.headers)


class Cut(Response):
    """No answer: the connection closes."""

    def __init__(self, connections: Connections) -> None:
        super().__init__()
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _cut(self._connections, scope, receive)


class Truncated(Response):
    """An answer of which only the first bytes arrive before the connection closes.

    Args:
        answer: the whole answer; its headers go out unchanged.
        keep: how many bytes of its body are sent.
        connections: where the connection is cut.
    """

    def __init__(self, answer: Response, keep: int, connections: Connections) -> None:
        super().__init__()
        self._answer = answer
        self._left = keep
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_some(message: Message) -> None:
            if message["type"] != "http.response.body":
                await send(message)
            elif self._left:
                part = message.get("body", b"")[: self._left]
                self._left -= len(part)
                await send({"type": "http.response.body", "body": part, "more_body": True})

        await self._answer(scope, receive, send_some)
        await _cut(self._connections, scope, receive)


async def _cut(connections: Connections, scope: Scope, receive: Receive) -> None:
    connections.cut(scope.get("client"))
    async with asyncio.timeout(5):
        while (await receive())["type"] != "http.disconnect":
            pass


def _json(content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(content, status, headers, media_type="application/json")
