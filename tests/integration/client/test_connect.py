"""WebSocket sessions, through both clients."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from typing import Any

import pytest
from websockets.sync.server import ServerConnection

from tests.integration.client.scripted import Reply, scripted
from tests.integration.client.session_server import session_server
from together_flows import AsyncTogether, Together
from together_flows.api import audio, files
from together_flows.api._operation import Operation
from together_flows.errors import (
    AnswerInvalid,
    ApiError,
    ArgumentInvalid,
    AuthenticationFailed,
    ConfigurationInvalid,
    ConnectionFailed,
)

both = pytest.mark.parametrize("way", ["sync", "async"])

SPEECH = audio.connect_speech(voice="tara", max_partial_length=100)


def spoken(way: str, url: str, *events: dict[str, Any], operation: Operation[Any] = SPEECH) -> list[Any]:
    """Send the events, and return what comes back until the server ends the session."""

    def listen() -> list[Any]:
        with Together(api_key="key-123456", base_url=url) as client, client.connect(operation) as session:
            for event in events:
                session.send(event)
            return list(session)

    async def listen_async() -> list[Any]:
        async with AsyncTogether(api_key="key-123456", base_url=url) as client, client.connect(operation) as session:
            for event in events:
                await session.send(event)
            return [event async for event in session]

    return asyncio.run(listen_async()) if way == "async" else listen()


def echo_until_commit(connection: ServerConnection) -> None:
    for message in connection:
        event = json.loads(message)
        connection.send(json.dumps({"type": f"seen.{event['type']}", "echo": event}))
        if event["type"] == "commit":
            return


@both
def test_events_go_both_ways_until_the_server_ends(way: str) -> None:
    with session_server(echo_until_commit) as url:
        heard = spoken(way, url, {"type": "append", "text": "Grüße"}, {"type": "commit"})

    assert [event.type for event in heard] == ["seen.append", "seen.commit"]
    assert heard[0].model_extra["echo"]["text"] == "Grüße"


@both
def test_the_session_is_opened_with_the_key_and_the_query(way: str) -> None:
    asked: list[Any] = []
    with session_server(lambda connection: asked.append(connection.request)) as url:
        assert spoken(way, url) == []

    assert asked[0].path == "/v1/audio/speech/websocket?voice=tara&max_partial_length=100"
    assert asked[0].headers["Authorization"] == "Bearer key-123456"
    assert asked[0].headers["User-Agent"].startswith("together-flows/")


@both
def test_a_refused_session_is_an_ordinary_error(way: str) -> None:
    refusal = Reply(401, b'{"error": {"message": "bad key key-123456"}}')
    with scripted(lambda asked: refusal) as server, pytest.raises(AuthenticationFailed) as refused:
        spoken(way, server.url)

    assert "key-123456" not in str(refused.value)


@both
def test_the_opening_is_tried_again_while_the_server_is_busy(way: str) -> None:
    with scripted(lambda asked: Reply(503)) as server, pytest.raises(ApiError):
        spoken(way, server.url)

    assert len(server.asked) == 5


@both
def test_neither_key_nor_headers_follow_a_redirect(way: str) -> None:
    with (
        scripted(lambda asked: Reply()) as other,
        scripted(lambda asked: Reply(307, headers={"Location": other.url})) as server,
        pytest.raises(ApiError, match="TOGETHER_BASE_URL"),
    ):
        spoken(way, server.url)

    assert other.asked == []


@both
def test_a_session_that_breaks_is_a_failed_connection(way: str) -> None:
    with (
        session_server(lambda connection: connection.close(1011, "GPU fell off")) as url,
        pytest.raises(ConnectionFailed, match="GPU fell off"),
    ):
        spoken(way, url)


@both
@pytest.mark.parametrize("message", ["no JSON", '{"no": "type"}', b"\xff"])
def test_an_event_of_another_kind_is_invalid(way: str, message: str | bytes) -> None:
    with session_server(lambda connection: connection.send(message)) as url, pytest.raises(AnswerInvalid):
        spoken(way, url)


@both
def test_a_server_that_is_not_there_was_not_reached(way: str) -> None:
    with pytest.raises(ConnectionFailed) as failed:
        spoken(way, "http://127.0.0.1:9")

    assert failed.value.sent is False


def test_a_single_event_can_be_waited_for_and_for_how_long() -> None:
    def greet(connection: ServerConnection) -> None:
        connection.send('{"type": "session.created"}')
        for _ in connection:
            pass

    with (
        session_server(greet) as url,
        Together(api_key="key-123456", base_url=url) as client,
        client.connect(SPEECH) as session,
    ):
        assert session.receive(timeout=10).type == "session.created"
        with pytest.raises(ConnectionFailed, match="in time"):
            session.receive(timeout=0.05)


async def test_an_async_session_waits_for_a_single_event() -> None:
    with session_server(lambda connection: connection.send('{"type": "session.created"}')) as url:
        async with AsyncTogether(api_key="key-123456", base_url=url) as client, client.connect(SPEECH) as session:
            assert (await session.receive()).type == "session.created"
            with pytest.raises(ConnectionFailed):
                await session.receive()


@both
def test_a_look_for_an_event_ends_with_nothing_when_none_has_come(way: str) -> None:
    """And the next event is not lost by it."""
    on = threading.Event()

    def hesitate(connection: ServerConnection) -> None:
        on.wait(10)
        connection.send('{"type": "session.created"}')
        connection.recv()

    def look(url: str) -> list[Any]:
        with Together(api_key="key-123456", base_url=url) as client, client.connect(SPEECH) as session:
            early = [session.poll(0), session.poll(0.01)]
            on.set()
            return [*early, session.poll(10)]

    async def alook(url: str) -> list[Any]:
        async with AsyncTogether(api_key="key-123456", base_url=url) as client, client.connect(SPEECH) as session:
            early = [await session.poll(0), await session.poll(0.01)]
            on.set()
            return [*early, await session.poll(10)]

    with session_server(hesitate) as url:
        *early, late = asyncio.run(alook(url)) if way == "async" else look(url)

    assert early == [None, None]
    assert late.type == "session.created"


@both
def test_other_operations_are_no_sessions(way: str) -> None:
    with pytest.raises(ArgumentInvalid, match=r"files\.list"):
        spoken(way, "http://127.0.0.1:9", operation=files.list())


@both
def test_without_the_extra_it_says_what_to_install(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "together_flows.client._session", raising=False)
    monkeypatch.setitem(sys.modules, "websockets.asyncio.client", None)
    with pytest.raises(ConfigurationInvalid, match=r"together-flows\[realtime\]"):
        spoken(way, "http://127.0.0.1:9")


def test_a_session_is_not_sent() -> None:
    with Together(api_key="key-123456") as client, pytest.raises(ArgumentInvalid, match="connect"):
        client.send(SPEECH)
