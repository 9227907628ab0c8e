"""Models that the account brings along: upload jobs, and the models they end in."""

from __future__ import annotations

import uuid
from typing import Any

from together_flows.emulator.jobs import Job, JobKind, Stage
from together_flows.emulator.world import World

__all__ = ["MODEL_UPLOADS", "ModelUpload", "new_upload"]

QUEUED_SECONDS, RUNNING_SECONDS = 15.0, 225.0

_MESSAGES = {
    "Queued": "Job is Queued",
    "Running": "Downloading and checking the weights",
    "Complete": "Job is Complete",
    "Failed": "Job is Failed",
}


class ModelUpload(Job, kw_only=True):
    """A model upload job."""

    model_name: str
    model_source: str
    model_type: str
    base_model: str
    description: str


class _ModelUploads(JobKind[ModelUpload]):
    name = "model_upload"
    noun = "Job"
    active = frozenset({"Queued", "Running"})
    failure = "Failed"
    tick = 60.0
    record = ModelUpload

    def key(self, job: ModelUpload) -> str:
        return job.model_name

    def row(self, world: World, job: ModelUpload, now: float) -> dict[str, Any]:
        stages = [stage for stage in job.stages if stage.at <= now]
        return {
            "type": "model_upload" if job.model_type == "model" else "adapter_upload",
            "job_id": job.id,
            "status": job.status(now),
            "status_updates": [
                {
                    "status": stage.status,
                    "message": job.error if stage.status == "Failed" and job.error else _MESSAGES.get(stage.status, ""),
                    "timestamp": world.clock.iso(stage.at),
                }
                for stage in stages
            ],
            "args": {"description": job.description, "modelName": job.model_name, "modelSource": job.model_source},
            "created_at": world.clock.iso(job.created),
            "updated_at": world.clock.iso(stages[-1].at),
        }


MODEL_UPLOADS = _ModelUploads()


def new_upload(
    world: World, *, model_name: str, model_source: str, model_type: str, base_model: str, description: str
) -> ModelUpload:
    """A new upload job."""
    born = world.born()
    return ModelUpload(
        id=f"job-{uuid.uuid4()}",
        created=born.created,
        visible=born.visible,
        stages=[
            Stage("Queued", born.created),
            Stage("Running", born.created + QUEUED_SECONDS),
            Stage("Complete", born.created + QUEUED_SECONDS + RUNNING_SECONDS),
        ],
        model_name=model_name,
        model_source=model_source,
        model_type=model_type,
        base_model=base_model,
        description=description,
    )
