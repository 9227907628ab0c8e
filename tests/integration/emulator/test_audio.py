"""Audio: what is spoken can be played and written down again, over HTTP and over WebSockets."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from .account import Account

KOKORO, WHISPER = "hexgrad/Kokoro-82M", "openai/whisper-large-v3"
TEXT = "Hello there. How are you today? Fine, danke schön!"


def speak(account: Account, **request: Any) -> httpx2.Response:
    body = {"model": KOKORO, "input": TEXT, "voice": "af_alloy"} | request
    return account.http.post("/audio/speech", json=body)


def write_down(account: Account, content: bytes, task: str = "transcriptions", **fields: Any) -> Any:
    answer = account.http.post(f"/audio/{task}", data=fields, files={"file": ("a.wav", content)})
    return answer.raise_for_status().json()


@pytest.mark.parametrize(
    ("encoding", "tag", "width"), [("pcm_f32le", 3, 4), ("pcm_s16le", 1, 2), ("pcm_alaw", 6, 1), ("pcm_mulaw", 7, 1)]
)
def test_a_wav_is_in_the_asked_encoding_and_lasts_as_long_as_its_text(
    account: Account, encoding: str, tag: int, width: int
) -> None:
    answer = speak(account, response_encoding=encoding, sample_rate=8000)
    content = answer.content
    layout = struct.unpack_from("<HHIIHH", content, content.index(b"fmt ") + 8)
    (size,) = struct.unpack_from("<I", content, content.rindex(b"data") + 4)

    assert answer.headers["content-type"] == "audio/wav"
    assert layout == (tag, 1, 8000, 8000 * width, width, width * 8)
    assert struct.unpack_from("<I", content, 4) == (len(content) - 8,)
    assert size / (8000 * width) == pytest.approx(len(TEXT) * 0.05)


def test_samples_swing_but_do_not_clip(account: Account) -> None:
    content = speak(account, response_format="raw", response_encoding="pcm_s16le").content
    samples = struct.unpack(f"<{len(content) // 2}h", content)

    assert 10_000 < max(samples) < 32_767
    assert -32_767 < min(samples) < -10_000


def test_models_have_their_own_sample_rates(account: Account) -> None:
    lengths = {
        model: len(speak(account, model=model, voice=voice, response_format="raw").content)
        for model, voice in ((KOKORO, "af_alloy"), ("cartesia/sonic", "friendly sidekick"))
    }

    assert lengths == {KOKORO: len(TEXT) * 1200 * 4, "cartesia/sonic": len(TEXT) * 2205 * 4}


@pytest.mark.parametrize("bit_rate", [32000, 128000, 192000])
def test_an_mp3_is_a_row_of_whole_frames(account: Account, bit_rate: int) -> None:
    answer = speak(account, response_format="mp3", bit_rate=bit_rate)
    content = answer.content
    tag = 10 + sum(byte << shift for byte, shift in zip(content[6:10], (21, 14, 7, 0), strict=True))
    frame = 144 * bit_rate // 44_100
    frames = [content[place : place + 4] for place in range(tag, len(content), frame)]

    assert answer.headers["content-type"] == "audio/mpeg"
    assert (len(content) - tag) % frame == 0
    assert len(frames) * 1152 / 44_100 == pytest.approx(len(TEXT) * 0.05, abs=0.03)
    assert {head[:2] for head in frames} == {b"\xff\xfb"}


def test_streamed_speech_is_the_same_in_pieces(account: Account) -> None:
    whole = speak(account, response_format="raw").content
    lines = speak(account, response_format="raw", stream=True).text.split("\n\n")
    events = [line.removeprefix("data: ") for line in lines if line]
    chunks = [json.loads(event) for event in events[:-1]]

    assert events[-1] == "[DONE]"
    assert {(chunk["object"], chunk["model"]) for chunk in chunks} == {("audio.tts.chunk", KOKORO)}
    assert len(chunks) > 3
    assert b"".join(base64.b64decode(chunk["b64"]) for chunk in chunks) == whole


@pytest.mark.parametrize(
    "request_",
    [
        {"voice": "nobody"},
        {"input": ""},
        {"input": "x" * 5001},
        {"stream": True},
        {"sample_rate": 96_000},
        {"response_format": "mp3", "sample_rate": 24_000},
        {"bit_rate": 1},
        {"language": "xx"},
        {"model": WHISPER},
    ],
)
def test_speech_out_of_bounds_is_refused(account: Account, request_: dict[str, Any]) -> None:
    answer = speak(account, **request_)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("task", ["transcriptions", "translations"])
@pytest.mark.parametrize("container", ["wav", "mp3"])
def test_what_was_spoken_is_written_down_word_for_word(account: Account, container: str, task: str) -> None:
    assert write_down(account, speak(account, response_format=container).content, task) == {"text": TEXT}


def test_a_strange_recording_gets_the_same_words_each_time_and_more_when_it_is_longer(account: Account) -> None:
    short, long = b"\xff\xfb" + bytes(40_000), b"\xff\xfb" + bytes(120_000)
    texts = [write_down(account, content)["text"] for content in (short, short, long)]

    assert texts[0] == texts[1]
    assert len(texts[2].split()) > 2 * len(texts[0].split())


def test_verbose_answers_lay_the_text_out_over_time(account: Account) -> None:
    content = speak(account).content
    answer = write_down(
        account, content, response_format="verbose_json", timestamp_granularities=["word", "segment"], language="de"
    )

    assert (answer["task"], answer["language"], answer["text"]) == ("transcribe", "german", TEXT)
    assert answer["duration"] == pytest.approx(len(TEXT) * 0.05)
    assert [segment["text"] for segment in answer["segments"]] == [
        "Hello there.",
        "How are you today?",
        "Fine, danke schön!",
    ]
    assert " ".join(word["word"] for word in answer["words"]) == TEXT
    ends = [edge for word in answer["words"] for edge in (word["start"], word["end"])]
    assert ends == sorted(ends)
    assert ends[-1] == pytest.approx(answer["duration"])
    assert "words" not in write_down(account, content, response_format="verbose_json")


def test_speakers_are_told_apart_when_asked(account: Account) -> None:
    answer = write_down(account, speak(account).content, response_format="verbose_json", diarize="true", max_speakers=2)

    assert [part["speaker_id"] for part in answer["speaker_segments"]] == ["SPEAKER_00", "SPEAKER_01", "SPEAKER_00"]
    assert all(word["speaker_id"] for word in answer["words"])


def test_a_recording_can_be_named_by_its_address_and_nothing_is_fetched(account: Account) -> None:
    answer = account.http.post("/audio/transcriptions", data={"file": "https://unreachable.invalid/a.wav"})

    assert answer.json()["text"].startswith("This is a recording")


@pytest.mark.parametrize(
    "fields",
    [{"response_format": "srt"}, {"temperature": "2"}, {"model": KOKORO}, {"min_speakers": "3", "max_speakers": "2"}],
)
def test_a_form_out_of_bounds_is_refused(account: Account, fields: dict[str, str]) -> None:
    answer = account.http.post("/audio/transcriptions", data=fields, files={"file": ("a.wav", speak(account).content)})

    assert answer.status_code == 400


def test_a_missing_or_unknown_recording_is_refused(account: Account) -> None:
    missing = account.http.post("/audio/transcriptions", data={"language": "en"})
    unknown = account.http.post("/audio/transcriptions", files={"file": ("a.txt", b"just some text")})

    assert (missing.status_code, unknown.status_code) == (400, 400)


Events = list[dict[str, Any]]


@contextmanager
def session(account: Account, path: str, key: str | None = "emulator-key", **query: Any) -> Iterator[ClientConnection]:
    url = str(httpx2.URL(account.emulator.url.replace("http", "ws", 1) + path, params=query))
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with connect(url, additional_headers=headers, open_timeout=10, proxy=None) as connection:
        yield connection


def say(connection: ClientConnection, kind: str, **fields: Any) -> None:
    connection.send(json.dumps({"type": kind, **fields}))


def receive(connection: ClientConnection, until: str, times: int = 1) -> Events:
    """The events up to the one of this kind."""
    events: Events = []
    while sum(event["type"].endswith(until) for event in events) < times:
        events.append(json.loads(connection.recv(timeout=10)))
    return events


def audio_of(events: Events) -> bytes:
    return b"".join(base64.b64decode(event["delta"]) for event in events if event["type"].endswith("output.delta"))


SPEECH = "/audio/speech/websocket"


def test_a_session_speaks_each_sentence_when_it_is_complete(account: Account) -> None:
    with session(account, SPEECH, model=KOKORO, voice="af_bella") as connection:
        (created,) = receive(connection, "session.created")
        say(connection, "input_text_buffer.append", text="One. Tw")
        first = receive(connection, "output.done")
        say(connection, "input_text_buffer.append", text="o! Three")
        second = receive(connection, "output.done")
        say(connection, "input_text_buffer.commit")
        third = receive(connection, "output.done")

    assert created["session"]["voice"] == "af_bella"
    assert created["session"]["object"] == "realtime.tts.session"
    assert first[0] == first[0] | {"type": "conversation.item.input_text.received", "text": "One. Tw"}
    assert [events[-1]["item_id"] for events in (first, second, third)] == ["tts_1", "tts_2", "tts_3"]
    lengths = [len(audio_of(events)) // (1200 * 2) for events in (first, second, third)]
    assert lengths == [len("One."), len(" Two!"), len(" Three")]


def test_long_text_without_an_end_is_spoken_and_cleared_text_is_not(account: Account) -> None:
    with session(account, SPEECH, max_partial_length=10) as connection:
        say(connection, "input_text_buffer.append", text="abcdefghijklm")
        long = receive(connection, "output.done")
        say(connection, "input_text_buffer.clear")
        say(connection, "input_text_buffer.append", text="xy")
        say(connection, "input_text_buffer.commit")
        rest = receive(connection, "output.done")

    assert len(audio_of(long)) // 2400 == 10
    assert len(audio_of(rest)) // 2400 == 2


def test_a_session_outlives_a_bad_event(account: Account) -> None:
    with session(account, SPEECH) as connection:
        connection.send("no json")
        say(connection, "tts_session.updated", session={"voice": "nobody"})
        say(connection, "input_text_buffer.append")
        failures = receive(connection, "tts.failed", times=3)[1:]
        say(connection, "input_text_buffer.append", text="Still here.")
        assert receive(connection, "output.done")

    assert [event["error"]["param"] for event in failures] == [None, "voice", None]


def test_speech_is_written_down_while_it_comes_in(account: Account) -> None:
    raw = speak(account, response_format="raw", response_encoding="pcm_s16le", sample_rate=16_000).content
    with session(account, "/realtime", model=WHISPER, input_audio_format="pcm_s16le_16000") as connection:
        (created,) = receive(connection, "session.created")
        for start in range(0, len(raw), 10_007):
            piece = base64.b64encode(raw[start : start + 10_007]).decode()
            say(connection, "input_audio_buffer.append", audio=piece)
        say(connection, "input_audio_buffer.commit")
        *deltas, completed = receive(connection, "transcription.completed")

    assert created["session"]["model"] == WHISPER
    assert completed["transcript"] == TEXT
    assert len(deltas) > 3
    assert "".join(event["delta"] for event in deltas) == TEXT


def test_strange_sounds_become_words_by_their_length(account: Account) -> None:
    with session(account, "/realtime", model=WHISPER) as connection:
        noise = base64.b64encode(bytes(range(1, 251)) * 128 * 4).decode()
        say(connection, "input_audio_buffer.append", audio=noise)
        say(connection, "input_audio_buffer.commit")
        completed = receive(connection, "transcription.completed")[-1]

    assert len(completed["transcript"].split()) == 10


@pytest.mark.parametrize(
    ("path", "query", "key", "code"),
    [
        (SPEECH, {}, None, "missing_api_key"),
        (SPEECH, {}, "wrong", "invalid_api_key"),
        (SPEECH, {"model": WHISPER}, "emulator-key", "model_not_available"),
        ("/realtime", {"model": WHISPER}, "wrong", "invalid_api_key"),
        ("/realtime", {"model": "no/such"}, "emulator-key", "model_not_available"),
        ("/realtime", {"model": WHISPER, "input_audio_format": "mp3"}, "emulator-key", None),
    ],
)
def test_a_session_that_cannot_be_says_so_in_an_event_and_ends(
    account: Account, path: str, query: dict[str, str], key: str | None, code: str | None
) -> None:
    with session(account, path, key, **query) as connection:
        (failed,) = receive(connection, ".failed")
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=10)

    assert failed["error"]["code"] == code
    assert failed["error"]["message"]


def test_plain_http_is_told_to_upgrade(account: Account) -> None:
    answer = account.http.get("/realtime", params={"model": WHISPER})

    assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")


def test_faults_strike_sessions_before_they_open(account: Account) -> None:
    account.emulator.fault(method="GET", path="/realtime", status=503)
    account.emulator.fault(method="GET", path="/realtime", drop="before")
    with pytest.raises(InvalidStatus) as refused, session(account, "/realtime", model=WHISPER):
        pass
    with pytest.raises(InvalidMessage), session(account, "/realtime", model=WHISPER):
        pass

    assert refused.value.response.status_code == 503
    assert account.emulator.counts()["requests"]["GET /realtime"] == 2
