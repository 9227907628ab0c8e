"""Fine-tuning jobs: train a model on a dataset, watch it, and find out what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from together_flows.api._model import Name, Nested, Secret
from together_flows.api._operation import operation
from together_flows.api._training import (
    Checkpoint,
    CheckpointList,
    CosineArgs,
    CosineScheduler,
    DpoMethod,
    Event,
    EventList,
    FineTune,
    FineTuneDeleted,
    FineTuneList,
    FullTraining,
    LinearArgs,
    LinearScheduler,
    LoraTraining,
    LrScheduler,
    Metrics,
    ModelLimits,
    MultimodalParams,
    PriceEstimate,
    Progress,
    Ratio,
    SftMethod,
    SupportedModels,
    TrainingLimits,
    TrainingMethod,
    TrainingType,
)

__all__ = [
    "Checkpoint",
    "CheckpointList",
    "CosineArgs",
    "CosineScheduler",
    "DpoMethod",
    "Event",
    "EventList",
    "FineTune",
    "FineTuneDeleted",
    "FineTuneList",
    "FullTraining",
    "LinearArgs",
    "LinearScheduler",
    "LoraTraining",
    "Metrics",
    "ModelLimits",
    "MultimodalParams",
    "PriceEstimate",
    "Progress",
    "SftMethod",
    "SupportedModels",
    "TrainingLimits",
    "cancel",
    "create",
    "delete",
    "estimate_price",
    "list",
    "list_checkpoints",
    "list_events",
    "list_supported_models",
    "metrics",
    "model_limits",
    "retrieve",
]


def _check_start(given: Any) -> Iterator[str]:
    if given.model is None and given.from_checkpoint is None:
        yield "model is required, unless the job continues from_checkpoint"
    if given.from_checkpoint is not None and given.from_hf_model is not None:
        yield "from_checkpoint and from_hf_model exclude each other"
    if given.from_hf_model is not None and given.model is None:
        yield "from_hf_model needs model, the base model that it resembles"


def _check_job(given: Any) -> Iterator[str]:
    yield from _check_start(given)
    if given.train_on_inputs is not None and isinstance(given.training_method, DpoMethod):
        yield "train_on_inputs belongs to the training method 'sft', not to 'dpo'"


@operation("POST", "/fine-tunes", check=_check_job)
def create(
    *,
    training_file: Name,
    model: str | None = None,
    validation_file: str | None = None,
    packing: bool | None = None,
    n_epochs: Annotated[int, Field(ge=1)] | None = None,
    n_checkpoints: Annotated[int, Field(ge=0)] | None = None,
    n_evals: Annotated[int, Field(ge=0)] | None = None,
    batch_size: Annotated[int, Field(ge=1)] | Literal["max"] | None = None,
    learning_rate: Annotated[float, Field(gt=0)] | None = None,
    lr_scheduler: Nested[LrScheduler] | None = None,
    warmup_ratio: Ratio | None = None,
    max_grad_norm: Annotated[float, Field(ge=0)] | None = None,
    weight_decay: Annotated[float, Field(ge=0)] | None = None,
    random_seed: int | None = None,
    suffix: Annotated[str, Field(max_length=40)] | None = None,
    wandb_api_key: Secret | None = None,
    wandb_base_url: str | None = None,
    wandb_project_name: str | None = None,
    wandb_name: str | None = None,
    wandb_entity: str | None = None,
    train_on_inputs: bool | Literal["auto"] | None = None,
    training_method: Nested[TrainingMethod] | None = None,
    training_type: Nested[TrainingType] | None = None,
    multimodal_params: Nested[MultimodalParams] | None = None,
    from_checkpoint: str | None = None,
    from_hf_model: str | None = None,
    hf_model_revision: str | None = None,
    hf_api_token: Secret | None = None,
    hf_output_repo_name: str | None = None,
) -> FineTune:
    """Start a fine-tuning job. It is billed; `estimate_price` tells how much before.

    Args:
        training_file: id of a file uploaded for fine-tuning.
        model: base model. It may be left out when the job continues `from_checkpoint`.
        validation_file: id of the file to evaluate on.
        packing: pack short samples into one sequence; the API's default.
        n_epochs: passes over the dataset, 1 unless given; `model_limits` gives the most.
        n_checkpoints: checkpoints to save on the way, 1 unless given.
        n_evals: evaluations on the validation file, 0 unless given.
        batch_size: samples a step, or `"max"`, the API's default; `model_limits` gives the bounds.
        learning_rate: peak learning rate, 1e-5 unless given.
        lr_scheduler: how the learning rate falls.
        warmup_ratio: share of the steps, 0 to 1, in which it rises (bounds: official client).
        max_grad_norm: gradients are clipped to this norm, 1 unless given; 0 switches that off.
        weight_decay: regularisation, at least 0.
        random_seed: the same seed gives the same run.
        suffix: added to the name of the output model; at most 40 characters (official client).
        wandb_api_key: key for Weights & Biases. No repr or error shows it. It is sent under the contract's name; the
            official clients call it `wandb_key`.
        wandb_base_url: address of a Weights & Biases server of one's own.
        wandb_project_name: project there, `together` unless given.
        wandb_name: name of the run there.
        wandb_entity: team or user there.
        train_on_inputs: deprecated by the API; give it to `SftMethod`.
        training_method: `SftMethod` or `DpoMethod`.
        training_type: `LoraTraining` or `FullTraining`. Left out, the API takes LoRA, or the type of the checkpoint.
        multimodal_params: for models that see.
        from_checkpoint: job id or name of an output model to continue, with `:step` for an earlier checkpoint.
        from_hf_model: Hugging Face repository to start from; near `model` in shape and size.
        hf_model_revision: branch or commit there, `main` unless given.
        hf_api_token: token for Hugging Face. No repr or error shows it.
        hf_output_repo_name: Hugging Face repository that the result is pushed to.

    Returns:
        The job, `pending`.

    Raises:
        ArgumentInvalid: an argument is of the wrong type, out of its bounds, or does not go with another.
        BadRequest: the API refuses the file, the model or a value.
        PaymentRequired: the account's balance does not cover the job.
    """


@operation("GET", "/fine-tunes")
def list() -> FineTuneList:
    """List the account's fine-tuning jobs with their statuses. One call shows them all."""


@operation("POST", "/fine-tunes/estimate-price", repeatable=True)
def estimate_price(
    *,
    training_file: Name,
    validation_file: str | None = None,
    model: str | None = None,
    n_epochs: Annotated[int, Field(ge=1)] | None = None,
    n_evals: Annotated[int, Field(ge=0)] | None = None,
    training_method: Nested[TrainingMethod] | None = None,
    training_type: Nested[TrainingType] | None = None,
    from_checkpoint: str | None = None,
) -> PriceEstimate:
    """Estimate what a job would cost, without starting it. The files' checks must be over.

    Args:
        training_file: id of a file uploaded for fine-tuning.
        validation_file: id of the file to evaluate on.
        model: base model.
        n_epochs: passes over the dataset, 1 unless given.
        n_evals: evaluations, 0 unless given.
        training_method: `SftMethod` or `DpoMethod`.
        training_type: `LoraTraining` or `FullTraining`.
        from_checkpoint: checkpoint that the job would continue.
    """


@operation("GET", "/fine-tunes/{id}")
def retrieve(id: str, /) -> FineTune:
    """Read one job in full."""


@operation("DELETE", "/fine-tunes/{id}")
def delete(id: str, /, *, force: bool | None = None) -> FineTuneDeleted:
    """Delete a job with its output.

    Args:
        id: `ft-…`.
        force: without effect; the API keeps it for old callers.
    """


@operation("GET", "/fine-tunes/{id}/events")
def list_events(id: str, /) -> EventList:
    """List what happened to a job."""


@operation("GET", "/fine-tunes/{id}/checkpoints")
def list_checkpoints(id: str, /) -> CheckpointList:
    """List the checkpoints that a job saved."""


@operation("POST", "/fine-tunes/{id}/cancel", repeatable=True)
def cancel(id: str, /) -> FineTune:
    """Ask for a job's end. It is `cancel_requested` until it is `cancelled`; steps already made are billed."""


@operation("GET", "/fine-tunes/models/supported")
def list_supported_models() -> SupportedModels:
    """List the models that can be fine-tuned."""


@operation("GET", "/fine-tunes/models/limits")
def model_limits(*, model_name: Name) -> ModelLimits:
    """Read the bounds for fine-tuning a model.

    Args:
        model_name: a name out of `list_supported_models`.

    Raises:
        NotFound: the model cannot be fine-tuned.
    """


@operation("GET", "/fine-tunes/{id}/metrics")
def metrics(
    id: str,
    /,
    *,
    global_step_from: int | None = None,
    global_step_to: int | None = None,
    logged_at_from: datetime | None = None,
    logged_at_to: datetime | None = None,
    resolution: Annotated[int, Field(ge=1)] | None = None,
) -> Metrics:
    """Read a job's training and evaluation measurements.

    Args:
        id: `ft-…`.
        global_step_from: the first step of interest.
        global_step_to: the last one.
        logged_at_from: the earliest time of interest.
        logged_at_to: the latest one.
        resolution: how many measurements to answer, evenly sampled.
    """
