"""Audio: speech out of text, and text out of speech."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from together_flows.api._model import Answer, AudioContent, Name
from together_flows.api._operation import Place, Reply, Wire, operation

__all__ = [
    "Segment",
    "SpeakerSegment",
    "SpeechChunk",
    "SpeechEvent",
    "Transcription",
    "Word",
    "connect_speech",
    "create_speech",
    "create_transcription",
    "create_translation",
]

Language = Literal["en", "de", "fr", "es", "hi", "it", "ja", "ko", "nl", "pl", "pt", "ru", "sv", "tr", "zh"] | str
Granularity = Literal["segment", "word"]
TranscriptFormat = Literal["json", "verbose_json"] | str
Randomness = Annotated[float, Field(ge=0, le=1)]
Speakers = Annotated[int, Field(ge=1)]


class SpeechChunk(Answer):
    """One event of streamed speech: a piece of raw audio in base64."""

    object: str = "audio.tts.chunk"
    model: str | None = None
    b64: str = Field(repr=False)


class SpeechEvent(Answer):
    """One event of a speech session.

    Attributes:
        type: `session.created`, `conversation.item.input_text.received`, `conversation.item.audio_output.delta` (with
            audio in `delta`, in base64), `conversation.item.audio_output.done` or `conversation.item.tts.failed`.
    """

    type: str
    event_id: str | None = None
    item_id: str | None = None
    text: str | None = None
    delta: str | None = Field(default=None, repr=False)
    session: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class Word(Answer):
    """A word, and when it is spoken: seconds from the start."""

    word: str = ""
    start: float | None = None
    end: float | None = None
    speaker_id: str | None = None


class Segment(Answer):
    """A stretch of the text, and when it is spoken: seconds from the start."""

    id: int | None = None
    text: str = ""
    start: float | None = None
    end: float | None = None


class SpeakerSegment(Answer):
    """What one speaker says in one go."""

    id: int | None = None
    speaker_id: str | None = None
    text: str = ""
    start: float | None = None
    end: float | None = None
    words: Sequence[Word] = ()


class Transcription(Answer):
    """The text of a recording. Everything but the text comes with `verbose_json` only.

    Attributes:
        duration: seconds.
        words: with the granularity `word`.
        speaker_segments: with `diarize`.
    """

    text: str
    task: str | None = None
    language: str | None = None
    duration: float | None = None
    segments: Sequence[Segment] = ()
    words: Sequence[Word] = ()
    speaker_segments: Sequence[SpeakerSegment] = ()


def _check_speech(given: Any) -> Iterator[str]:
    if given.stream and given.response_format not in {None, "raw"}:
        yield f"response_format must be 'raw' when the speech is streamed (got {given.response_format!r})"


@operation("POST", "/audio/speech", reply=Reply.BYTES, repeatable=True, chunk=SpeechChunk, check=_check_speech)
def create_speech(
    *,
    model: Name,
    input: str,
    voice: Name,
    response_format: Literal["mp3", "wav", "raw"] | str | None = None,
    language: Language | None = None,
    response_encoding: Literal["pcm_f32le", "pcm_s16le", "pcm_mulaw", "pcm_alaw"] | str | None = None,
    sample_rate: Annotated[int, Field(ge=1)] | None = None,
    bit_rate: Literal[32000, 64000, 96000, 128000, 192000] | int | None = None,
    stream: bool | None = None,
) -> bytes:
    """Speak a text. It is billed by the character.

    A request leaves nothing behind, so it may be repeated when its answer was lost; both are billed.

    Args:
        model: model that speaks.
        input: what it says.
        voice: name of a voice out of `voices.list`.
        response_format: `mp3`, `wav` (the default) or `raw`; streamed speech is `raw`.
        language: language of the text, `en` unless given.
        response_encoding: encoding of raw audio, `pcm_f32le` unless given.
        sample_rate: samples a second, 44,100 unless given; some models have 24,000.
        bit_rate: bits a second of an `mp3`, 128,000 unless given.
        stream: answer in server-sent events; `Together.stream` sets it.

    Returns:
        The audio.
    """


@operation("GET", "/audio/speech/websocket", reply=Reply.SOCKET)
def connect_speech(
    *,
    model: Literal["hexgrad/Kokoro-82M", "cartesia/sonic-english"] | str | None = None,
    voice: str | None = None,
    max_partial_length: Annotated[int, Field(ge=1)] | None = None,
) -> SpeechEvent:
    """Open a session that speaks text as it is typed.

    Send `{"type": "input_text_buffer.append", "text": …}` as often as there is text, `input_text_buffer.commit` at its
    end, `input_text_buffer.clear` to drop what has not been spoken, and `tts_session.updated` with a `session` to
    change the voice. The audio is 16-bit PCM at 24,000 Hz.

    Args:
        model: model that speaks, `hexgrad/Kokoro-82M` unless given.
        voice: voice, `tara` unless given.
        max_partial_length: characters without an end of sentence after which it speaks anyway, 250 unless given.
    """


def _check_speakers(given: Any) -> Iterator[str]:
    low, high = given.min_speakers, given.max_speakers
    if low is not None and high is not None and high < low:
        yield f"min_speakers ({low}) exceeds max_speakers ({high})"


@operation("POST", "/audio/transcriptions", form=True, repeatable=True, check=_check_speakers)
def create_transcription(
    *,
    file: Annotated[AudioContent, Wire(Place.PART)],
    model: Literal["openai/whisper-large-v3"] | str | None = None,
    language: str | None = None,
    prompt: str | None = None,
    response_format: TranscriptFormat | None = None,
    temperature: Randomness | None = None,
    timestamp_granularities: Granularity
    | Annotated[Sequence[Granularity], Field(min_length=1, max_length=2)]
    | None = None,
    diarize: bool | None = None,
    min_speakers: Speakers | None = None,
    max_speakers: Speakers | None = None,
) -> Transcription:
    """Write down what is said in a recording. It is billed by its duration.

    Args:
        file: path, bytes, open binary file, or http(s) address of a wav, mp3, m4a, webm or flac.
        model: `openai/whisper-large-v3` unless given.
        language: ISO 639-1 code, or `auto`; `en` unless given.
        prompt: text that hints at the words to expect.
        response_format: `json`, the default, or `verbose_json`.
        temperature: randomness, 0 to 1 (API's reference).
        timestamp_granularities: `segment`, `word` or both, with `verbose_json`. Several are sent as repeated fields.
        diarize: tell the speakers apart.
        min_speakers: fewest speakers.
        max_speakers: most speakers.
    """


@operation("POST", "/audio/translations", form=True, repeatable=True)
def create_translation(
    *,
    file: Annotated[AudioContent, Wire(Place.PART)],
    model: Literal["openai/whisper-large-v3"] | str | None = None,
    language: str | None = None,
    prompt: str | None = None,
    response_format: TranscriptFormat | None = None,
    temperature: Randomness | None = None,
    timestamp_granularities: Granularity
    | Annotated[Sequence[Granularity], Field(min_length=1, max_length=2)]
    | None = None,
) -> Transcription:
    """Write down in another language what is said in a recording. It is billed by its duration.

    Args:
        file: path, bytes, open binary file, or http(s) address of a wav, mp3, m4a, webm or flac.
        model: `openai/whisper-large-v3` unless given.
        language: ISO 639-1 code of the language to write, `en` unless given.
        prompt: text that hints at the words to expect.
        response_format: `json`, the default, or `verbose_json`.
        temperature: randomness, 0 to 1 (API's reference).
        timestamp_granularities: `segment`, `word` or both, with `verbose_json`. Several are sent as repeated fields.
    """
