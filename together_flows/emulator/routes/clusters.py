"""Availability zones of dedicated endpoints."""

from __future__ import annotations

from starlette.responses import Response

from together_flows.emulator.gate import Call, Group
from together_flows.emulator.replies import json_reply

group = Group()

_ZONES = ("us-central-4b", "us-central-5a", "us-east-1a", "eu-north-1a")


@group.get("/clusters/availability-zones")
async def list_zones(call: Call) -> Response:
    """All zones."""
    return json_reply({"avzones": _ZONES})
