"""The small lists: voices, zones and the models that do something else than write."""

from __future__ import annotations

from .account import Account


def test_voices_and_zones_are_listed(account: Account) -> None:
    voices = {row["model"]: {voice["id"] for voice in row["voices"]} for row in account.get("/voices")["data"]}
    (kokoro,) = account.get("/voices", model="hexgrad/Kokoro-82M")["data"]

    assert "af_alloy" in voices["hexgrad/Kokoro-82M"]
    assert "tara" in voices["canopylabs/orpheus-3b-0.1-ft"]
    assert kokoro["model"] == "hexgrad/Kokoro-82M"
    assert "us-central-4b" in account.get("/clusters/availability-zones")["avzones"]


def test_models_that_do_not_write_are_in_the_catalogue_too(account: Account) -> None:
    types = {model["type"] for model in account.get("/models")}

    assert {"chat", "embedding", "image", "video", "audio", "rerank", "transcribe"} <= types
