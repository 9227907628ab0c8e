"""Images out of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from together_flows.api._model import Answer, Name, Nested, Request, Rows
from together_flows.api._operation import operation

__all__ = ["GeneratedImages", "Image", "ImageLora", "generate"]

Pixels = Annotated[int, Field(ge=1)]


class ImageLora(Request):
    """An adapter that shapes the image: its address, and its strength, for most 1."""

    path: str
    scale: float


class Image(Answer):
    """An image: its address, or its bytes in base64, after the `response_format` that was asked for."""

    index: int | None = None
    type: str | None = None
    url: str | None = None
    b64_json: str | None = Field(default=None, repr=False)


class GeneratedImages(Answer):
    """The images."""

    id: str = ""
    object: str = "list"
    model: str | None = None
    data: Rows[Image]


@operation("POST", "/images/generations", repeatable=True)
def generate(
    *,
    prompt: str,
    model: Name,
    steps: Annotated[int, Field(ge=1)] | None = None,
    image_url: str | None = None,
    seed: int | None = None,
    n: Annotated[int, Field(ge=1)] | None = None,
    height: Pixels | None = None,
    width: Pixels | None = None,
    negative_prompt: str | None = None,
    response_format: Literal["base64", "url"] | str | None = None,
    guidance_scale: float | None = None,
    output_format: Literal["jpeg", "png"] | str | None = None,
    image_loras: Sequence[Nested[ImageLora]] | None = None,
    reference_images: Sequence[str] | None = None,
    disable_safety_checker: bool | None = None,
) -> GeneratedImages:
    """Make images. Each is billed.

    A request leaves nothing behind, so it may be repeated when its answer was lost; both are billed.

    Args:
        prompt: what they show.
        model: model that makes them.
        steps: steps of the generation, 20 unless given.
        image_url: address of an image to start from.
        seed: the same seed makes the same images.
        n: how many, 1 unless given.
        height: pixels, 1024 unless given.
        width: pixels, 1024 unless given.
        negative_prompt: what to avoid.
        response_format: `base64` or `url`.
        guidance_scale: how closely they follow the prompt, 3.5 unless given; 1 to 5 leaves freedom, 8 to 10 little.
        output_format: `jpeg`, the default, or `png`.
        image_loras: adapters that shape them.
        reference_images: addresses of images that they should look like.
        disable_safety_checker: do without the check for unsafe images.
    """
