"""What a fine-tuning job trains, and how: its nested arguments and its answers.

Bounds that no docstring gives a source for are those that the official client checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from together_flows.api._model import Answer, Request, Rows, Time

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
    "LrScheduler",
    "Metrics",
    "ModelLimits",
    "MultimodalParams",
    "PriceEstimate",
    "Progress",
    "SftMethod",
    "SupportedModels",
    "TrainingLimits",
    "TrainingMethod",
    "TrainingType",
]

Ratio = Annotated[float, Field(ge=0, le=1)]


class FullTraining(Request):
    """Train all weights."""

    type: Literal["Full"] = "Full"


class LoraTraining(Request):
    """Train a low-rank adapter.

    Attributes:
        lora_r: rank; the model's limits give the highest (`fine_tunes.model_limits`).
        lora_alpha: scale; twice the rank unless given.
        lora_dropout: share of the adapter's inputs that is dropped, from 0 to below 1.
        lora_trainable_modules: modules to adapt, separated by commas, or `all-linear`, the API's default.
    """

    type: Literal["Lora"] = "Lora"
    lora_r: Annotated[int, Field(ge=1)]
    lora_alpha: Annotated[int, Field(ge=1)] | None = None
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    lora_trainable_modules: str | None = None

    @model_validator(mode="after")
    def _default_alpha(self) -> Self:
        if self.lora_alpha is None:
            self.lora_alpha = 2 * self.lora_r
        return self


TrainingType = Annotated[LoraTraining | FullTraining, Field(discriminator="type")]

_DPO_ONLY = ("dpo_beta", "rpo_alpha", "simpo_gamma", "dpo_normalize_logratios_by_length", "dpo_reference_free")


class SftMethod(Request):
    """Supervised fine-tuning on the answers of the dataset.

    Attributes:
        train_on_inputs: whether prompts count towards the loss too; `"auto"` decides by the dataset's format.
    """

    method: Literal["sft"] = "sft"
    train_on_inputs: bool | Literal["auto"] = "auto"

    @model_validator(mode="before")
    @classmethod
    def _no_preference_arguments(cls, data: Any) -> Any:
        if isinstance(data, dict) and (foreign := [name for name in _DPO_ONLY if data.get(name) is not None]):
            raise ValueError(f"takes no {', '.join(foreign)}, which belong to the method 'dpo'")
        return data


class DpoMethod(Request):
    """Direct preference optimisation on pairs of a preferred and a non-preferred answer.

    Attributes:
        dpo_beta: how strongly the model is held near its reference; 0.1 unless given.
        rpo_alpha: weight of the likelihood of the preferred answer, at least 0.
        dpo_normalize_logratios_by_length: divide the log ratios by the length of the answer.
        dpo_reference_free: do without the reference model.
        simpo_gamma: margin of SimPO, at least 0. Above 0 it implies the two switches before it, which are then set.
    """

    method: Literal["dpo"] = "dpo"
    dpo_beta: float | None = None
    rpo_alpha: Annotated[float, Field(ge=0)] | None = None
    dpo_normalize_logratios_by_length: bool | None = None
    dpo_reference_free: bool | None = None
    simpo_gamma: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.model_extra or {}).get("train_on_inputs") is not None:
            raise ValueError("takes no train_on_inputs, which belongs to the method 'sft'")
        if self.simpo_gamma:
            self._imply_simpo()
        return self

    def _imply_simpo(self) -> None:
        if self.dpo_reference_free is False or self.dpo_normalize_logratios_by_length is False:
            raise ValueError("with simpo_gamma needs dpo_reference_free and dpo_normalize_logratios_by_length")
        self.dpo_reference_free = self.dpo_normalize_logratios_by_length = True


TrainingMethod = Annotated[SftMethod | DpoMethod, Field(discriminator="method")]


class LinearArgs(Request):
    """A learning rate that falls in a line to `min_lr_ratio` (0 to 1) of its peak."""

    min_lr_ratio: Ratio = 0.0


class CosineArgs(Request):
    """A learning rate that swings down to `min_lr_ratio` (0 to 1) of its peak in `num_cycles` (above 0) cycles."""

    min_lr_ratio: Ratio = 0.0
    num_cycles: Annotated[float, Field(gt=0)] = 0.5


class LinearScheduler(Request):
    """Lower the learning rate in a line."""

    lr_scheduler_type: Literal["linear"] = "linear"
    lr_scheduler_args: LinearArgs | None = None


class CosineScheduler(Request):
    """Lower the learning rate along a cosine."""

    lr_scheduler_type: Literal["cosine"] = "cosine"
    lr_scheduler_args: CosineArgs | None = None


LrScheduler = Annotated[LinearScheduler | CosineScheduler, Field(discriminator="lr_scheduler_type")]


class MultimodalParams(Request):
    """For models that see: whether to train the vision encoder too."""

    train_vision: bool | None = None


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
