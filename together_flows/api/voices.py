"""The voices that speech can be made with."""

from __future__ import annotations

from together_flows.api._model import Answer, Rows
from together_flows.api._operation import operation

__all__ = ["ModelVoices", "Voice", "VoiceList", "list"]


class Voice(Answer):
    """A voice; `audio.create_speech` takes its name."""

    id: str | None = None
    name: str = ""


class ModelVoices(Answer):
    """The voices of a model."""

    model: str
    voices: Rows[Voice] = ()


class VoiceList(Answer):
    """The voices of all models."""

    data: Rows[ModelVoices]


@operation("GET", "/voices")
def list() -> VoiceList:
    """List the voices of each model."""
