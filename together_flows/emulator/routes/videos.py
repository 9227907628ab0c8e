"""Videos, which the service has under /v2 only."""

from __future__ import annotations

import re
import secrets
from typing import Annotated, Any, Literal

import msgspec
from starlette.responses import Response

from together_flows.emulator.gate import Call, Group
from together_flows.emulator.media import serve_type
from together_flows.emulator.refusals import Refusal, text_only
from together_flows.emulator.replies import json_reply
from together_flows.emulator.signed import signed_url
from together_flows.emulator.videos import VIDEOS, Video, new_video

group = Group(errors=text_only, aliases={"/v2/videos": "/videos"})
kinds = [VIDEOS]

MAX_SECONDS = 60
SIDES = range(64, 4097)


class FrameImage(msgspec.Struct):
    input_image: str
    frame: float | Literal["first", "last"] | None = None


class VideoRequest(msgspec.Struct, kw_only=True):
    """The body; what it does not name is accepted and ignored."""

    model: str
    prompt: Annotated[str, msgspec.Meta(min_length=1, max_length=32_000)] = ""
    height: int | None = None
    width: int | None = None
    resolution: str = "720p"
    ratio: str = "16:9"
    seconds: str = "5"
    fps: int = 24
    steps: Annotated[int, msgspec.Meta(ge=10, le=50)] = 20
    seed: int | None = None
    output_format: Literal["MP4", "WEBM"] = "MP4"
    media: dict[str, Any] = msgspec.field(default_factory=dict)
    frame_images: list[FrameImage] = msgspec.field(default_factory=list)
    reference_images: list[str] = msgspec.field(default_factory=list)


@group.post("/videos")
async def create(call: Call) -> Response:
    """Begins to make a video."""
    request = await call.read(VideoRequest)
    serve_type(call.world, request.model, "video")
    if not (request.prompt or request.media or request.frame_images):
        raise Refusal(400, "prompt, media or frame_images is required.")
    if request.output_format == "WEBM":
        raise Refusal(400, "The emulator makes videos of the format MP4 only, not WEBM.")
    width, height = _size(request)
    video = new_video(
        call.world,
        model=request.model,
        prompt=request.prompt,
        width=width,
        height=height,
        length=_length(request.seconds),
        seed=secrets.randbits(32) if request.seed is None else request.seed,
    )
    call.world.table(VIDEOS).add(video)
    return _shown(call, video)


@group.get("/videos/{id}")
async def retrieve(call: Call) -> Response:
    """One video, with its address when it is there."""
    return _shown(call, call.world.table(VIDEOS).get(call.path_params["id"]))


def _shown(call: Call, video: Video) -> Response:
    row = VIDEOS.row(call.world, video, call.world.clock.now())
    if row["status"] == "completed":
        row["outputs"] = {"cost": video.dollars, "video_url": signed_url(call, video.path)}
    return json_reply(row)


def _size(request: VideoRequest) -> tuple[int, int]:
    """Width and height: as given, or from the resolution, which counts the shorter side, and the ratio."""
    lines = re.fullmatch(r"(\d{3,4})[pP]", request.resolution)
    ratio = re.fullmatch(r"(\d{1,2}):(\d{1,2})", request.ratio)
    if not lines or not ratio or "0" in ratio.groups():
        raise Refusal(400, "resolution must look like 720p, and ratio like 16:9.")
    across, down = int(ratio[1]), int(ratio[2])
    unit = int(lines[1]) / min(across, down)
    width, height = request.width or round(unit * across), request.height or round(unit * down)
    if width not in SIDES or height not in SIDES:
        raise Refusal(400, f"width and height must be between 64 and 4096, got {width} and {height}.")
    return width, height


def _length(seconds: str) -> int:
    if not seconds.isdecimal() or not 1 <= int(seconds) <= MAX_SECONDS:
        raise Refusal(400, f"seconds must be a whole number from 1 to {MAX_SECONDS}, as text; got {seconds!r}.")
    return int(seconds)
