"""Voices."""

from __future__ import annotations

from starlette.responses import Response

from together_flows.emulator.gate import Call, Group
from together_flows.emulator.replies import json_reply
from together_flows.emulator.voices import VOICES

group = Group()


@group.get("/voices")
async def list_voices(call: Call) -> Response:
    """The voices of each model, or of the one that the query names."""
    wanted = call.query_params.get("model")
    rows = [
        {"model": model, "voices": [{"id": voice, "name": voice} for voice in voices]}
        for model, voices in VOICES.items()
        if wanted in (None, model)
    ]
    return json_reply({"data": rows})
