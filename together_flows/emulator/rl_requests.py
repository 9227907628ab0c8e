"""Requests of reinforcement learning. Whole numbers of 64 bits come as numbers or as text, as JSON has it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from together_flows.emulator.policy import AdamW
from together_flows.emulator.refusals import Refusal

__all__ = [
    "ForwardBackwardRequest",
    "Grpo",
    "GrpoInputs",
    "OptimStepRequest",
    "SampleRequest",
    "SamplingParams",
    "SessionRequest",
    "TrainingSample",
    "whole_numbers",
]

Long = int | str
Dtype = Literal["D_TYPE_UNSPECIFIED", "D_TYPE_INT64", "D_TYPE_FLOAT32", "D_TYPE_BFLOAT16"]


class Lora(msgspec.Struct, kw_only=True):
    """The adapter; the defaults are the API's."""

    rank: Long = 8
    alpha: Long = 16
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.05


class SessionRequest(msgspec.Struct, kw_only=True):
    """The body that creates a session."""

    base_model: str
    resume_from_checkpoint_id: str = ""
    lora_config: Lora = msgspec.field(default_factory=Lora)


class EncodedText(msgspec.Struct):
    tokens: list[Long]


class Chunk(msgspec.Struct):
    encoded_text: EncodedText = msgspec.field(default_factory=lambda: EncodedText([]))


class ModelInput(msgspec.Struct):
    """Token ids in pieces."""

    chunks: list[Chunk]

    def tokens(self) -> list[int]:
        """All of it."""
        return whole_numbers([token for chunk in self.chunks for token in chunk.encoded_text.tokens])


class Integers(msgspec.Struct):
    data: list[Long]
    dtype: Dtype = "D_TYPE_UNSPECIFIED"


class Floats(msgspec.Struct):
    data: list[float]
    dtype: Dtype = "D_TYPE_UNSPECIFIED"


class GrpoInputs(msgspec.Struct, kw_only=True):
    """What GRPO needs to know of each token."""

    advantages: Floats
    generator_logprobs: Floats
    reference_logprobs: Floats | None = None


class LossInputs(msgspec.Struct, kw_only=True):
    target_tokens: Integers
    loss_mask: Integers | None = None
    grpo_inputs: GrpoInputs | None = None


class TrainingSample(msgspec.Struct):
    """What to learn from: for each token of the input, the token that should follow it."""

    model_input: ModelInput
    loss_inputs: LossInputs


class Grpo(msgspec.Struct, kw_only=True):
    """Settings of GRPO; the defaults are the API's."""

    clip_low: float = 0.2
    clip_high: float = 0.28
    beta: float = 0.0
    agg_type: Literal[
        "GRPO_LOSS_AGGREGATION_TYPE_UNSPECIFIED",
        "GRPO_LOSS_AGGREGATION_TYPE_FIXED_HORIZON",
        "GRPO_LOSS_AGGREGATION_TYPE_TOKEN_MEAN",
        "GRPO_LOSS_AGGREGATION_TYPE_SEQUENCE_MEAN",
    ] = "GRPO_LOSS_AGGREGATION_TYPE_FIXED_HORIZON"


class Loss(msgspec.Struct, kw_only=True):
    type: Literal["LOSS_TYPE_CROSS_ENTROPY", "LOSS_TYPE_GRPO"]
    grpo_params: Grpo = msgspec.field(default_factory=Grpo)


class ForwardBackwardRequest(msgspec.Struct):
    """The body of a pass over samples."""

    samples: Annotated[list[TrainingSample], msgspec.Meta(min_length=1)]
    loss: Loss


class OptimStepRequest(msgspec.Struct, kw_only=True):
    """The body of a step of the optimiser."""

    learning_rate: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0001
    adamw_params: AdamW = msgspec.field(default_factory=AdamW)


class SamplingParams(msgspec.Struct, kw_only=True):
    """How to sample; the defaults are the API's."""

    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 100
    temperature: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    top_k: int = -1
    stop: list[str] = []
    seed: Long | None = None


class SampleRequest(msgspec.Struct, kw_only=True):
    """The body of a sampling."""

    prompts: Annotated[list[ModelInput], msgspec.Meta(min_length=1)]
    sampling_params: SamplingParams = msgspec.field(default_factory=SamplingParams)
    num_samples: Long = 1


def whole_numbers(values: list[Long]) -> list[int]:
    """The numbers that numbers and texts stand for.

    Raises:
        Refusal: 400, a text is no number.
    """
    try:
        return [int(value) for value in values]
    except ValueError as error:
        raise Refusal(400, f"Expected whole numbers: {error}") from None
