"""The object store behind presigned URLs: the URL is the permission, so no key is asked for, and none is accepted."""

from __future__ import annotations

import uuid

from starlette.responses import Response

from together_flows.emulator.files import FILES, File, content_path, hashed_write, landed
from together_flows.emulator.gate import Call, Group
from together_flows.emulator.refusals import Refusal, text_only

group = Group(errors=text_only, needs_key=False)


@group.put("/_storage/{token}")
async def put(call: Call) -> Response:
    """Takes the bytes of a file."""
    file = _promised(call)
    if file.parts:
        raise Refusal(400, "This upload is in parts.")
    target = content_path(call.world, file.id)
    arriving = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
    try:
        size, checksum, etag = await hashed_write(call.stream(), arriving)
        if file.checksum and file.checksum != checksum:
            raise Refusal(400, "The bytes do not have the announced checksum.")
        if not size:
            raise Refusal(400, "The file is empty.")
        arriving.replace(target)
    finally:
        arriving.unlink(missing_ok=True)
    if not file.uploaded:
        landed(call.world, file, size=size, checksum=checksum)
    return Response(status_code=200, headers={"ETag": f'"{etag}"'})


@group.put("/_storage/{token}/{part}")
async def put_part(call: Call) -> Response:
    """Takes the bytes of one part."""
    file = _promised(call)
    part = call.path_params["part"]
    if not part.isdecimal() or not 1 <= int(part) <= file.parts:
        raise Refusal(404, f"There is no part {part}.")
    folder = call.world.path("uploads", file.token)
    folder.mkdir(exist_ok=True)
    arriving = folder / f"{part}.{uuid.uuid4().hex}"
    try:
        _, _, etag = await hashed_write(call.stream(), arriving)
        arriving.replace(folder / str(int(part)))
    finally:
        arriving.unlink(missing_ok=True)
    return Response(status_code=200, headers={"ETag": f'"{etag}"'})


def _promised(call: Call) -> File:
    if "authorization" in call.headers:
        raise Refusal(400, "Only one auth mechanism is allowed: the URL is signed, and Authorization was sent as well.")
    if "content-length" not in call.headers:
        raise Refusal(411, "Content-Length is required.")
    file = call.world.table(FILES).find_by_key(call.path_params["token"])
    if file is None:
        raise Refusal(403, "The signature of this URL is not known, or it has expired.")
    return file
