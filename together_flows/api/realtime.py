"""Realtime: speech written down while it is spoken."""

from __future__ import annotations

from typing import Any, Literal

from together_flows.api._model import Answer, Name
from together_flows.api._operation import Reply, operation

__all__ = ["TranscriptionEvent", "connect"]


class TranscriptionEvent(Answer):
    """One event of a transcription session.

    Attributes:
        type: `session.created`, or `conversation.item.input_audio_transcription.` and one of `delta` (with a piece of
            text in `delta`), `completed` (with the whole in `transcript`) and `failed` (with the reason in `error`).
    """

    type: str
    delta: str | None = None
    transcript: str | None = None
    session: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


@operation("GET", "/realtime", reply=Reply.SOCKET)
def connect(
    *, model: Name, input_audio_format: Literal["pcm_s16le_16000"] | str = "pcm_s16le_16000"
) -> TranscriptionEvent:
    """Open a session that writes speech down as it is spoken.

    Send `{"type": "input_audio_buffer.append", "audio": …}` with pieces of audio in base64, and
    `input_audio_buffer.commit` at the end.

    Args:
        model: transcription model, such as `openai/whisper-large-v3`.
        input_audio_format: 16-bit PCM at 16,000 Hz, the only one so far.
    """
