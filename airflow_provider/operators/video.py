"""The operator that makes videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider.operators.base import TogetherJobOperator, given
from airflow_provider.storage import download_signed
from together_flows.errors import AnswerInvalid

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider.attempt import Ending, JobAttempt
    from together_flows.jobs.model import Spec

__all__ = ["TogetherVideoOperator"]

_ARGUMENTS = (
    "model",
    "prompt",
    "height",
    "width",
    "resolution",
    "ratio",
    "seconds",
    "fps",
    "steps",
    "seed",
    "guidance_scale",
    "output_format",
    "output_quality",
    "negative_prompt",
    "generate_audio",
    "media",
)


class TogetherVideoOperator(TogetherJobOperator):
    """
    Make a video, wait for it, and download it if a place for it is given.

    The API can neither list videos nor cancel one: if the answer to the request is lost, the task fails rather than pay
    twice (see ``on_unknown``), and a video that nobody wants any more is still made and billed.

    Returns ``id``, ``video_url`` (a signed address, good for a while only), ``cost_usd``, ``model``, ``seconds``,
    ``size``, ``reference`` and ``url``, and with ``output_path`` also ``path`` and ``bytes``; each is an XCom of its
    own too.

    :param model: model that makes it. (templated)
    :param prompt: what it shows. (templated)
    :param output_path: where the video goes: a path as the worker sees it, or a URL that ``ObjectStoragePath``
        understands. A folder ends in a slash; the file is then called after the job. (templated)
    :param height: pixels. (templated)
    :param width: pixels. (templated)
    :param resolution: such as ``720p``. (templated)
    :param ratio: such as ``16:9``. (templated)
    :param seconds: duration. (templated)
    :param fps: frames a second. (templated)
    :param steps: denoising steps, 10 to 50. (templated)
    :param seed: the same seed makes the same video. (templated)
    :param guidance_scale: how closely it follows the prompt. (templated)
    :param output_format: ``MP4`` or ``WEBM``. (templated)
    :param output_quality: compression. (templated)
    :param negative_prompt: what to avoid. (templated)
    :param generate_audio: make sound too.
    :param media: images, videos and sound that it is made from, as ``videos.create`` takes them. (templated)

    It also takes what :class:`~airflow_provider.operators.base.TogetherJobOperator` takes. No price is known
    beforehand, so ``budget`` limits nothing.
    """

    kind = "video"
    template_fields: Sequence[str] = (
        *(name for name in _ARGUMENTS if name != "generate_audio"),
        "output_path",
        *TogetherJobOperator.template_fields,
    )
    template_fields_renderers = {"media": "json"}  # noqa: RUF012 - Airflow declares it so

    def __init__(
        self,
        *,
        model: str,
        prompt: str | None = None,
        output_path: str | None = None,
        height: int | str | None = None,
        width: int | str | None = None,
        resolution: str | None = None,
        ratio: str | None = None,
        seconds: int | str | None = None,
        fps: int | str | None = None,
        steps: int | str | None = None,
        seed: int | str | None = None,
        guidance_scale: int | str | None = None,
        output_format: str | None = None,
        output_quality: int | str | None = None,
        negative_prompt: str | None = None,
        generate_audio: bool | None = None,
        media: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.prompt = prompt
        self.output_path = output_path
        self.height = height
        self.width = width
        self.resolution = resolution
        self.ratio = ratio
        self.seconds = seconds
        self.fps = fps
        self.steps = steps
        self.seed = seed
        self.guidance_scale = guidance_scale
        self.output_format = output_format
        self.output_quality = output_quality
        self.negative_prompt = negative_prompt
        self.generate_audio = generate_audio
        self.media = media

    def job_specs(self, context: Context) -> Sequence[Spec]:
        """The arguments that were given."""
        return [given(self, _ARGUMENTS)]

    def result(self, attempt: JobAttempt, endings: Sequence[Ending]) -> dict[str, Any]:
        """What was made, and where it was put."""
        made: dict[str, Any] = super().result(attempt, endings)
        if not self.output_path:
            return made
        if not made["video_url"]:
            raise AnswerInvalid(f"The video {made['id']} is done, but the API gave no address of it.")
        return {**made, **download_signed(made["video_url"], self.output_path, stem=made["id"])}
