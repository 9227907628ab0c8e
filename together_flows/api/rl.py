"""Reinforcement learning: sessions that hold a model and train it step by step.

A session bills until it is stopped. Its operations run in the background: each answers with an id to read it by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from together_flows.api._model import Name, Nested
from together_flows.api._operation import Place, Wire, operation
from together_flows.api._sessions import (
    AdamWParams,
    AdapterConfig,
    CheckpointFile,
    CheckpointFiles,
    CrossEntropyParams,
    EncodedText,
    Floats,
    ForwardBackward,
    ForwardBackwardOutput,
    GrpoInputs,
    GrpoParams,
    InferenceCheckpoint,
    InferenceCheckpointOutput,
    InferenceCheckpointSave,
    InputChunk,
    Integers,
    LoraConfig,
    LossConfig,
    LossInputs,
    ModelInput,
    OperationFailure,
    OptimStep,
    OptimStepOutput,
    Page,
    Registration,
    Rollout,
    Sample,
    SampleOutput,
    SamplingParams,
    Sequenced,
    TrainingCheckpoint,
    TrainingCheckpointOutput,
    TrainingCheckpointSave,
    TrainingSample,
    TrainingSession,
    TrainingSessionList,
)

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
    "create_inference_checkpoint",
    "create_session",
    "create_training_checkpoint",
    "download_checkpoint",
    "forward_backward",
    "list_sessions",
    "optim_step",
    "retrieve_forward_backward",
    "retrieve_inference_checkpoint",
    "retrieve_optim_step",
    "retrieve_sample",
    "retrieve_session",
    "retrieve_training_checkpoint",
    "sample",
    "stop_session",
]

SessionStatus = (
    Literal[
        "TRAINING_SESSION_STATUS_CREATING",
        "TRAINING_SESSION_STATUS_RUNNING",
        "TRAINING_SESSION_STATUS_STOPPING",
        "TRAINING_SESSION_STATUS_STOPPED",
        "TRAINING_SESSION_STATUS_ERROR",
        "TRAINING_SESSION_STATUS_EXPIRED",
    ]
    | str
)

#: The API answers a repetition under the same key with the operation that the first request made.
IdempotencyKey = Annotated[
    Annotated[str, Field(pattern=r"^[!-~]{1,255}$")] | None, Wire(Place.HEADER, "Idempotency-Key")
]


@operation("GET", "/rl/training-sessions")
def list_sessions(
    *,
    status: SessionStatus | None = None,
    limit: Annotated[int, Field(ge=1, le=100)] | None = None,
    after: str | None = None,
) -> TrainingSessionList:
    """List a page of the account's sessions.

    Args:
        status: only these.
        limit: sessions a page, 20 unless given, 1 to 100 (API's reference).
        after: `meta.next_cursor` of the page before.
    """


@operation("POST", "/rl/training-sessions")
def create_session(
    *,
    base_model: Name,
    resume_from_checkpoint_id: str | None = None,
    lora_config: Nested[LoraConfig] | None = None,
) -> TrainingSession:
    """Start a session. It is billed until it is stopped.

    Args:
        base_model: model to train.
        resume_from_checkpoint_id: checkpoint to go on from.
        lora_config: the adapter to train.
    """


@operation("GET", "/rl/training-sessions/{session_id}")
def retrieve_session(session_id: str, /) -> TrainingSession:
    """Read one session."""


@operation("POST", "/rl/training-sessions/{session_id}/stop", repeatable=True)
def stop_session(session_id: str, /) -> TrainingSession:
    """Stop a session, which ends its billing. What was not saved is lost."""


@operation("GET", "/rl/training-sessions/{session_id}/operations/forward-backward/{operation_id}")
def retrieve_forward_backward(session_id: str, operation_id: str, /) -> ForwardBackward:
    """Read one pass over samples."""


@operation("GET", "/rl/training-sessions/{session_id}/operations/optim-step/{operation_id}")
def retrieve_optim_step(session_id: str, operation_id: str, /) -> OptimStep:
    """Read one step of the optimizer."""


@operation("GET", "/rl/training-sessions/{session_id}/operations/sample/{operation_id}")
def retrieve_sample(session_id: str, operation_id: str, /) -> Sample:
    """Read one sampling of completions."""


@operation("POST", "/rl/training-sessions/{session_id}/operations/forward-backward")
def forward_backward(
    session_id: str,
    /,
    *,
    samples: Sequence[Nested[TrainingSample]],
    loss: Nested[LossConfig],
    idempotency_key: IdempotencyKey = None,
) -> ForwardBackward:
    """Compute the loss and its gradients over samples. `optim_step` applies them.

    Args:
        session_id: the session.
        samples: what to train on.
        loss: which loss.
        idempotency_key: name of this request, at most 255 printable characters. Repeated under the same name it answers
            with the same operation. Newer versions of the API insist on one.
    """


@operation("POST", "/rl/training-sessions/{session_id}/operations/optim-step")
def optim_step(
    session_id: str,
    /,
    *,
    learning_rate: Annotated[float, Field(ge=0)] | None = None,
    adamw_params: Nested[AdamWParams] | None = None,
    idempotency_key: IdempotencyKey = None,
) -> OptimStep:
    """Apply the gradients that `forward_backward` gathered.

    Args:
        session_id: the session.
        learning_rate: learning rate of this step, 1e-4 unless given.
        adamw_params: parameters of the optimizer.
        idempotency_key: as for `forward_backward`.
    """


@operation("POST", "/rl/training-sessions/{session_id}/operations/sample")
def sample(
    session_id: str,
    /,
    *,
    prompts: Sequence[Nested[ModelInput]],
    sampling_params: Nested[SamplingParams] | None = None,
    num_samples: Annotated[int, Field(ge=1)] | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Sample:
    """Let the model complete prompts, as it is trained by now.

    Args:
        session_id: the session.
        prompts: what to complete.
        sampling_params: how to sample.
        num_samples: completions of each prompt, 1 unless given.
        idempotency_key: as for `forward_backward`.
    """


@operation("POST", "/rl/training-sessions/{session_id}/operations/inference-checkpoint")
def create_inference_checkpoint(
    session_id: str, /, *, idempotency_key: IdempotencyKey = None
) -> InferenceCheckpointSave:
    """Save a checkpoint for inference.

    Args:
        session_id: the session.
        idempotency_key: as for `forward_backward`.
    """


@operation("GET", "/rl/training-sessions/{session_id}/operations/inference-checkpoint/{operation_id}")
def retrieve_inference_checkpoint(session_id: str, operation_id: str, /) -> InferenceCheckpointSave:
    """Read one saving of a checkpoint for inference."""


@operation("POST", "/rl/training-sessions/{session_id}/operations/training-checkpoint")
def create_training_checkpoint(session_id: str, /, *, idempotency_key: IdempotencyKey = None) -> TrainingCheckpointSave:
    """Save a checkpoint to resume from.

    Args:
        session_id: the session.
        idempotency_key: as for `forward_backward`.
    """


@operation("GET", "/rl/training-sessions/{session_id}/operations/training-checkpoint/{operation_id}")
def retrieve_training_checkpoint(session_id: str, operation_id: str, /) -> TrainingCheckpointSave:
    """Read one saving of a checkpoint to resume from."""


@operation("GET", "/rl/checkpoints/{id}/download")
def download_checkpoint(
    id: str, /, *, variant: Literal["CHECKPOINT_VARIANT_MERGED", "CHECKPOINT_VARIANT_ADAPTER"] | str
) -> CheckpointFiles:
    """List the files of a checkpoint with the signed addresses to download them from.

    Args:
        id: the checkpoint.
        variant: the whole model, or the adapter alone.
    """
