"""Audio: speech from text, whole, in events or over a WebSocket; text from recordings."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Literal

import anyio.to_thread
import msgspec
from starlette.datastructures import UploadFile
from starlette.responses import Response

from together_flows.emulator.gate import Call, Group
from together_flows.emulator.media import serve_type
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.replies import event_stream, json_reply
from together_flows.emulator.sockets import Conversation, socket
from together_flows.emulator.sound import MP3_RATES, Recording, mp3, read_recording, tones, wav
from together_flows.emulator.transcripts import TranscriptRequest, transcript
from together_flows.emulator.voices import check_voice

group = Group()

MAX_CHARACTERS = 5_000
"""The longest text that is spoken in one request."""

SAMPLE_RATES = range(8_000, 48_001)

_RAW_TYPE = "application/octet-stream"
_CHARACTERS_PER_CHUNK = 12
_SOCKET_RATE, _SOCKET_ENCODING = 24_000, "pcm_s16le"
_SENTENCE_ENDS = (".", "!", "?", "\n")


class SpeechRequest(msgspec.Struct, kw_only=True):
    """The body of a request for speech."""

    model: str
    input: str
    voice: str
    response_format: Literal["mp3", "wav", "raw"] = "wav"
    language: Literal["en", "de", "fr", "es", "hi", "it", "ja", "ko", "nl", "pl", "pt", "ru", "sv", "tr", "zh"] = "en"
    response_encoding: Literal["pcm_f32le", "pcm_s16le", "pcm_mulaw", "pcm_alaw"] = "pcm_f32le"
    sample_rate: int | None = None
    bit_rate: Literal[32000, 64000, 96000, 128000, 192000] = 128000
    stream: bool = False

    @property
    def rate(self) -> int:
        """Samples per second: as asked for, or the model's own."""
        if self.sample_rate is not None:
            return self.sample_rate
        return 44_100 if self.response_format == "mp3" or self.model.startswith("cartesia/") else 24_000


@group.post("/audio/speech")
async def create_speech(call: Call) -> Response:
    """Speaks a text, in tones."""
    request = await call.read(SpeechRequest)
    _check_speech(call, request)
    if request.stream:
        return event_stream(_speech_events(request))
    if request.response_format == "mp3":
        return Response(mp3(request.input, rate=request.rate, bit_rate=request.bit_rate), media_type="audio/mpeg")
    content = await anyio.to_thread.run_sync(_samples, request)
    return Response(content, media_type="audio/wav" if request.response_format == "wav" else _RAW_TYPE)


@group.post("/audio/transcriptions")
async def create_transcription(call: Call) -> Response:
    """Writes a recording down."""
    return await _written_down(call, task="transcribe")


@group.post("/audio/translations")
async def create_translation(call: Call) -> Response:
    """The same; the emulator knows no languages, so the words stay what they are."""
    return await _written_down(call, task="translate")


@socket(group, "/audio/speech/websocket", failed="conversation.item.tts.failed")
async def connect_speech(conversation: Conversation) -> None:
    """Speaks text while it is typed: a sentence when it is complete, the rest when it is long or committed."""
    model = conversation.option("model", "hexgrad/Kokoro-82M")
    voice = conversation.option("voice", "tara" if not model.startswith("cartesia/") else "friendly sidekick")
    longest = conversation.option("max_partial_length", "250")
    try:
        model = serve_type(conversation.world, model, "audio").base.id
    except Refusal as refusal:
        raise Refusal(400, refusal.message, param="model", code="model_not_available") from None
    check_voice(model, voice)
    if not longest.isdecimal() or not int(longest):
        raise Refusal(400, "max_partial_length must be a whole number above 0.", param="max_partial_length")
    await _speak_as_typed(conversation, model, voice, int(longest))


async def _speak_as_typed(conversation: Conversation, model: str, voice: str, longest: int) -> None:
    session = {
        "id": conversation.id,
        "object": "realtime.tts.session",
        "modalities": ["text", "audio"],
        "model": model,
        "voice": voice,
    }
    await conversation.send("session.created", session=session)
    waiting, spoken = "", 0
    async for event in conversation.events():
        ready: list[str] = []
        match event:
            case {"type": "input_text_buffer.append", "text": str(text)}:
                await conversation.send("conversation.item.input_text.received", text=text)
                ready, waiting = _sentences(waiting + text, longest)
            case {"type": "input_text_buffer.clear"}:
                waiting = ""
            case {"type": "input_text_buffer.commit"}:
                ready, waiting = [waiting] if waiting.strip() else [], ""
            case {"type": "tts_session.updated", "session": dict(changes)}:
                try:
                    check_voice(model, str(changes.get("voice", voice)))
                except Refusal as refusal:
                    await conversation.fail(refusal)
            case _:
                await conversation.fail(Refusal(400, "Unknown event, or one without its field.", code="invalid_event"))
        for sentence in ready:
            spoken += 1
            await _speak(conversation, sentence, f"tts_{spoken}")


def _sentences(text: str, longest: int) -> tuple[list[str], str]:
    """The sentences that can be spoken, and the rest that waits for its end."""
    ready = []
    start = 0
    for place, character in enumerate(text, start=1):
        if character in _SENTENCE_ENDS or place - start >= longest:
            if text[start:place].strip():
                ready.append(text[start:place])
            start = place
    return ready, text[start:]


async def _speak(conversation: Conversation, text: str, item: str) -> None:
    for chunk in _chunks(tones(text, rate=_SOCKET_RATE, encoding=_SOCKET_ENCODING)):
        await conversation.send("conversation.item.audio_output.delta", item_id=item, delta=chunk)
    await conversation.send("conversation.item.audio_output.done", item_id=item)


def _check_speech(call: Call, request: SpeechRequest) -> None:
    served = serve_type(call.world, request.model, "audio")
    check_voice(served.base.id, request.voice)
    if not 1 <= len(request.input) <= MAX_CHARACTERS:
        raise Refusal(400, f"input must have 1 to {MAX_CHARACTERS} characters.", param="input")
    if request.stream and request.response_format != "raw":
        raise Refusal(400, "With stream, response_format must be raw.", param="response_format")
    if request.rate not in SAMPLE_RATES:
        raise Refusal(400, "sample_rate must be between 8000 and 48000.", param="sample_rate")
    if request.response_format == "mp3" and request.rate not in MP3_RATES:
        raise Refusal(400, f"An mp3 has a sample_rate of {sorted(MP3_RATES)}.", param="sample_rate")


def _samples(request: SpeechRequest) -> bytes:
    if request.response_format == "wav":
        return wav(request.input, rate=request.rate, encoding=request.response_encoding)
    return b"".join(tones(request.input, rate=request.rate, encoding=request.response_encoding))


def _speech_events(request: SpeechRequest) -> Iterator[bytes]:
    for chunk in _chunks(tones(request.input, rate=request.rate, encoding=request.response_encoding)):
        yield msgspec.json.encode({"object": "audio.tts.chunk", "model": request.model, "b64": chunk})


def _chunks(pieces: Iterable[bytes]) -> Iterator[str]:
    """The samples in base64, a few characters of text at a time."""
    left = iter(pieces)
    while chunk := b"".join(islice(left, _CHARACTERS_PER_CHUNK)):
        yield base64.b64encode(chunk).decode()


async def _written_down(call: Call, *, task: str) -> Response:
    async with call.form(max_files=1, max_fields=40) as form:
        request = TranscriptRequest.from_form(form, task=task)
        serve_type(call.world, request.model, "transcribe")
        file = form.get("file")
        recording = await anyio.to_thread.run_sync(_recording, file)
    return json_reply(transcript(request, recording))


def _recording(file: UploadFile | str | None) -> Recording:
    """The recording of a form: a file, or an address. Nothing is fetched, so an address is as good as ten seconds."""
    if isinstance(file, str) and file.startswith(("http://", "https://")):
        return Recording(None, 10.0)
    if not isinstance(file, UploadFile):
        raise Refusal(400, "file is required: a recording, or its http(s) address.", param="file")
    recording = read_recording(file.file)
    if recording is None:
        raise Refusal(400, "file is no wav, mp3, m4a, webm or flac.", param="file", code="unsupported_format")
    return recording
