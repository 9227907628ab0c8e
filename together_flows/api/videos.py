"""Videos: made in the background out of text, images, videos and sound. They live under version 2 of the API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from together_flows.api._model import Answer, Name, Nested, Request, Time
from together_flows.api._operation import operation

__all__ = [
    "AudioSource",
    "Failure",
    "FrameImage",
    "Outputs",
    "Video",
    "VideoMedia",
    "VideoSource",
    "create",
    "retrieve",
]

Seconds = Annotated[str, Field(coerce_numbers_to_str=True)]


class FrameImage(Request):
    """An image that the video passes through.

    Attributes:
        input_image: address of the image.
        frame: number of the frame, `first` or `last`; the API chooses by the number of images unless given.
    """

    input_image: str
    frame: float | Literal["first", "last"] | None = None


class VideoSource(Request):
    """The address of a video."""

    video: str


class AudioSource(Request):
    """The address of a recording."""

    audio: str


class VideoMedia(Request):
    """What the video is made from, besides the prompt. Which of these a model takes depends on the model.

    Attributes:
        frame_images: images that the video passes through.
        frame_videos: clips that it begins with.
        reference_images: addresses of images that it should look like.
        reference_videos: videos that it should look like.
        source_video: video to edit: its address, or `{"video": …}`.
        audio_inputs: recordings: their addresses, or `{"audio": …}`.
    """

    frame_images: Sequence[FrameImage] | None = None
    frame_videos: Sequence[VideoSource] | None = None
    reference_images: Sequence[str] | None = None
    reference_videos: Sequence[VideoSource] | None = None
    source_video: str | VideoSource | None = None
    audio_inputs: Sequence[str | AudioSource] | None = None


class Failure(Answer):
    """Why a video could not be made."""

    code: str | None = None
    message: str = ""


class Outputs(Answer):
    """The address of a finished video, and what it cost."""

    cost: float | None = None
    video_url: str | None = None


class Video(Answer):
    """A video.

    Attributes:
        status: in_progress goes on; completed succeeded; failed did not.
        size: resolution.
        seconds: duration, as text.
        outputs: there once it is completed.
        error: there once it has failed.
    """

    id: str
    status: str
    object: str = "video"
    model: str | None = None
    size: str | None = None
    seconds: Seconds | None = None
    outputs: Outputs | None = None
    error: Failure | None = None
    created_at: Time = None
    completed_at: Time = None


@operation("GET", "/videos/{id}", version="v2")
def retrieve(id: str, /) -> Video:
    """Read one video's status, and its address when it is there."""


@operation("POST", "/videos", version="v2")
def create(
    *,
    model: Name,
    prompt: Annotated[str, Field(min_length=1, max_length=32000)] | None = None,
    height: int | None = None,
    width: int | None = None,
    resolution: str | None = None,
    ratio: str | None = None,
    seconds: Seconds | None = None,
    fps: Annotated[int, Field(ge=1)] | None = None,
    steps: Annotated[int, Field(ge=10, le=50)] | None = None,
    seed: int | None = None,
    guidance_scale: int | None = None,
    output_format: Literal["MP4", "WEBM"] | str | None = None,
    output_quality: int | None = None,
    negative_prompt: str | None = None,
    generate_audio: bool | None = None,
    media: Nested[VideoMedia] | None = None,
    frame_images: Sequence[Nested[FrameImage]] | None = None,
    reference_images: Sequence[str] | None = None,
) -> Video:
    """Start to make a video. It is billed; the API has no list of videos and no way to cancel one.

    The bounds are those of the API's reference.

    Args:
        model: model that makes it.
        prompt: what it shows, 1 to 32,000 characters.
        height: pixels.
        width: pixels.
        resolution: such as `720p`.
        ratio: such as `16:9`.
        seconds: duration; a number or text.
        fps: frames a second, 24 unless given.
        steps: denoising steps, 10 to 50; more are slower and better.
        seed: the same seed makes the same video.
        guidance_scale: how closely it follows the prompt; 6 to 10 suits most models.
        output_format: `MP4` or `WEBM`.
        output_quality: compression, 20 unless given.
        negative_prompt: what to avoid.
        generate_audio: make sound too.
        media: images, videos and sound that it is made from.
        frame_images: deprecated by the API in favour of `media`.
        reference_images: deprecated by the API in favour of `media`.
    """
