"""Server-sent events, through both clients."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.integration.client.scripted import Asked, Reply, scripted
from together_flows import AsyncTogether, Together
from together_flows.api import chat, files
from together_flows.api._operation import Operation
from together_flows.errors import (
    AnswerInvalid,
    ApiError,
    ArgumentInvalid,
    ConnectionFailed,
    NotFound,
    RateLimited,
    TogetherError,
)

both = pytest.mark.parametrize("way", ["sync", "async"])

EVENTS = {"Content-Type": "text/event-stream; charset=utf-8"}


def a_question() -> Operation[Any]:
    return chat.create(model="m", messages=[{"role": "user", "content": "Hi"}])


def words(*texts: str) -> list[bytes]:
    return [json.dumps({"id": "1", "choices": [{"index": 0, "delta": {"content": text}}]}).encode() for text in texts]


def events(*data: bytes, done: bool = True) -> Reply:
    lines = [b"data: " + item + b"\n\n" for item in (*data, *([b"[DONE]"] if done else []))]
    return Reply(body=b"".join(lines), headers=EVENTS)


def heard(way: str, url: str, operation: Operation[Any]) -> tuple[list[Any], TogetherError | None]:
    """The events of a stream, and the error that it ended with."""
    received: list[Any] = []

    async def listen_async() -> None:
        async with AsyncTogether(api_key="key-123456", base_url=url) as client:
            async for event in client.stream(operation):
                received.append(event)

    def listen() -> None:
        with Together(api_key="key-123456", base_url=url) as client:
            for event in client.stream(operation):
                received.append(event)

    try:
        asyncio.run(listen_async()) if way == "async" else listen()
    except TogetherError as error:
        return received, error
    return received, None


def texts(received: list[Any]) -> list[str]:
    return [event.choices[0].delta.content for event in received]


@both
def test_events_arrive_typed_and_in_order_until_done(way: str) -> None:
    with scripted(lambda asked: events(*words("Hel", "lo", "ünïcode"))) as server:
        received, error = heard(way, server.url, a_question())

    assert error is None
    assert texts(received) == ["Hel", "lo", "ünïcode"]
    assert json.loads(server.asked[0].body)["stream"] is True
    assert server.asked[0].headers["accept"] == "text/event-stream"


@both
def test_nothing_after_done_is_read(way: str) -> None:
    reply = events(*words("a"))
    with scripted(lambda asked: Reply(body=reply.body + b"data: {broken\n\n", headers=EVENTS)) as server:
        received, error = heard(way, server.url, a_question())

    assert error is None
    assert texts(received) == ["a"]


@both
def test_comments_and_other_line_ends_are_understood(way: str) -> None:
    (a, b) = words("a", "b")
    body = b": keep-alive\n\nevent: message\r\ndata: " + a + b"\r\n\r\ndata:" + b + b"\n\ndata: [DONE]\n\n"
    with scripted(lambda asked: Reply(body=body, headers=EVENTS)) as server:
        received, error = heard(way, server.url, a_question())

    assert error is None
    assert texts(received) == ["a", "b"]


@both
@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'{"error": {"message": "too fast", "type": "rate", "code": 429}}', RateLimited),
        (b'{"error": {"message": "GPU fell off"}}', ApiError),
        (b"{broken", AnswerInvalid),
    ],
)
def test_an_error_in_the_midst_is_raised_after_what_came_before(
    way: str, data: bytes, kind: type[TogetherError]
) -> None:
    with scripted(lambda asked: events(*words("a"), data)) as server:
        received, error = heard(way, server.url, a_question())

    assert texts(received) == ["a"]
    assert isinstance(error, kind)
    assert len(server.asked) == 1


@both
def test_a_stream_that_ends_early_is_not_taken_for_whole(way: str) -> None:
    with scripted(lambda asked: events(*words("a"), done=False)) as server:
        received, error = heard(way, server.url, a_question())

    assert texts(received) == ["a"]
    assert isinstance(error, ConnectionFailed)


@both
def test_a_stream_that_breaks_is_not_repeated(way: str) -> None:
    whole = events(*words("a", "b", "c")).body
    with scripted(lambda asked: Reply(body=whole, headers=EVENTS, cut=len(whole) // 2)) as server:
        received, error = heard(way, server.url, a_question())

    assert texts(received) == ["a"]
    assert isinstance(error, ConnectionFailed)
    assert len(server.asked) == 1


@both
def test_the_opening_of_a_stream_is_tried_again_where_that_is_safe(way: str) -> None:
    def answer(asked: Asked) -> Reply:
        return Reply(503) if len(server.asked) < 3 else events(*words("a"))

    with scripted(answer) as server:
        received, error = heard(way, server.url, a_question())

    assert error is None
    assert texts(received) == ["a"]


@both
def test_a_refused_stream_is_an_ordinary_error(way: str) -> None:
    with scripted(lambda asked: Reply(404, b'{"error": {"message": "no such model"}}')) as server:
        received, error = heard(way, server.url, a_question())

    assert received == []
    assert isinstance(error, NotFound)


@both
def test_an_answer_that_is_no_stream_is_invalid(way: str) -> None:
    with scripted(lambda asked: Reply(body=b'{"id": "1"}', headers={"Content-Type": "application/json"})) as server:
        _, error = heard(way, server.url, a_question())

    assert isinstance(error, AnswerInvalid)


@both
def test_an_operation_that_cannot_stream_says_so_at_once(way: str) -> None:
    client = Together(api_key="key-123456") if way == "sync" else AsyncTogether(api_key="key-123456")
    with pytest.raises(ArgumentInvalid, match=r"files\.list"):
        client.stream(files.list())


def stream_or_list(asked: Asked) -> Reply:
    return events(*words(*"abcdef")) if asked.method == "POST" else Reply(body=b'{"data":[]}')


def test_a_stream_that_is_left_early_gives_its_connection_back() -> None:
    with (
        scripted(stream_or_list) as server,
        Together(api_key="key-123456", base_url=server.url, max_connections=1, timeout=5) as client,
    ):
        for _ in client.stream(a_question()):
            break
        assert client.send(files.list()).data == []


async def test_an_async_stream_that_is_left_early_gives_its_connection_back() -> None:
    with scripted(stream_or_list) as server:
        async with AsyncTogether(api_key="key-123456", base_url=server.url, max_connections=1, timeout=5) as client:
            stream = client.stream(a_question())
            assert texts([await anext(stream)]) == ["a"]
            await stream.aclose()
            assert (await client.send(files.list())).data == []
