"""What a fine-tuning job trains, and how: the nested arguments of `fine_tunes.create`.

Bounds that no docstring gives a source for are those that the official client checks.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from together_flows.api._model import Request

__all__ = [
    "CosineArgs",
    "CosineScheduler",
    "DpoMethod",
    "FullTraining",
    "LinearArgs",
    "LinearScheduler",
    "LoraTraining",
    "LrScheduler",
    "MultimodalParams",
    "SftMethod",
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

    min_lr_ratio: Ratio | None = None


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
