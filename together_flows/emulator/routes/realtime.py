"""Realtime: speech written down while it is spoken, over a WebSocket."""

from __future__ import annotations

import base64
import binascii

from together_flows.emulator.gate import Group
from together_flows.emulator.media import serve_type
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.sockets import Conversation, socket
from together_flows.emulator.sound import Listener

group = Group()

_FORMATS = {"pcm_s16le_16000": (16_000, "pcm_s16le")}
_EVENT = "conversation.item.input_audio_transcription"


@socket(group, "/realtime", failed=f"{_EVENT}.failed")
async def connect(conversation: Conversation) -> None:
    """Sends what it has understood after every piece of audio, and the whole when the audio is committed."""
    model = conversation.option("model")
    try:
        serve_type(conversation.world, model, "transcribe")
    except Refusal as refusal:
        raise Refusal(400, refusal.message, param="model", code="model_not_available") from None
    audio_format = conversation.option("input_audio_format", "pcm_s16le_16000")
    if audio_format not in _FORMATS:
        raise Refusal(
            400,
            f"Unsupported audio format {audio_format!r}; there is {', '.join(_FORMATS)}.",
            param="input_audio_format",
        )
    session = {"id": conversation.id, "object": "realtime.session", "modalities": ["audio"], "model": model}
    await conversation.send("session.created", session=session)
    await _listen(conversation, *_FORMATS[audio_format])


async def _listen(conversation: Conversation, rate: int, encoding: str) -> None:
    listener, text = Listener(rate=rate, encoding=encoding), ""
    async for event in conversation.events():
        match event:
            case {"type": "input_audio_buffer.append", "audio": str(audio)}:
                try:
                    heard = listener.feed(base64.b64decode(audio, validate=True))
                except binascii.Error:
                    await conversation.fail(Refusal(400, "audio is not base64.", param="audio", code="invalid_audio"))
                    continue
                text += heard
                if heard:
                    await conversation.send(f"{_EVENT}.delta", delta=heard)
            case {"type": "input_audio_buffer.commit"}:
                await conversation.send(f"{_EVENT}.completed", transcript=text.strip())
                listener, text = Listener(rate=rate, encoding=encoding), ""
            case _:
                await conversation.fail(Refusal(400, "Unknown event, or one without its field.", code="invalid_event"))
