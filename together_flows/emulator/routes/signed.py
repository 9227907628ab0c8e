"""The object store behind signed addresses that are read from: pictures, videos, files and checkpoints."""

from __future__ import annotations

from starlette.responses import FileResponse, Response

from together_flows.emulator.gate import Call, Group
from together_flows.emulator.refusals import Refusal, text_only
from together_flows.emulator.signed import PREFIX, check_signature

group = Group(errors=text_only, needs_key=False)

_MEDIA_TYPES = {".png": "image/png", ".jpeg": "image/jpeg", ".mp4": "video/mp4"}


@group.get(PREFIX + "/{path:path}")
async def read(call: Call) -> Response:
    """The object, whole or a range of it."""
    path = call.path_params["path"]
    check_signature(call, path)
    place = call.world.path(*path.split("/"))
    if not place.is_file():
        raise Refusal(404, "The object is gone.")
    return FileResponse(place, media_type=_MEDIA_TYPES.get(place.suffix, "application/octet-stream"))
