"""At level DEBUG everybody talks: this package, httpx2, httpcore2 and websockets. None of them tells a secret."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.client.scripted import Asked, Reply, scripted
from tests.integration.client.session_server import session_server
from together_flows import AsyncTogether, Together
from together_flows.api import audio, files, models
from together_flows.errors import TogetherError

KEY = "tgp_v1_key-of-the-tests"
OWN = "header-of-the-caller"
SIGNATURE = "signature-of-the-storage"

both = pytest.mark.parametrize("way", ["sync", "async"])


def repeating(asked: Asked) -> Reply:
    """An answer whose headers repeat what was sent."""
    repeated = {"X-Request-Id": asked.headers.get("authorization", ""), "X-Own": asked.headers.get("x-own", "")}
    return Reply(400, b'{"message": "no"}', repeated)


def done(way: str, url: str, work: Callable[[Any], Any]) -> None:
    """Do some work with a client, which may fail."""

    async def in_the_loop() -> None:
        async with AsyncTogether(api_key=KEY, base_url=url, headers={"X-Own": OWN}) as client:
            await work(client)

    try:
        if way == "async":
            asyncio.run(in_the_loop())
        else:
            with Together(api_key=KEY, base_url=url, headers={"X-Own": OWN}) as client:
                work(client)
    except TogetherError:
        pass


@both
def test_a_request_and_what_the_answer_repeats_of_it_are_not_told(way: str, caplog: pytest.LogCaptureFixture) -> None:
    with scripted(repeating) as server, caplog.at_level(logging.DEBUG):
        done(way, server.url, lambda client: client.send(models.list()))
    assert "receive_response_headers.complete" in caplog.text, "httpcore2 said nothing, so nothing is shown"
    assert KEY not in caplog.text
    assert OWN not in caplog.text


@both
def test_the_signature_of_a_download_is_not_told(way: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def answer(asked: Asked) -> Reply:
        if "sig=" in asked.path:
            return Reply(200, b"content")
        return Reply(
            302, headers={"Location": f"{server.url.replace('127.0.0.1', 'localhost')}/stored?sig={SIGNATURE}"}
        )

    with scripted(answer) as server, caplog.at_level(logging.DEBUG):
        done(way, server.url, lambda client: client.download(files.content("file-1"), tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == b"content"
    assert SIGNATURE not in caplog.text
    assert KEY not in caplog.text


@both
def test_the_opening_of_a_session_does_not_tell_the_key(way: str, caplog: pytest.LogCaptureFixture) -> None:
    def speak(client: Together) -> None:
        with client.connect(audio.connect_speech(voice="tara")) as session:
            list(session)

    async def aspeak(client: AsyncTogether) -> None:
        async with client.connect(audio.connect_speech(voice="tara")) as session:
            [event async for event in session]

    with session_server(lambda connection: None) as url, caplog.at_level(logging.DEBUG):
        done(way, url, aspeak if way == "async" else speak)
    told = "\n".join(record.getMessage() for record in caplog.records if record.name != "websockets.server")
    assert "> Authorization: ..." in told, "websockets said nothing, so nothing is shown"
    assert KEY not in told
    assert OWN not in told
