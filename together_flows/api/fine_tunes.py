"""Fine-tuning jobs: train a model on a dataset, watch it, and find out what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from together_flows.api._model import Answer, Nested, Rows, Secret, Time
from together_flows.api._operation import operation
from together_flows.api._training import (
    CosineArgs,
    CosineScheduler,
    DpoMethod,
    FullTraining,
    LinearArgs,
    LinearScheduler,
    LoraTraining,
    LrScheduler,
    MultimodalParams,
    Ratio,
    SftMethod,
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

NANODOLLARS_PER_DOLLAR = 1_000_000_000


class Event(Answer):
    """Something that happened to a job.

    Attributes:
        type: such as `job_start`, `training_data_downloading`, `epoch_complete`, `checkpoint_save`, `model_uploading`,
            `job_complete` or `job_error`; new ones appear.
        level: `info`, `warning`, `error`, one of their `legacy_` forms, or none.
    """

    type: str = ""
    message: str = ""
    created_at: Time = None
    level: str | None = None
    step: int | None = None
    total_steps: int | None = None
    token_count: int | None = None
    param_count: int | None = None
    checkpoint_path: str = ""
    model_path: str = ""
    wandb_url: str = ""
    training_offset: int | None = None
    hash: str = ""


class EventList(Answer):
    """The events of a job."""

    data: Rows[Event]


class Progress(Answer):
    """How far a job is: the seconds until its next state, when there is an estimate."""

    estimate_available: bool = False
    seconds_remaining: int | None = None


class FineTune(Answer):
    """A fine-tuning job. Rows of `list` and the answers of `create` and `cancel` carry fewer fields than `retrieve`.

    Attributes:
        id: `ft-…`.
        status: pending, queued, running, compressing, uploading and cancel_requested go on; completed succeeded;
            error, user_error and cancelled did not. Any other word means that the job goes on.
        model_output_name: name of the trained model, for inference.
        suffix: as given to `create`; missing from `retrieve`.
        wandb_name: as given to `create`; missing from `retrieve`.
        total_price: cost in billionths of a US dollar; `price` has it in dollars.
        training_type: `{"type": "Full"}` or `{"type": "Lora", …}`.
        training_method: `{"method": "sft", …}` or `{"method": "dpo", …}`.
        model_object_id: the trained model in the registry of dedicated endpoints; missing when it is not there.
        adapter_object_id: the adapter there, for LoRA jobs.
    """

    id: str
    status: str
    created_at: Time = None
    updated_at: Time = None
    started_at: Time = None
    job_id: str | None = None
    user_id: str | None = None
    owner_address: str | None = None
    model: str | None = None
    model_output_name: str | None = None
    model_output_path: str | None = None
    suffix: str | None = None
    training_file: str | None = None
    validation_file: str | None = None
    trainingfile_numlines: int | None = None
    trainingfile_size: int | None = None
    training_type: dict[str, Any] | None = None
    training_method: dict[str, Any] | None = None
    multimodal_params: dict[str, Any] | None = None
    packing: bool | None = None
    n_epochs: int | None = None
    n_checkpoints: int | None = None
    n_evals: int | None = None
    eval_steps: int | None = None
    epochs_completed: int | None = None
    batch_size: int | str | None = None
    learning_rate: float | None = None
    lr_scheduler: dict[str, Any] | None = None
    warmup_ratio: float | None = None
    max_grad_norm: float | None = None
    weight_decay: float | None = None
    random_seed: int | None = None
    train_on_inputs: bool | str | None = None
    token_count: int | None = None
    param_count: int | None = None
    total_price: int | None = None
    queue_depth: int | None = None
    progress: Progress | None = None
    events: Sequence[Event] = ()
    wandb_project_name: str | None = None
    wandb_name: str | None = None
    wandb_url: str | None = None
    from_checkpoint: str | None = None
    from_hf_model: str | None = None
    hf_model_revision: str | None = None
    model_object_id: str | None = None
    model_object_name: str | None = None
    model_object_revision_id: str | None = None
    adapter_object_id: str | None = None
    adapter_object_name: str | None = None
    adapter_revision_id: str | None = None

    @property
    def price(self) -> float | None:
        """What the job costs, in US dollars; `None` while that is not known."""
        return self.total_price / NANODOLLARS_PER_DOLLAR if isinstance(self.total_price, int) else None


class FineTuneList(Answer):
    """All jobs of the account; the API does not page them."""

    data: Rows[FineTune]


class FineTuneDeleted(Answer):
    """The answer to a deletion: what the API says of it."""

    message: str = ""


class Checkpoint(Answer):
    """A saved state of the training.

    Attributes:
        path: where it lies.
        checkpoint_type: a label for people, such as "Intermediate Merged".
    """

    step: int | None = None
    created_at: Time = None
    path: str = ""
    checkpoint_type: str = ""


class CheckpointList(Answer):
    """The checkpoints of a job."""

    data: Rows[Checkpoint]


class PriceEstimate(Answer):
    """What a job would cost.

    Attributes:
        estimated_total_price: US dollars.
        allowed_to_proceed: whether the account's credit covers it.
        user_limit: the account's credit limit, in US dollars.
        estimated_train_token_count: tokens to train on, over all epochs.
        estimated_eval_token_count: tokens to evaluate on.
        estimation_available: false when no estimate can be made; `unavailable_reason` says why.
        unavailable_reason: such as `train_file_not_validated` or `multimodal_dataset`.
    """

    estimated_total_price: float | None = None
    allowed_to_proceed: bool | None = None
    user_limit: float | None = None
    estimated_train_token_count: float | None = None
    estimated_eval_token_count: float | None = None
    estimation_available: bool = True
    unavailable_reason: str | None = None


class SupportedModels(Answer):
    """The names of the models that can be fine-tuned."""

    models: Rows[str]


class TrainingLimits(Answer):
    """Bounds of one way of training. The last two are for LoRA alone."""

    min_batch_size: int | None = None
    max_batch_size: int | None = None
    max_batch_size_dpo: int | None = None
    max_rank: int | None = None
    target_modules: Sequence[str] = ()


class ModelLimits(Answer):
    """What the fine-tuning of a model allows. A way of training that is not offered is `None`."""

    model_name: str
    full_training: TrainingLimits | None = None
    lora_training: TrainingLimits | None = None
    max_num_epochs: int | None = None
    max_num_evals: int | None = None
    min_learning_rate: float | None = None
    max_learning_rate: float | None = None
    supports_vision: bool | None = None
    supports_tools: bool | None = None
    supports_reasoning: bool | None = None
    merge_output_lora: bool | None = None


class Metrics(Answer):
    """Measurements of a training run: flat maps such as `{"train/loss": 1.2, …}` and `{"eval/loss": 1.3, …}`."""

    metrics: Rows[Mapping[str, float | None]]


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
    training_file: str,
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
        wandb_api_key: key for Weights & Biases. No repr or error shows it.
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
    training_file: str,
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
def model_limits(*, model_name: str) -> ModelLimits:
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
