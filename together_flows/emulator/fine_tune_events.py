"""The event log and the checkpoints of a fine-tune: what its plan says has happened by now."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from together_flows.emulator.fine_tunes import RUNNING_AT, FineTune, wandb_url
from together_flows.emulator.world import World

__all__ = ["checkpoints", "events"]


class _Event(NamedTuple):
    at: float
    type: str
    message: str
    step: int = 0
    level: str = "info"


def events(world: World, job: FineTune, now: float) -> list[dict[str, Any]]:
    """The events up to now, oldest first."""
    return [_view(world, job, event) for event in sorted(_happened(job, now), key=lambda event: event.at)]


def checkpoints(world: World, job: FineTune, now: float) -> list[dict[str, Any]]:
    """The saved states of the model so far, newest first."""
    done = job.steps_done(now)
    saved = [step for step in job.checkpoint_steps() if step <= done]
    return [
        {
            "step": step,
            "created_at": world.clock.iso(job.step_at(step)),
            "path": _checkpoint_path(job, step),
            "checkpoint_type": f"{'Final' if step == job.steps else 'Intermediate'} {_label(job)}",
        }
        for step in reversed(saved)
    ]


def _happened(job: FineTune, now: float) -> list[_Event]:
    planned = [_Event(job.created, "job_pending", "Fine tune request created"), *_setup(job), *_training(job)]
    cut = job.ended_at()
    happened = [event for event in planned if event.at <= min(now, cut)]
    return happened + [event for event in _stage_events(job) if event.at <= now]


def _setup(job: FineTune) -> list[_Event]:
    start = job.created + RUNNING_AT
    planned = [
        _Event(start, "job_start", "Job started"),
        _Event(start + 2, "training_data_downloading", f"Downloading training data {job.training_file}"),
        _Event(start + 6, "training_data_download_complete", "Training data downloaded"),
        _Event(start + 12, "model_downloading", f"Downloading model {job.model}"),
        _Event(start + 34, "model_download_complete", "Model downloaded"),
    ]
    validation = job.request.get("validation_file")
    if validation:
        planned += [
            _Event(start + 7, "validation_data_downloading", f"Downloading validation data {validation}"),
            _Event(start + 9, "validation_data_download_complete", "Validation data downloaded"),
        ]
    if job.wandb:
        planned.append(_Event(start + 35, "wandb_init", "Weights & Biases run initialized (not sent: emulator)"))
    return planned


def _training(job: FineTune) -> list[_Event]:
    epoch_ends = [(epoch, job.steps * epoch // job.epochs) for epoch in range(1, job.epochs + 1)]
    return [
        _Event(job.first_step_at, "training_start", "Training started"),
        *(
            _Event(job.step_at(step), "epoch_complete", f"Epoch {epoch} of {job.epochs} completed", step)
            for epoch, step in epoch_ends
        ),
        *(
            _Event(job.step_at(step), "checkpoint_save", f"Checkpoint saved at step {step}", step)
            for step in job.checkpoint_steps()
        ),
        _Event(job.step_at(job.steps), "training_complete", "Training completed", job.steps),
    ]


def _stage_events(job: FineTune) -> list[_Event]:
    happened = []
    for stage in job.stages:
        match stage.status:
            case "compressing":
                happened.append(_Event(stage.at, "model_compressing", "Compressing model", job.steps))
            case "uploading":
                happened.append(_Event(stage.at, "model_compression_complete", "Model compressed", job.steps))
                happened.append(_Event(stage.at, "model_uploading", "Uploading model", job.steps))
            case "completed":
                happened.append(_Event(stage.at, "model_upload_complete", "Model uploaded", job.steps))
                happened.append(_Event(stage.at, "job_complete", "Job finished", job.steps))
            case "cancel_requested":
                happened.append(_Event(stage.at, "cancel_requested", "Cancellation requested", level="warning"))
            case "cancelled":
                happened.append(_Event(stage.at, "job_stopped", "Job stopped", level="warning"))
                happened.append(_Event(stage.at, "refund", "Steps that were not run are refunded"))
            case "error":
                message = job.error or "The job failed"
                happened.append(_Event(stage.at, "job_error", message, level="error"))
                happened.append(_Event(stage.at, "refund", "The job failed and is refunded in full"))
    return happened


def _view(world: World, job: FineTune, event: _Event) -> dict[str, Any]:
    saved = event.type == "checkpoint_save"
    return {
        "object": "fine-tune-event",
        "created_at": world.clock.iso(event.at),
        "level": event.level,
        "message": event.message,
        "type": event.type,
        "param_count": job.param_count,
        "token_count": job.train_tokens * event.step // job.steps,
        "total_steps": job.steps,
        "wandb_url": wandb_url(job),
        "step": event.step,
        "checkpoint_path": _checkpoint_path(job, event.step) if saved else "",
        "model_path": job.output_name if event.type in ("model_upload_complete", "job_complete") else "",
        "training_offset": min(job.samples, event.step * job.batch_size),
        "hash": hashlib.sha256(f"{job.id}:{event.type}:{event.step}".encode()).hexdigest()[:16],
    }


def _checkpoint_path(job: FineTune, step: int) -> str:
    return f"s3://together-emulator/{job.id}/checkpoint-{step}"


def _label(job: FineTune) -> str:
    return "Merged Model" if job.lora else "Model"
