"""Models: what can be called, at which price, and the upload of models of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from together_flows.api._model import Answer, Name, Secret, Time
from together_flows.api._operation import operation

__all__ = ["Model", "Pricing", "UploadStarted", "UploadTicket", "list", "upload"]


class Pricing(Answer):
    """US dollars: `input` and `output` for a million tokens, `hourly` for an hour of a dedicated endpoint."""

    hourly: float | None = None
    input: float | None = None
    output: float | None = None
    base: float | None = None
    finetune: float | None = None


class Model(Answer):
    """A model.

    Attributes:
        id: the name that inference takes.
        type: such as `chat`, `language`, `code`, `image`, `embedding`, `moderation`, `rerank`, `audio` or `video`.
        context_length: tokens.
    """

    id: str
    object: str = "model"
    created: Time = None
    type: str | None = None
    display_name: str | None = None
    organization: str | None = None
    link: str | None = None
    license: str | None = None
    context_length: int | None = None
    pricing: Pricing | None = None


class UploadTicket(Answer):
    """The job that copies a model, and the model that it will become."""

    job_id: str
    model_name: str | None = None
    model_id: str | None = None
    model_source: str | None = None


class UploadStarted(Answer):
    """A started upload. `jobs.retrieve(data.job_id)` tells how it goes."""

    data: UploadTicket
    message: str = ""


@operation("GET", "/models")
def list(*, dedicated: bool | None = None) -> Sequence[Model]:
    """List models with their prices.

    Args:
        dedicated: only models that dedicated endpoints can serve.
    """


@operation("POST", "/models")
def upload(
    *,
    model_name: Name,
    model_source: Name,
    model_type: Literal["model", "adapter"] | str | None = None,
    hf_token: Secret | None = None,
    description: str | None = None,
    base_model: str | None = None,
    lora_model: str | None = None,
) -> UploadStarted:
    """Copy a model or an adapter from Hugging Face or S3 to Together.

    Args:
        model_name: name that it gets.
        model_source: Hugging Face repository, or signed S3 address of an archive.
        model_type: `model`, the default, or `adapter`.
        hf_token: token for a private Hugging Face repository. No repr or error shows it.
        description: text for people.
        base_model: for adapters: the model that it runs on, if that is serverless.
        lora_model: for adapters: the pool that it runs on, if that is dedicated.
    """
