"""Transcripts: a text laid out over the time of its recording, in words, sentences and speakers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Annotated, Any, Literal

import msgspec
from starlette.datastructures import FormData

from together_flows.emulator.refusals import Refusal
from together_flows.emulator.sound import Recording, invented_text

__all__ = ["TranscriptRequest", "transcript"]

Speakers = Annotated[int, msgspec.Meta(ge=1, le=32)]


class TranscriptRequest(msgspec.Struct, kw_only=True):
    """The fields of the form beside the file."""

    task: str
    model: str = "openai/whisper-large-v3"
    language: str = "en"
    prompt: str = ""
    response_format: Literal["json", "verbose_json"] = "json"
    temperature: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    timestamp_granularities: list[Literal["segment", "word"]] = msgspec.field(default_factory=lambda: ["segment"])
    diarize: bool = False
    min_speakers: Speakers = 1
    max_speakers: Speakers | None = None

    @classmethod
    def from_form(cls, form: FormData, *, task: str) -> TranscriptRequest:
        """The request in a form; several granularities are repeated fields, with or without brackets.

        Raises:
            Refusal: 400, a field has another shape.
        """
        fields: dict[str, Any] = {key: value for key, value in form.items() if key != "file" and value != ""}
        for name in ("timestamp_granularities", "timestamp_granularities[]"):
            if fields.pop(name, None):
                fields["timestamp_granularities"] = form.getlist(name)
        try:
            request = msgspec.convert({**fields, "task": task}, cls, strict=False)
        except msgspec.ValidationError as error:
            raise Refusal(400, str(error)) from None
        if request.max_speakers is not None and request.max_speakers < request.min_speakers:
            raise Refusal(400, "max_speakers is below min_speakers.", param="max_speakers")
        return request


class _Word(msgspec.Struct):
    word: str
    start: float
    end: float
    sentence: int


def transcript(request: TranscriptRequest, recording: Recording) -> dict[str, Any]:
    """The answer to a transcription or translation."""
    text = invented_text(recording.seconds) if recording.text is None else recording.text
    if request.response_format == "json":
        return {"text": text}
    words = list(_timed(text, recording.seconds))
    answer: dict[str, Any] = {
        "task": request.task,
        "language": _LANGUAGES.get(request.language, request.language),
        "duration": round(recording.seconds, 3),
        "text": text,
        "segments": [
            {"id": number, "start": part[0].start, "end": part[-1].end, "text": _joined(part)}
            for number, part in enumerate(_sentences(words))
        ],
    }
    if "word" in request.timestamp_granularities or request.diarize:
        answer["words"] = [_shown(word, request) for word in words]
    if request.diarize:
        answer["speaker_segments"] = [
            {
                "id": number,
                "speaker_id": _speaker(part[0], request),
                "start": part[0].start,
                "end": part[-1].end,
                "text": _joined(part),
                "words": [_shown(word, request) for word in part],
            }
            for number, part in enumerate(_sentences(words), start=1)
        ]
    return answer


_LANGUAGES = {"en": "english", "auto": "english", "de": "german", "fr": "french", "es": "spanish", "it": "italian"}


def _timed(text: str, seconds: float) -> Iterator[_Word]:
    """The words, each as long as its share of the characters."""
    pace = seconds / max(1, len(text))
    sentence = 0
    for found in re.finditer(r"\S+", text):
        word = found.group()
        yield _Word(word, round(found.start() * pace, 3), round(found.end() * pace, 3), sentence)
        sentence += word.endswith((".", "!", "?"))


def _sentences(words: list[_Word]) -> Iterator[list[_Word]]:
    return (list(part) for _, part in groupby(words, key=lambda word: word.sentence))


def _joined(words: list[_Word]) -> str:
    return " ".join(word.word for word in words)


def _shown(word: _Word, request: TranscriptRequest) -> dict[str, Any]:
    shown: dict[str, Any] = {"word": word.word, "start": word.start, "end": word.end}
    return shown | {"speaker_id": _speaker(word, request)} if request.diarize else shown


def _speaker(word: _Word, request: TranscriptRequest) -> str:
    """Sentence by sentence the speakers take turns: as many as may be, two if nothing is said of it."""
    count = request.max_speakers or max(2, request.min_speakers)
    return f"SPEAKER_{word.sentence % count:02}"
