"""Hardware that dedicated endpoints run on."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from together_flows.emulator.catalogue import HARDWARE, Hardware
from together_flows.emulator.gate import Call, Group
from together_flows.emulator.replies import json_reply
from together_flows.emulator.serving import deployable

group = Group()


@group.get("/hardware")
async def list_hardware(call: Call) -> Response:
    """All of it, or, for a model, what fits it with its availability."""
    updated = call.world.clock.iso(0)
    model = call.query_params.get("model")
    if not model:
        return _listed([_row(hardware, updated) for hardware in HARDWARE.values()])
    base = deployable(call.world, model).base
    fitting = [hardware for hardware in HARDWARE.values() if hardware.holds(base)]
    return _listed([_row(h, updated) | {"availability": {"status": h.availability}} for h in fitting])


def _listed(rows: list[dict[str, Any]]) -> Response:
    return json_reply({"object": "list", "data": rows})


def _row(hardware: Hardware, updated: str) -> dict[str, Any]:
    return {
        "object": "hardware",
        "id": hardware.id,
        "pricing": {"cents_per_minute": hardware.cents_per_minute},
        "specs": {
            "gpu_type": hardware.gpu_type,
            "gpu_link": hardware.link,
            "gpu_memory": hardware.memory,
            "gpu_count": hardware.count,
        },
        "updated_at": updated,
    }
