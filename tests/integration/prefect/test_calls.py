"""The task for any operation: sessions held in one go, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect import flow

import together_flows.prefect as tp
from tests.integration.prefect.conftest import BLOCK
from together_flows.emulator import Emulator
from together_flows.emulator.sound import wav
from together_flows.errors import ArgumentInvalid

VOICE = {"voice": "af_alloy"}
WHISPER = {"model": "openai/whisper-large-v3"}


async def test_sessions_are_held_by_both_tasks(emulator: Emulator, tmp_path: Path) -> None:
    (tmp_path / "heard.wav").write_bytes(wav("Parcel 7 waits.", rate=16_000, encoding="pcm_s16le"))
    pieces, here = ["Good ", "morning."], str(tmp_path / "here.wav")
    there, heard = f"file://{tmp_path}/there.wav", f"file://{tmp_path}/heard.wav"

    @flow
    def blocking() -> list[Any]:
        return [
            tp.call(BLOCK, "audio.connect_speech", VOICE, session_input=pieces, output_path=here),
            tp.call(BLOCK, "realtime.connect", WHISPER, session_input=heard),
        ]

    @flow
    async def awaiting() -> list[Any]:
        return [
            await tp.acall(BLOCK, "audio.connect_speech", VOICE, session_input=pieces, output_path=there),
            await tp.acall(BLOCK, "realtime.connect", WHISPER, session_input=heard),
        ]

    spoken, written = blocking()
    aspoken, awritten = await awaiting()

    size = (tmp_path / "here.wav").stat().st_size
    assert spoken == {"path": here, "bytes": size}
    assert aspoken == {"path": there, "bytes": size}
    assert (tmp_path / "there.wav").read_bytes() == (tmp_path / "here.wav").read_bytes()
    assert written == awritten == {"text": "Parcel 7 waits."}


@pytest.mark.parametrize(
    ("operation", "beside", "words"),
    [
        ("files.list", {"session_input": "text"}, "files.list is no session"),
        ("files.list", {"output_path": "a.json"}, "Leave out output_path"),
        ("audio.connect_speech", {"output_path": "a.wav"}, "Give it session_input"),
        ("audio.connect_speech", {"session_input": "Hello."}, "Say where it goes with output_path"),
    ],
)
def test_what_does_not_suit_the_operation_is_refused_before_anything_is_sent(
    operation: str, beside: dict[str, Any], words: str, emulator: Emulator
) -> None:
    @flow
    def asking() -> None:
        tp.call(BLOCK, operation, **beside)

    with pytest.raises(ArgumentInvalid, match=words):
        asking()

    assert emulator.counts()["requests"] == {}
