"""The voices of the models that speak."""

from __future__ import annotations

from together_flows.emulator.refusals import Refusal

__all__ = ["VOICES", "check_voice"]

_CARTESIA = ("friendly sidekick", "british lady", "helpful woman", "newsman", "storyteller lady")

VOICES = {
    "hexgrad/Kokoro-82M": ("af_alloy", "af_bella", "af_heart", "af_nova", "am_adam", "am_michael", "bf_emma", "tara"),
    "canopylabs/orpheus-3b-0.1-ft": ("tara", "leah", "jess", "leo", "dan", "mia", "zac", "zoe"),
    "cartesia/sonic": _CARTESIA,
    "cartesia/sonic-english": _CARTESIA,
}
"""Voices by model; a small choice of the service's. `tara` is what a session uses unless it is told another."""


def check_voice(model: str, voice: str) -> None:
    """Makes sure that the model has the voice.

    Raises:
        Refusal: 400, it has not.
    """
    voices = VOICES[model]
    if voice.lower() not in voices:
        raise Refusal(400, f"Model {model} has no voice {voice!r}; it has {', '.join(voices)}.", param="voice")
