"""Reinforcement learning: what samples, losses and prompts are made of, and what sessions and operations answer.

Token ids and steps are integers of 64 bits, which the API writes as numbers or as text. The bounds are those of the
parameters' meaning: a share is between 0 and 1, a rate of decay below 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from together_flows.api._model import Answer, Request, Rows, Time

__all__ = [
    "AdamWParams",
    "AdapterConfig",
    "CheckpointFile",
    "CheckpointFiles",
    "CrossEntropyParams",
    "EncodedText",
    "Floats",
    "ForwardBackward",
    "ForwardBackwardOutput",
    "GrpoInputs",
    "GrpoParams",
    "InferenceCheckpoint",
    "InferenceCheckpointOutput",
    "InferenceCheckpointSave",
    "InputChunk",
    "Integers",
    "LoraConfig",
    "LossConfig",
    "LossInputs",
    "ModelInput",
    "OperationFailure",
    "OptimStep",
    "OptimStepOutput",
    "Page",
    "Registration",
    "Rollout",
    "Sample",
    "SampleOutput",
    "SamplingParams",
    "Sequenced",
    "TrainingCheckpoint",
    "TrainingCheckpointOutput",
    "TrainingCheckpointSave",
    "TrainingSample",
    "TrainingSession",
    "TrainingSessionList",
]

LongInteger = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
NotNegative = Annotated[float, Field(ge=0)]

DType = Literal["D_TYPE_INT64", "D_TYPE_FLOAT32", "D_TYPE_BFLOAT16"] | str


class LoraConfig(Request):
    """The adapter to train: rank (8 unless given), alpha (16) and dropout (0.05)."""

    rank: Annotated[int, Field(ge=1)] | None = None
    alpha: Annotated[int, Field(ge=1)] | None = None
    dropout: BelowOne | None = None


class EncodedText(Request):
    """Text as token ids."""

    tokens: Sequence[LongInteger]


class InputChunk(Request):
    """A piece of a model's input."""

    encoded_text: EncodedText | None = None


class ModelInput(Request):
    """A model's input, in pieces."""

    chunks: Sequence[InputChunk]


class Integers(Request):
    """A list of whole numbers of 64 bits, one for each token."""

    data: Sequence[LongInteger]
    dtype: DType | None = None


class Floats(Request):
    """A list of numbers, one for each token."""

    data: Sequence[float]
    dtype: DType | None = None


class GrpoInputs(Request):
    """What GRPO needs for each token: advantages, and the log probabilities of the generator and of the reference."""

    advantages: Floats
    generator_logprobs: Floats
    reference_logprobs: Floats | None = None


class LossInputs(Request):
    """What the loss is computed from: the target tokens, which of them count (1) or not (0), and GRPO's own."""

    target_tokens: Integers
    loss_mask: Integers | None = None
    grpo_inputs: GrpoInputs | None = None


class TrainingSample(Request):
    """A sample to train on."""

    model_input: ModelInput
    loss_inputs: LossInputs


class CrossEntropyParams(Request):
    """Cross entropy has no parameters so far."""


class GrpoParams(Request):
    """Parameters of GRPO.

    Attributes:
        clip_low: lower bound of the importance ratio, 0.2 unless given.
        clip_high: upper bound, 0.28 unless given.
        beta: weight of the KL penalty, 0 unless given.
        agg_type: `GRPO_LOSS_AGGREGATION_TYPE_` and `FIXED_HORIZON`, `TOKEN_MEAN` or `SEQUENCE_MEAN`.
    """

    clip_low: NotNegative | None = None
    clip_high: NotNegative | None = None
    beta: NotNegative | None = None
    agg_type: (
        Literal[
            "GRPO_LOSS_AGGREGATION_TYPE_FIXED_HORIZON",
            "GRPO_LOSS_AGGREGATION_TYPE_TOKEN_MEAN",
            "GRPO_LOSS_AGGREGATION_TYPE_SEQUENCE_MEAN",
        ]
        | str
        | None
    ) = None


class LossConfig(Request):
    """The loss, with its parameters."""

    type: Literal["LOSS_TYPE_CROSS_ENTROPY", "LOSS_TYPE_GRPO"] | str
    cross_entropy_params: CrossEntropyParams | None = None
    grpo_params: GrpoParams | None = None


class AdamWParams(Request):
    """Parameters of the optimizer: beta1 (0.9 unless given), beta2 (0.95), eps (1e-8) and weight_decay (0.1)."""

    beta1: BelowOne | None = None
    beta2: BelowOne | None = None
    eps: Annotated[float, Field(gt=0)] | None = None
    weight_decay: NotNegative | None = None


class SamplingParams(Request):
    """How to sample.

    Attributes:
        max_tokens: tokens of each completion at most, 100 unless given.
        temperature: randomness, 1 unless given.
        top_p: sample from the likeliest tokens that together have this probability, 1 unless given.
        top_k: sample from this many likeliest tokens, -1 (all) unless given.
        stop: texts that end a completion.
        seed: the same seed samples the same. It travels as text, since JSON has no 64-bit integers.
    """

    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: NotNegative | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    stop: Sequence[str] | None = None
    seed: Annotated[str, Field(coerce_numbers_to_str=True, pattern=r"^-?\d+$")] | None = None


class AdapterConfig(Answer):
    """The adapter that a session trains."""

    rank: int | None = None
    alpha: int | None = None
    dropout: float | None = None


class Registration(Answer):
    """The name under which a checkpoint can be called and downloaded."""

    model_name: str | None = None
    registered_at: Time = None


class InferenceCheckpoint(Answer):
    """A checkpoint for inference."""

    id: str
    step: int | None = None
    created_at: Time = None
    registration: Registration | None = None


class TrainingCheckpoint(Answer):
    """A checkpoint to resume from."""

    id: str
    step: int | None = None
    created_at: Time = None


class TrainingSession(Answer):
    """A session.

    Attributes:
        status: `TRAINING_SESSION_STATUS_` and a word: CREATING and STOPPING go on; RUNNING takes operations; STOPPED,
            ERROR and EXPIRED are over.
        step: optimizer steps made.
    """

    id: str
    status: str
    base_model: str | None = None
    resume_from_checkpoint_id: str | None = None
    step: int | None = None
    lora_config: AdapterConfig | None = None
    inference_checkpoints: Sequence[InferenceCheckpoint] = ()
    training_checkpoints: Sequence[TrainingCheckpoint] = ()
    created_at: Time = None
    updated_at: Time = None


class Page(Answer):
    """Where a page ends: `next_cursor` is the `after` of the next one, empty when there is none."""

    limit: int | None = None
    has_more: bool = False
    next_cursor: str = ""


class TrainingSessionList(Answer):
    """A page of sessions."""

    data: Rows[TrainingSession] = ()
    meta: Page | None = None


class OperationFailure(Answer):
    """Why an operation failed.

    Attributes:
        code: `TRAINING_OPERATION_ERROR_CODE_` and RESOURCE_EXHAUSTED, TIMEOUT, INTERNAL_ERROR, SESSION_NOT_ACTIVE,
            INVALID_INPUT or another word.
    """

    code: str | None = None
    message: str = ""


class _Operation(Answer):
    id: str
    status: str
    error: OperationFailure | None = None


class ForwardBackwardOutput(Answer):
    """The loss, and measurements that depend on its kind."""

    loss: float | None = None
    metrics: Mapping[str, float] = Field(default_factory=dict)


class ForwardBackward(_Operation):
    """A pass over samples.

    Attributes:
        status: `TRAINING_OPERATION_STATUS_` and a word: PENDING and RUNNING go on; COMPLETED succeeded; FAILED did not.
    """

    output: ForwardBackwardOutput | None = None


class OptimStepOutput(Answer):
    """The number of the step."""

    step: int | None = None


class OptimStep(_Operation):
    """A step of the optimizer. For `status` see `ForwardBackward`."""

    output: OptimStepOutput | None = None


class Sequenced(Answer):
    """A completion: token ids, their log probabilities, and why it ended."""

    tokens: Sequence[int] = Field(default=(), repr=False)
    logprobs: Sequence[float] = Field(default=(), repr=False)
    stop_reason: str | None = None


class Rollout(Answer):
    """The completions of one prompt."""

    sequences: Sequence[Sequenced] = ()


class SampleOutput(Answer):
    """The completions, prompt by prompt."""

    rollouts: Sequence[Rollout] = ()


class Sample(_Operation):
    """A sampling of completions. For `status` see `ForwardBackward`."""

    output: SampleOutput | None = None


class InferenceCheckpointOutput(Answer):
    """The name of the model that was saved."""

    model_name: str | None = None


class InferenceCheckpointSave(_Operation):
    """The saving of a checkpoint for inference. For `status` see `ForwardBackward`."""

    output: InferenceCheckpointOutput | None = None


class TrainingCheckpointOutput(Answer):
    """The checkpoint that was saved; `create_session` can resume from it."""

    checkpoint_id: str | None = None


class TrainingCheckpointSave(_Operation):
    """The saving of a checkpoint to resume from. For `status` see `ForwardBackward`."""

    output: TrainingCheckpointOutput | None = None


class CheckpointFile(Answer):
    """A file of a checkpoint: its size in bytes, and a signed address that no repr shows."""

    filename: str
    url: str = Field(repr=False)
    size: int | None = None


class CheckpointFiles(Answer):
    """The files of a checkpoint."""

    data: Rows[CheckpointFile]
