"""Images: real PNG and JPEG files, if not great art."""

from __future__ import annotations

import base64
import secrets
import uuid
from typing import Any, Literal

import anyio.to_thread
import msgspec
from starlette.responses import Response

from together_flows.emulator.gate import Call, Group
from together_flows.emulator.media import serve_type
from together_flows.emulator.pictures import Picture, paint
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.replies import json_reply
from together_flows.emulator.signed import signed_url

group = Group()

SIDES = range(64, 2049, 8)
"""Widths and heights that are painted: the service's own bounds differ by model."""

MAX_IMAGES = 4


class ImageLora(msgspec.Struct):
    path: str
    scale: float


class ImageRequest(msgspec.Struct, kw_only=True):
    """The body; what it does not name is accepted and ignored."""

    prompt: str
    model: str
    steps: int = 20
    seed: int | None = None
    n: int = 1
    height: int = 1024
    width: int = 1024
    response_format: Literal["base64", "url"] = "url"
    output_format: Literal["jpeg", "png"] = "jpeg"
    image_loras: list[ImageLora] = msgspec.field(default_factory=list)


@group.post("/images/generations")
async def create(call: Call) -> Response:
    """Paints the prompt. The same prompt and seed give the same images."""
    request = await call.read(ImageRequest)
    serve_type(call.world, request.model, "image")
    _check(request)
    seed = secrets.randbits(32) if request.seed is None else request.seed
    images = await anyio.to_thread.run_sync(lambda: [_painted(request, seed + index) for index in range(request.n)])
    data = [_shown(call, request, index, image) for index, image in enumerate(images)]
    return json_reply({"id": uuid.uuid4().hex, "model": request.model, "object": "list", "data": data})


def _check(request: ImageRequest) -> None:
    if not request.prompt.strip():
        raise Refusal(400, "prompt must not be empty.", param="prompt")
    for name, side in (("width", request.width), ("height", request.height)):
        if side not in SIDES:
            raise Refusal(400, f"{name} must be a multiple of 8 from 64 to 2048, got {side}.", param=name)
    if not 1 <= request.n <= MAX_IMAGES:
        raise Refusal(400, f"n must be between 1 and {MAX_IMAGES}.", param="n")
    if not 1 <= request.steps <= 100:
        raise Refusal(400, "steps must be between 1 and 100.", param="steps")


def _painted(request: ImageRequest, seed: int) -> bytes:
    picture: Picture = paint(request.prompt, width=request.width, height=request.height, seed=seed)
    return picture.png() if request.output_format == "png" else picture.jpeg()


def _shown(call: Call, request: ImageRequest, index: int, image: bytes) -> dict[str, Any]:
    if request.response_format == "base64":
        return {"index": index, "b64_json": base64.b64encode(image).decode(), "type": "b64_json"}
    path = f"media/{uuid.uuid4().hex}.{request.output_format}"
    call.world.path(path).write_bytes(image)
    return {"index": index, "url": signed_url(call, path), "type": "url"}
