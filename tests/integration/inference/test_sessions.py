"""Sessions in one go, through both clients."""

from __future__ import annotations

import asyncio
import json
import threading
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection

from tests.integration.client.session_server import session_server
from together_flows import AsyncTogether, Together
from together_flows.api import OPERATIONS, Operation, Reply, audio, files, realtime
from together_flows.emulator import Emulator
from together_flows.emulator.sound import tones, wav
from together_flows.errors import ApiError, ArgumentInvalid, AuthenticationFailed, BadRequest, ConnectionFailed
from together_flows.inference import SESSIONS, Patience, aconverse, converse

both = pytest.mark.parametrize("way", ["sync", "async"])

SPEECH = audio.connect_speech(voice="af_alloy")
TRANSCRIPTION = realtime.connect(model="openai/whisper-large-v3")
#: The emulator answers at once, so that little has to be waited for.
QUICK = Patience(settling=0.3)


def conversed(
    way: str, url: str, key: str, operation: Operation[Any], given: Any, output: Any = None, patience: Patience = QUICK
) -> dict[str, Any]:
    async def on_the_loop() -> dict[str, Any]:
        async with AsyncTogether(api_key=key, base_url=url) as client:
            return await aconverse(client, operation, given, output, patience=patience)

    if way == "async":
        return asyncio.run(on_the_loop())
    with Together(api_key=key, base_url=url) as client:
        return converse(client, operation, given, output, patience=patience)


def test_every_session_of_the_api_has_its_form() -> None:
    assert {name for name, entry in OPERATIONS.items() if entry.reply is Reply.SOCKET} == SESSIONS.keys()


@both
def test_a_text_in_pieces_becomes_a_file_that_plays(way: str, emulator: Emulator, tmp_path: Path) -> None:
    target = tmp_path / "new" / "speech.wav"
    text = ["Good ", "morning. How are", " you today?"]

    manifest = conversed(way, emulator.url, emulator.api_key, SPEECH, text, target)

    assert manifest == {"path": str(target), "bytes": target.stat().st_size}
    with wave.open(str(target), "rb") as recording:
        samples = recording.readframes(recording.getnframes())
    sentences = "Good morning.How are you today?"
    assert samples == b"".join(tones(sentences, rate=24_000, encoding="pcm_s16le"))


@both
def test_a_recording_becomes_its_text(way: str, emulator: Emulator, tmp_path: Path) -> None:
    source = tmp_path / "speech.wav"
    source.write_bytes(wav("Parcel 7 waits in depot 3. " * 5, rate=16_000, encoding="pcm_s16le"))

    written = conversed(way, emulator.url, emulator.api_key, TRANSCRIPTION, str(source))

    assert written == {"text": ("Parcel 7 waits in depot 3. " * 5).strip()}


@both
def test_object_storage_holds_what_goes_in_and_what_comes_out(way: str, emulator: Emulator, tmp_path: Path) -> None:
    spoken = conversed(way, emulator.url, emulator.api_key, SPEECH, "Good morning.", f"file://{tmp_path}/speech.pcm")
    (tmp_path / "heard.pcm").write_bytes(b"".join(tones("Good morning.", rate=16_000, encoding="pcm_s16le")))
    heard = conversed(way, emulator.url, emulator.api_key, TRANSCRIPTION, f"file://{tmp_path}/heard.pcm")

    assert spoken == {"path": f"file://{tmp_path}/speech.pcm", "bytes": (tmp_path / "speech.pcm").stat().st_size}
    assert heard == {"text": "Good morning."}


@both
@pytest.mark.parametrize(
    ("operation", "key", "kind"),
    [
        (SPEECH, "a-wrong-one", AuthenticationFailed),
        (audio.connect_speech(voice="nobody"), "", BadRequest),
        (audio.connect_speech(model="no/model"), "", BadRequest),
    ],
)
def test_a_session_that_is_refused_says_why_and_leaves_no_file(
    way: str, operation: Operation[Any], key: str, kind: type[ApiError], emulator: Emulator, tmp_path: Path
) -> None:
    with pytest.raises(kind) as refused:
        conversed(way, emulator.url, key or emulator.api_key, operation, "Good morning.", tmp_path / "speech.wav")

    assert not refused.value.retryable
    assert list(tmp_path.iterdir()) == []


def opened(then: Callable[[ServerConnection], None]) -> Callable[[ServerConnection], None]:
    def handle(connection: ServerConnection) -> None:
        connection.send('{"type": "session.created"}')
        then(connection)

    return handle


def failing(connection: ServerConnection) -> None:
    connection.recv()
    error = {"message": "The GPU fell off.", "type": "server_error", "param": None, "code": "internal"}
    connection.send(json.dumps({"type": "conversation.item.input_audio_transcription.failed", "error": error}))
    connection.close(1011)


@both
def test_an_error_in_the_middle_is_told_although_the_session_ends_with_it(way: str, tmp_path: Path) -> None:
    """The session is closed while audio is being sent, so that it is the sending that fails first."""
    source = tmp_path / "speech.pcm"
    source.write_bytes(bytes(20 << 20))

    with session_server(opened(failing)) as url, pytest.raises(ApiError, match="The GPU fell off") as failed:
        conversed(way, url, "key-123456", TRANSCRIPTION, source)

    assert failed.value.retryable


def leaving(connection: ServerConnection) -> None:
    connection.recv()
    connection.send('{"type": "conversation.item.audio_output.delta", "item_id": "1", "delta": "AAAA"}')


@both
def test_a_session_that_ends_early_is_a_failed_connection(way: str, tmp_path: Path) -> None:
    with session_server(opened(leaving)) as url, pytest.raises(ConnectionFailed, match="ended") as failed:
        conversed(way, url, "key-123456", SPEECH, "Good morning.", tmp_path / "speech.wav")

    assert failed.value.retryable
    assert list(tmp_path.iterdir()) == []


def silent(connection: ServerConnection) -> None:
    try:
        for _ in connection:
            pass
    except ConnectionClosed:
        return


@both
def test_a_session_that_falls_silent_is_a_failed_connection(way: str, tmp_path: Path) -> None:
    with session_server(opened(silent)) as url, pytest.raises(ConnectionFailed, match=r"nothing came for 0\.2 s"):
        conversed(way, url, "key-123456", SPEECH, "Good morning.", tmp_path / "speech.wav", Patience(0.2, settling=0.1))


async def test_a_cancelled_session_ends_and_leaves_no_file(tmp_path: Path) -> None:
    asked, over = threading.Event(), threading.Event()

    def listen(connection: ServerConnection) -> None:
        connection.recv()
        asked.set()
        silent(connection)
        over.set()

    with session_server(opened(listen)) as url:
        async with AsyncTogether(api_key="key-123456", base_url=url) as client:
            session = asyncio.create_task(aconverse(client, SPEECH, "Good morning.", tmp_path / "speech.wav"))
            await asyncio.to_thread(asked.wait, 10)
            session.cancel()
            with pytest.raises(asyncio.CancelledError):
                await session

    assert over.wait(10)
    assert list(tmp_path.iterdir()) == []


@both
@pytest.mark.parametrize(
    ("operation", "given", "output", "words"),
    [
        (files.list(), "text", None, "is no session"),
        (SPEECH, None, "a.wav", "Give it session_input: the text"),
        (SPEECH, [], "a.wav", "Give it session_input: the text"),
        (SPEECH, " - ", "a.wav", "nothing to speak"),
        (SPEECH, ["a", 1], "a.wav", "a list of texts"),
        (SPEECH, "text", None, "Say where it goes"),
        (SPEECH, "text", "a.mp3", r"End output_path in \.wav"),
        (TRANSCRIPTION, None, None, "Give it session_input: the path"),
        (TRANSCRIPTION, ["a.wav", "b.wav"], None, "one recording"),
        (TRANSCRIPTION, "a.wav", "b.json", "Leave out output_path"),
        (TRANSCRIPTION, "missing.wav", None, "cannot be read"),
    ],
)
def test_what_does_not_suit_the_session_is_refused_before_it_is_opened(
    way: str, operation: Operation[Any], given: Any, output: Any, words: str
) -> None:
    with pytest.raises(ArgumentInvalid, match=words):
        conversed(way, "http://127.0.0.1:9", "key-123456", operation, given, output)
