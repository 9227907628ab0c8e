"""Talks: what is said and heard in a session, with no session there."""

from __future__ import annotations

import base64
import tracemalloc
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from together_flows.api import audio, realtime
from together_flows.api.audio import SpeechEvent
from together_flows.api.realtime import TranscriptionEvent
from together_flows.errors import AnswerInvalid, ArgumentInvalid, ConnectionFailed
from together_flows.inference.places import place_of
from together_flows.inference.talks import Hear, Patience, Talk, sentences, speaking, writing_down

PATIENCE = Patience(silence=50, settling=5)
TRANSCRIPTION = "conversation.item.input_audio_transcription"

Answers = Callable[[Any], list[Any]]


def held(talk: Talk, answers: Answers) -> tuple[dict[str, Any], list[Any]]:
    """The talk's result, and what was said in it, with a server that answers each event at once with others.

    A server with nothing left to say is silent.
    """
    said: list[Any] = []
    waiting = [*answers({"type": "open"})]
    came = None
    try:
        while True:
            step = talk.send(came)
            if isinstance(step, Hear):
                came = waiting.pop(0) if waiting else None
            else:
                said.append(step.event)
                waiting += answers(step.event)
                came = None
    except StopIteration as end:
        return end.value, said
    finally:
        talk.close()


def delta(item: str, samples: bytes) -> SpeechEvent:
    return SpeechEvent(
        type="conversation.item.audio_output.delta", item_id=item, delta=base64.b64encode(samples).decode()
    )


def done(item: str) -> SpeechEvent:
    return SpeechEvent(type="conversation.item.audio_output.done", item_id=item)


OPENED = SpeechEvent(type="session.created")


def server(*items: list[Any]) -> Answers:
    """A server that opens the session, and answers each commit with the next of these."""
    left = iter(items)

    def answers(event: Any) -> list[Any]:
        if event["type"] == "open":
            return [OPENED]
        return next(left, []) if event["type"].endswith(".commit") else []

    return answers


def spoken(target: Path, *pieces: str, answers: Answers) -> tuple[dict[str, Any], list[Any]]:
    return held(speaking(audio.connect_speech(), pieces, place_of(target), PATIENCE), answers)


def samples_of(path: Path) -> bytes:
    with wave.open(str(path), "rb") as recording:
        assert (recording.getnchannels(), recording.getsampwidth(), recording.getframerate()) == (1, 2, 24_000)
        return recording.readframes(recording.getnframes())


def test_each_sentence_is_sent_committed_and_heard_before_the_next(tmp_path: Path) -> None:
    target = tmp_path / "speech.wav"
    answers = server([delta("1", b"ab"), done("1")], [delta("2", b"cd"), delta("2", b"ef"), done("2")])

    manifest, said = spoken(target, "Good ", "morning. How", " are you?", answers=answers)

    assert [event.get("text") for event in said] == ["Good morning.", None, "How are you?", None]
    assert samples_of(target) == b"abcdef"
    assert manifest == {"path": str(target), "bytes": target.stat().st_size}


def test_a_sentence_that_the_server_cuts_in_two_is_heard_whole(tmp_path: Path) -> None:
    target = tmp_path / "speech.wav"
    answers = server([delta("1", b"ab"), done("1"), delta("2", b"cd"), done("2")])

    spoken(target, "It costs 3.5 dollars.", answers=answers)

    assert samples_of(target) == b"abcd"


def test_bare_samples_are_written_where_the_name_asks_for_them(tmp_path: Path) -> None:
    manifest, _ = spoken(tmp_path / "speech.pcm", "Hello.", answers=server([delta("1", b"abcd"), done("1")]))

    assert (tmp_path / "speech.pcm").read_bytes() == b"abcd"
    assert manifest["bytes"] == 4


def test_a_header_that_comes_with_the_samples_is_no_sound(tmp_path: Path) -> None:
    header = b"RIFF" + bytes(4) + b"WAVEfmt " + bytes(20) + b"data" + bytes(4)

    spoken(tmp_path / "speech.wav", "Hello.", answers=server([delta("1", header + b"abcd"), done("1")]))

    assert samples_of(tmp_path / "speech.wav") == b"abcd"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([done("1")], "no audio"),
        ([SpeechEvent(type="conversation.item.audio_output.delta", item_id="1", delta="%")], "base64"),
    ],
)
def test_a_session_without_sound_leaves_no_file(answer: list[Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(AnswerInvalid, match=words):
        spoken(tmp_path / "speech.wav", "Hello.", answers=server(answer))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("answer", [[], [delta("1", b"ab")]])
def test_silence_while_audio_is_due_fails_and_leaves_what_was_there(answer: list[Any], tmp_path: Path) -> None:
    target = tmp_path / "speech.wav"
    target.write_bytes(b"of yesterday")

    with pytest.raises(ConnectionFailed, match="nothing came for 50 s"):
        spoken(target, "Hello.", answers=server(answer))

    assert target.read_bytes() == b"of yesterday"
    assert list(tmp_path.iterdir()) == [target]


def test_a_session_that_ends_early_fails_and_one_that_ends_with_nothing_due_is_whole(tmp_path: Path) -> None:
    def broken_off(*events: Any) -> Any:
        talk = speaking(audio.connect_speech(), ["Hello."], place_of(tmp_path / "speech.wav"), PATIENCE)
        coming = iter(events)
        step = next(talk)
        try:
            while True:
                event = next(coming, None) if isinstance(step, Hear) else None
                over = isinstance(step, Hear) and event is None
                step = talk.throw(ConnectionFailed("the session ended")) if over else talk.send(event)
        except StopIteration as end:
            return end.value

    with pytest.raises(ConnectionFailed, match="ended before it was complete"):
        broken_off(OPENED, delta("1", b"ab"))
    assert list(tmp_path.iterdir()) == []
    assert broken_off(OPENED, delta("1", b"ab"), done("1"))["bytes"] == 46


def heard(source: Path, answers: Answers) -> tuple[dict[str, Any], list[Any]]:
    operation = realtime.connect(model="m")
    return held(writing_down(operation, place_of(source), PATIENCE), answers)


def text_event(kind: str, **fields: Any) -> TranscriptionEvent:
    return TranscriptionEvent(type=f"{TRANSCRIPTION}.{kind}", **fields)


def recording(path: Path, samples: bytes, *, rate: int = 16_000, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(samples)
    return path


@pytest.mark.parametrize("kind", ["wav", "pcm"])
def test_the_samples_of_a_recording_are_sent_in_order_and_committed_once(kind: str, tmp_path: Path) -> None:
    samples = bytes(range(250)) * 300
    source = tmp_path / f"speech.{kind}"
    if kind == "wav":
        recording(source, samples)
    else:
        source.write_bytes(samples)

    result, said = heard(source, server([text_event("completed", transcript="Good morning. ")]))

    *appended, last = said
    assert b"".join(base64.b64decode(event["audio"]) for event in appended) == samples
    assert {event["type"] for event in appended} == {"input_audio_buffer.append"}
    assert len(appended) == 3
    assert last == {"type": "input_audio_buffer.commit"}
    assert result == {"text": "Good morning."}


def test_what_is_heard_between_pauses_is_put_together_with_all_that_the_api_tells(tmp_path: Path) -> None:
    early = text_event("completed", transcript="One.", segments=[{"id": 0}], usage={"seconds": 1.5, "type": "duration"})
    late = text_event("completed", transcript="Two.", segments=[{"id": 1}], usage={"seconds": 2, "type": "duration"})
    pieces = iter([[text_event("delta", delta="O"), early], [text_event("delta", delta="T")]])

    def answers(event: Any) -> Any:
        kind = event["type"].rpartition(".")[2]
        return next(pieces, []) if kind == "append" else {"open": [OPENED], "commit": [late]}[kind]

    result, _ = heard(recording(tmp_path / "speech.wav", bytes(64_000)), answers)

    assert result == {
        "text": "One. Two.",
        "segments": [{"id": 0}, {"id": 1}],
        "usage": {"seconds": 3.5, "type": "duration"},
    }


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: recording(path, bytes(8), rate=44_100), "pcm_s16le_44100"),
        (lambda path: recording(path, bytes(8), channels=2), "channels: 2"),
        (lambda path: path.write_bytes(b"ID3" + bytes(64)), "no WAV file"),
        (lambda path: path.write_bytes(b""), "no WAV file"),
        (lambda path: recording(path, b""), "holds no audio"),
        (lambda path: None, "cannot be read"),
    ],
)
def test_a_recording_that_cannot_be_sent_is_refused_before_the_session_is_opened(
    make: Callable[[Path], object], words: str, tmp_path: Path
) -> None:
    source = tmp_path / "speech.wav"
    make(source)

    with pytest.raises(ArgumentInvalid, match=words):
        next(writing_down(realtime.connect(model="m"), place_of(source), PATIENCE))


def test_a_long_recording_and_a_long_speech_need_little_memory(tmp_path: Path) -> None:
    source = tmp_path / "speech.pcm"
    with source.open("wb") as stream:
        stream.truncate(32 << 20)
    piece = delta("1", bytes(1 << 16))
    sent = 0

    def forgetful(talk: Talk, events: Iterator[Any]) -> None:
        nonlocal sent
        step = next(talk)
        try:
            while True:
                sent += len(str(step.event.get("audio", ""))) if not isinstance(step, Hear) else 0
                step = talk.send(next(events, None) if isinstance(step, Hear) and step.within else None)
        except StopIteration:
            return

    spoken_events = iter([OPENED, *[piece] * 500, done("1")])
    tracemalloc.start()
    try:
        forgetful(
            writing_down(realtime.connect(model="m"), place_of(source), PATIENCE),
            iter([OPENED, text_event("completed", transcript="Long.")]),
        )
        forgetful(speaking(audio.connect_speech(), ["Hello."], place_of(tmp_path / "out.wav"), PATIENCE), spoken_events)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert sent > 32 << 20
    assert (tmp_path / "out.wav").stat().st_size == 44 + (500 << 16)
    assert peak < 3 << 20


@given(st.lists(st.text(alphabet="ab 1.!?\n。-"), max_size=8), st.integers(1, 12))
def test_a_text_is_cut_without_losing_a_letter_however_it_comes(pieces: list[str], longest: int) -> None:
    parts = list(sentences(pieces, longest))

    assert all(len(part) <= longest for part in parts)
    assert all(any(character.isalnum() for character in part) for part in parts)

    def letters(text: str) -> str:
        return "".join(filter(str.isalnum, text))

    assert letters("".join(parts)) == letters("".join(pieces))


def test_a_sentence_may_span_pieces_and_ends_at_its_mark() -> None:
    pieces = ["Dear all, it is ", "3.5 degrees! ", "Really?\nYes… ", "- and more"]

    assert list(sentences(pieces, 250)) == ["Dear all, it is 3.5 degrees!", "Really?", "Yes…", "- and more"]
