"""The operator that copies a model from elsewhere to Together AI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider.hidden import SecretField
from airflow_provider.operators.base import TogetherJobOperator, given

if TYPE_CHECKING:
    from airflow.sdk import Context

    from together_flows.jobs.model import Spec

__all__ = ["TogetherModelUploadOperator"]

_ARGUMENTS = ("model_name", "model_source", "model_type", "hf_token", "description", "base_model", "lora_model")


class TogetherModelUploadOperator(TogetherJobOperator):
    """
    Copy a model or an adapter from Hugging Face or S3 to Together AI, and wait for it.

    Returns ``model``, ``source``, ``id``, ``status``, ``reference`` and ``url``; each is an XCom of its own too.

    :param model_name: name that it gets. (templated)
    :param model_source: Hugging Face repository, or signed S3 address of an archive. (templated)
    :param model_type: ``model``, the default, or ``adapter``. (templated)
    :param hf_token: token for a private repository. Give it as ``"{{ var.value.hf_token }}"``; Airflow hides it.
        (templated)
    :param description: text for people. (templated)
    :param base_model: for adapters: the model that it runs on, if that is serverless. (templated)
    :param lora_model: for adapters: the pool that it runs on, if that is dedicated. (templated)

    It also takes what :class:`~airflow_provider.operators.base.TogetherJobOperator` takes.
    """

    kind = "model_upload"
    template_fields: Sequence[str] = (*_ARGUMENTS, *TogetherJobOperator.template_fields)
    hf_token = SecretField()

    def __init__(
        self,
        *,
        model_name: str,
        model_source: str,
        model_type: str | None = None,
        hf_token: str | None = None,
        description: str | None = None,
        base_model: str | None = None,
        lora_model: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.model_source = model_source
        self.model_type = model_type
        self.hf_token = hf_token
        self.description = description
        self.base_model = base_model
        self.lora_model = lora_model

    def job_specs(self, context: Context) -> Sequence[Spec]:
        """The arguments that were given."""
        return [given(self, _ARGUMENTS)]
