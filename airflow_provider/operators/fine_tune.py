"""Operators for fine-tuning: train a model, and download what was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider.failures import raise_for_airflow
from airflow_provider.hidden import SecretField
from airflow_provider.hooks.together import TogetherHook
from airflow_provider.operators.base import TogetherJobOperator, given
from airflow_provider.storage import download
from together_flows.errors import TogetherError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from together_flows.jobs import PriceEstimate
    from together_flows.jobs.model import Spec
    from together_flows.jobs.steps import Steps

__all__ = ["TogetherDownloadModelOperator", "TogetherFineTuneOperator"]

_ARGUMENTS = (
    "training_file",
    "model",
    "validation_file",
    "n_epochs",
    "n_checkpoints",
    "n_evals",
    "batch_size",
    "learning_rate",
    "lr_scheduler",
    "warmup_ratio",
    "max_grad_norm",
    "weight_decay",
    "random_seed",
    "suffix",
    "packing",
    "train_on_inputs",
    "training_method",
    "training_type",
    "multimodal_params",
    "from_checkpoint",
    "from_hf_model",
    "hf_model_revision",
    "hf_api_token",
    "hf_output_repo_name",
    "wandb_api_key",
    "wandb_base_url",
    "wandb_project_name",
    "wandb_name",
    "wandb_entity",
)


class TogetherFineTuneOperator(TogetherJobOperator):
    """
    Train a model on Together AI, once, and wait for it.

    The price is asked for first and logged; above ``budget`` nothing is submitted. The job's own events appear in the
    task's log as they come, also while the task is deferred.

    Returns ``model`` (the name of the trained model), ``id``, ``base_model``, ``training_file``, ``epochs``,
    ``tokens``, ``price_usd``, ``estimated_price_usd``, ``reference`` and ``url``; each is an XCom of its own too.

    The arguments are the API's own; an argument that is ``None`` is left to the API.

    :param training_file: id of an uploaded file. (templated)
    :param model: base model. (templated)
    :param validation_file: id of an uploaded file that the model is tried on while it learns. (templated)
    :param n_epochs: passes over the training file. (templated)
    :param n_checkpoints: checkpoints to keep. (templated)
    :param n_evals: trials on the validation file. (templated)
    :param batch_size: rows at a time, or ``"max"``. (templated)
    :param learning_rate: how fast it learns. (templated)
    :param lr_scheduler: how that changes, such as ``{"lr_scheduler_type": "cosine"}``. (templated)
    :param warmup_ratio: share of the steps in which it starts up, 0 to 1. (templated)
    :param max_grad_norm: bound of the gradient. (templated)
    :param weight_decay: strength of the decay. (templated)
    :param random_seed: makes runs alike. (templated)
    :param suffix: end of the trained model's name. A part of its 40 characters is needed for the marker by which a
        lost job is found again, so that 27 are yours. (templated)
    :param packing: put several rows into one sequence.
    :param train_on_inputs: learn from the prompts too; ``"auto"`` by default.
    :param training_method: such as ``{"method": "dpo", "dpo_beta": 0.1}``. (templated)
    :param training_type: such as ``{"type": "Lora", "lora_r": 16}``. (templated)
    :param multimodal_params: for models that see images. (templated)
    :param from_checkpoint: go on from another job's checkpoint. (templated)
    :param from_hf_model: a Hugging Face repository to start from. (templated)
    :param hf_model_revision: its revision. (templated)
    :param hf_api_token: token for it. Give it as ``"{{ var.value.hf_token }}"``; Airflow hides it. (templated)
    :param hf_output_repo_name: Hugging Face repository for the result. (templated)
    :param wandb_api_key: key for Weights & Biases. Give it as ``"{{ var.value.wandb_api_key }}"``. (templated)
    :param wandb_base_url: address of a server of your own. (templated)
    :param wandb_project_name: its project. (templated)
    :param wandb_name: its run. (templated)
    :param wandb_entity: its team. (templated)

    It also takes what :class:`~airflow_provider.operators.base.TogetherJobOperator` takes.
    """

    kind = "fine_tune"
    template_fields: Sequence[str] = (
        *(name for name in _ARGUMENTS if name not in ("packing", "train_on_inputs")),
        *TogetherJobOperator.template_fields,
    )
    template_fields_renderers = {  # noqa: RUF012 - Airflow declares it so
        "lr_scheduler": "json",
        "training_method": "json",
        "training_type": "json",
        "multimodal_params": "json",
    }
    hf_api_token = SecretField()
    wandb_api_key = SecretField()

    def __init__(
        self,
        *,
        training_file: str,
        model: str | None = None,
        validation_file: str | None = None,
        n_epochs: int | str | None = None,
        n_checkpoints: int | str | None = None,
        n_evals: int | str | None = None,
        batch_size: int | str | None = None,
        learning_rate: float | str | None = None,
        lr_scheduler: Mapping[str, Any] | None = None,
        warmup_ratio: float | str | None = None,
        max_grad_norm: float | str | None = None,
        weight_decay: float | str | None = None,
        random_seed: int | str | None = None,
        suffix: str | None = None,
        packing: bool | None = None,
        train_on_inputs: bool | str | None = None,
        training_method: Mapping[str, Any] | None = None,
        training_type: Mapping[str, Any] | None = None,
        multimodal_params: Mapping[str, Any] | None = None,
        from_checkpoint: str | None = None,
        from_hf_model: str | None = None,
        hf_model_revision: str | None = None,
        hf_api_token: str | None = None,
        hf_output_repo_name: str | None = None,
        wandb_api_key: str | None = None,
        wandb_base_url: str | None = None,
        wandb_project_name: str | None = None,
        wandb_name: str | None = None,
        wandb_entity: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.training_file = training_file
        self.model = model
        self.validation_file = validation_file
        self.n_epochs = n_epochs
        self.n_checkpoints = n_checkpoints
        self.n_evals = n_evals
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.lr_scheduler = lr_scheduler
        self.warmup_ratio = warmup_ratio
        self.max_grad_norm = max_grad_norm
        self.weight_decay = weight_decay
        self.random_seed = random_seed
        self.suffix = suffix
        self.packing = packing
        self.train_on_inputs = train_on_inputs
        self.training_method = training_method
        self.training_type = training_type
        self.multimodal_params = multimodal_params
        self.from_checkpoint = from_checkpoint
        self.from_hf_model = from_hf_model
        self.hf_model_revision = hf_model_revision
        self.hf_api_token = hf_api_token
        self.hf_output_repo_name = hf_output_repo_name
        self.wandb_api_key = wandb_api_key
        self.wandb_base_url = wandb_base_url
        self.wandb_project_name = wandb_project_name
        self.wandb_name = wandb_name
        self.wandb_entity = wandb_entity

    def job_specs(self, context: Context) -> Sequence[Spec]:
        """The arguments that were given."""
        return [given(self, _ARGUMENTS)]

    def price(self, spec: Spec) -> Steps[PriceEstimate]:
        """What the API estimates."""
        from together_flows.jobs.pricing import fine_tune_price

        return fine_tune_price(spec)


class TogetherDownloadModelOperator(BaseOperator):
    """
    Download a trained model, or one of its checkpoints, as an archive.

    Returns ``path`` and ``bytes``.

    :param ft_id: the fine-tuning job. (templated)
    :param output_path: where the archive goes: a path as the worker sees it, or a URL that ``ObjectStoragePath``
        understands. A folder ends in a slash; the archive is then called after the job. (templated)
    :param checkpoint: ``merged`` or ``adapter`` for a LoRA job, ``model_output_path`` for a full one. (templated)
    :param checkpoint_step: a checkpoint's step; ``checkpoint`` then does not count. (templated)
    :param together_conn_id: id of the Airflow connection. (templated)
    """

    template_fields: Sequence[str] = ("ft_id", "output_path", "checkpoint", "checkpoint_step", "together_conn_id")
    ui_color = "#e8ebf9"

    def __init__(
        self,
        *,
        ft_id: str,
        output_path: str,
        checkpoint: str | None = "merged",
        checkpoint_step: int | str | None = None,
        together_conn_id: str = TogetherHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)
        self.ft_id = ft_id
        self.output_path = output_path
        self.checkpoint = checkpoint
        self.checkpoint_step = checkpoint_step
        self.together_conn_id = together_conn_id

    @cached_property
    def hook(self) -> TogetherHook:
        """The hook of the operator's connection."""
        return TogetherHook(self.together_conn_id)

    def execute(self, context: Context) -> dict[str, Any]:
        """Download the archive; a broken connection is resumed where it broke."""
        from together_flows.api import finetune

        try:
            wanted = finetune.download(**given(self, ("ft_id", "checkpoint", "checkpoint_step")))
            return download(self.hook.client, wanted, self.output_path, archive=self.ft_id)
        except TogetherError as error:
            raise_for_airflow(error)
