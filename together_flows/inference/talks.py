"""WebSocket sessions held in one go: what is said and heard in them, decided apart from I/O.

A talk is a generator of steps. It yields an event to say, or asks for the next one, and returns what came of it all.
It opens its files before its first step, so that what is wrong with them is found before anything is sent, and it
holds one piece of audio at a time.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import textwrap
import wave
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO, Any, TypeAlias

from together_flows.api import Operation
from together_flows.errors import AnswerInvalid, ArgumentInvalid, ConnectionFailed
from together_flows.inference.places import Place

__all__ = [
    "RAW_SUFFIXES",
    "Hear",
    "Patience",
    "Say",
    "Step",
    "Talk",
    "can_be_spoken",
    "sentences",
    "speaking",
    "writing_down",
]

RAW_SUFFIXES = frozenset({".pcm", ".raw"})
"""Names of files that hold samples without a header."""

_CHUNK_BYTES = 32_000
"""Audio that is sent in one event: one second of it."""

_SPOKEN_RATE = 24_000
"""Samples a second that a speech session sends, of 16 bits and in one channel (API's reference)."""

_SAMPLE_BYTES = 2

_LONGEST_PART = 250
"""Characters without an end of sentence after which the API speaks anyway, unless told otherwise (API's reference)."""

#: Where a text is cut. The marks of Chinese and Japanese need no space after them.
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[\u3002\uff01\uff1f])|\n")


@dataclass(frozen=True)
class Patience:
    """How long a talk waits.

    Attributes:
        silence: seconds without an event, while one is due, after which the session counts as dead.
        settling: seconds without an event after which a session that owes nothing counts as complete. The API does not
            say which event is its last, and it may cut a sentence in two.
    """

    silence: float = 60.0
    settling: float = 2.0


@dataclass(frozen=True)
class Say:
    """Send an event."""

    event: Mapping[str, Any]


@dataclass(frozen=True)
class Hear:
    """Wait for the next event, so many seconds at most; resumed with it, or with `None` if there was none."""

    within: float


Step: TypeAlias = Say | Hear
Talk: TypeAlias = Generator[Step, Any, dict[str, Any]]


def speaking(operation: Operation[Any], pieces: Iterable[str], target: Place, patience: Patience) -> Talk:
    """Have a text spoken into a file.

    Each sentence is committed and heard to its end before the next is sent: the API announces the end of what it has
    spoken, and never the end of everything.

    Args:
        operation: `audio.connect_speech`.
        pieces: the text; a sentence may span several of them.
        target: a WAV file, or raw samples if it is called `.pcm` or `.raw`.
        patience: how long to wait.

    Returns:
        `path` and `bytes` of the file.
    """
    longest = int(operation.query.get("max_partial_length", _LONGEST_PART))
    with target.replacing() as stream:
        with _written_as(target, stream) as write:
            speech = _Speech(operation, patience, write)
            yield from speech.begun()
            for part in sentences(pieces, longest):
                yield Say({"type": "input_text_buffer.append", "text": part})
                yield Say({"type": "input_text_buffer.commit"})
                yield from speech.answered()
            yield from speech.settled()
        if not speech.has_sound:
            raise AnswerInvalid(f"{operation.name}: the session ended well and sent no audio.")
        size = stream.tell()
    return {"path": str(target), "bytes": size}


def writing_down(operation: Operation[Any], source: Place, patience: Patience) -> Talk:
    """Have a recording written down, which is sent a second at a time.

    Args:
        operation: `realtime.connect`.
        source: a WAV file in the format of the session, or raw samples if it is called `.pcm` or `.raw`.
        patience: how long to wait.

    Returns:
        `text`, and `segments` and `usage` if the API sends them.
    """
    transcript = _Transcript(operation, patience)
    with source.open() as stream:
        chunks = _samples(source, stream, str(operation.query["input_audio_format"]))
        chunk = next(chunks, b"")
        if not chunk:
            raise ArgumentInvalid(f"{source} holds no audio.", mend="Check the file.")
        yield from transcript.begun()
        while chunk:
            yield Say({"type": "input_audio_buffer.append", "audio": base64.b64encode(chunk).decode()})
            while (event := (yield Hear(0))) is not None:
                transcript.take(event)
            chunk = next(chunks, b"")
    yield Say({"type": "input_audio_buffer.commit"})
    yield from transcript.answered()
    yield from transcript.settled()
    return transcript.manifest()


def sentences(pieces: Iterable[str], longest: int) -> Iterator[str]:
    """A text in parts that can be spoken one by one: its sentences, cut at spaces where they are too long.

    Args:
        pieces: the text; a sentence may span several of them.
        longest: characters of a part at most.
    """
    waiting = ""
    for piece in pieces:
        *whole, waiting = _SENTENCE_END.split(waiting + piece)
        for sentence in whole:
            yield from filter(can_be_spoken, textwrap.wrap(sentence, longest))
    yield from filter(can_be_spoken, textwrap.wrap(waiting, longest))


def can_be_spoken(text: str) -> bool:
    """Whether there is more in a text than marks: for a mere dash, no audio would ever come."""
    return any(character.isalnum() for character in text)


class _Exchange:
    """What a session still owes.

    Args:
        operation: its operation.
        patience: how long to wait.
    """

    def __init__(self, operation: Operation[Any], patience: Patience) -> None:
        self._name = operation.name
        self._patience = patience
        self._is_owed = False  # an answer to what was sent last
        self._open: set[str | None] = set()  # the items that have begun and not ended

    def take(self, event: Any) -> None:
        """Take an event in."""
        kind = str(event.type)
        if kind.endswith(".delta"):
            self._open.add(_item(event))
            self._more(event)
        elif kind.endswith((".done", ".completed")):
            self._open.discard(_item(event))
            self._is_owed = False
            self._ended(event)

    def begun(self) -> Generator[Step, Any, None]:
        """Wait for the session's first event, for a session that is refused says so before it closes."""
        self.take((yield from self._due()))

    def answered(self) -> Generator[Step, Any, None]:
        """Wait until what was sent last is answered whole."""
        self._is_owed = True
        while self._is_owed or self._open:
            self.take((yield from self._due()))

    def settled(self) -> Generator[Step, Any, None]:
        """Wait for what may come though it is not owed. A session that ends meanwhile has said all it had to say."""
        while True:
            try:
                event = yield Hear(self._patience.settling)
            except ConnectionFailed:
                return
            if event is None:
                return
            self.take(event)
            while self._open:
                self.take((yield from self._due()))

    def _due(self) -> Generator[Step, Any, Any]:
        try:
            event = yield Hear(self._patience.silence)
        except ConnectionFailed as ended:
            raise ConnectionFailed(f"{ended.message} before it was complete.") from ended
        if event is None:
            raise ConnectionFailed(
                f"{self._name}: nothing came for {self._patience.silence:g} s while an event was due."
            )
        return event

    def _more(self, event: Any) -> None:
        """A piece of an item has come."""

    def _ended(self, event: Any) -> None:
        """An item has come to its end."""


class _Speech(_Exchange):
    """Audio that comes in.

    Args:
        operation: of the session.
        patience: how long to wait.
        write: takes the samples.
    """

    def __init__(self, operation: Operation[Any], patience: Patience, write: Callable[[bytes], object]) -> None:
        super().__init__(operation, patience)
        self._write = write
        self.has_sound = False

    def _more(self, event: Any) -> None:
        try:
            samples = base64.b64decode(event.delta or "", validate=True)
        except binascii.Error as error:
            raise AnswerInvalid(f"{self._name}: the audio of an event is not base64.") from error
        if samples.startswith(b"RIFF"):  # the reference calls the format WAV, so a header may come with the samples
            samples = samples[samples.find(b"data") + 8 :]
        self._write(samples)
        self.has_sound = self.has_sound or bool(samples)


class _Transcript(_Exchange):
    """Text that comes in. A session that hears pauses may answer with one text for each stretch of speech."""

    def __init__(self, operation: Operation[Any], patience: Patience) -> None:
        super().__init__(operation, patience)
        self._texts: list[str] = []
        self._segments: list[Any] = []
        self._usage: dict[str, Any] = {}

    def manifest(self) -> dict[str, Any]:
        """The whole text, with what else the API has sent."""
        made: dict[str, Any] = {"text": " ".join(text for text in self._texts if text)}
        if self._segments:
            made["segments"] = self._segments
        if self._usage:
            made["usage"] = self._usage
        return made

    def _ended(self, event: Any) -> None:
        self._texts.append((event.transcript or "").strip())
        further = event.model_extra or {}
        self._segments += further.get("segments") or []
        for name, value in (further.get("usage") or {}).items():
            adds_up = isinstance(value, int | float) and name in self._usage
            self._usage[name] = self._usage[name] + value if adds_up else value


def _item(event: Any) -> str | None:
    """The item of an event. A transcription's events name none."""
    item: str | None = getattr(event, "item_id", None)
    return item


@contextmanager
def _written_as(target: Place, stream: IO[bytes]) -> Iterator[Callable[[bytes], object]]:
    """A function that appends samples to a file, of the kind that its name says."""
    if _suffix(target) in RAW_SUFFIXES:
        yield stream.write
        return
    with closing(wave.open(stream, "wb")) as recording:
        recording.setnchannels(1)
        recording.setsampwidth(_SAMPLE_BYTES)
        recording.setframerate(_SPOKEN_RATE)
        yield recording.writeframesraw


def _samples(source: Place, stream: IO[bytes], audio_format: str) -> Iterator[bytes]:
    """The samples of a file, piece by piece."""
    buffered = io.BufferedReader(stream) if isinstance(stream, io.RawIOBase) else stream
    if _suffix(source) in RAW_SUFFIXES:
        yield from iter(lambda: buffered.read(_CHUNK_BYTES), b"")
        return
    with _recording(source, buffered) as recording:
        has = f"pcm_s{recording.getsampwidth() * 8}le_{recording.getframerate()}"
        if recording.getnchannels() != 1 or has != audio_format:
            raise ArgumentInvalid(
                f"{source} holds {has}, channels: {recording.getnchannels()}; the session takes one of {audio_format}.",
                mend=_CONVERT,
            )
        frames = _CHUNK_BYTES // recording.getsampwidth()
        yield from iter(lambda: recording.readframes(frames), b"")


def _recording(source: Place, stream: IO[bytes]) -> wave.Wave_read:
    try:
        return wave.open(stream, "rb")
    except (wave.Error, EOFError) as error:
        reason = str(error) or "it ends too early"
        raise ArgumentInvalid(f"{source} is no WAV file of plain samples: {reason}.", mend=_CONVERT) from None


_CONVERT = "Convert it first: ffmpeg -i in.mp3 -ac 1 -ar 16000 -c:a pcm_s16le out.wav."


def _suffix(place: Place) -> str:
    return PurePath(place.name).suffix.lower()
