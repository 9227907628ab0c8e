"""The queue: one worker for each model takes the job of the highest priority, and of equals the one that came first.

The whole lane of a model is planned whenever it changes, so a job's stages say at any moment what is to become of it.
What has begun is never planned anew.
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from together_flows.emulator.examples import asked
from together_flows.emulator.jobs import Job, JobKind, Stage
from together_flows.emulator.minds import BaseMind
from together_flows.emulator.world import World

__all__ = ["QUEUE", "QueueJob", "cancel", "enqueue"]

CLAIM_SECONDS, RUN_SECONDS = 2.0, 20.0
"""How long an idle worker takes to see a job, and to do it."""


class QueueJob(Job, kw_only=True):
    """A queued job."""

    model: str
    payload: dict[str, Any]
    info: dict[str, Any]
    priority: int


class _Queue(JobKind[QueueJob]):
    name = "queue"
    noun = "Request"
    active = frozenset({"pending", "running"})
    failure = "failed"
    record = QueueJob

    def row(self, world: World, job: QueueJob, now: float) -> dict[str, Any]:
        """The job as its status route shows it."""
        stage = job.stage(now)
        row: dict[str, Any] = {
            "request_id": job.id,
            "model": job.model,
            "status": stage.status,
            "priority": job.priority,
            "retries": 0,
            "info": job.info | {"error": job.error} if stage.status == "failed" and job.error else job.info,
            "inputs": job.payload,
            "warnings": [],
            "created_at": world.clock.iso(job.created),
        }
        claimed = job.entered("running")
        if claimed is not None and claimed <= now:
            row["claimed_at"] = world.clock.iso(claimed)
        if stage.status in ("done", "failed"):
            row["done_at"] = world.clock.iso(stage.at)
        if stage.status == "done":
            row["outputs"] = _outputs(job)
        return row

    def ended_early(self, world: World, job: QueueJob, now: float) -> None:
        _plan(world, job.model)

    def fields(self, world: World, job: QueueJob, now: float) -> dict[str, Any]:
        return {"model": job.model, "priority": job.priority}


QUEUE = _Queue()


def enqueue(world: World, *, model: str, payload: dict[str, Any], info: dict[str, Any], priority: int) -> QueueJob:
    """Puts a job into its model's lane."""
    born = world.born()
    job = QueueJob(
        id=str(uuid.uuid4()),
        created=born.created,
        visible=born.visible,
        stages=[Stage("pending", born.created)],
        model=model,
        payload=payload,
        info=info,
        priority=priority,
    )
    _plan(world, model, joining=job)
    world.table(QUEUE).add(job)
    return job


def cancel(world: World, job: QueueJob) -> bool:
    """Cancels a job that still waits, and says whether it did."""
    if job.status(world.clock.now()) != "pending":
        return False
    table = world.table(QUEUE)
    table.end(job, "canceled")
    table.count_cancelled()
    return True


def _plan(world: World, model: str, joining: QueueJob | None = None) -> None:
    """Plans what the model's worker does after the job that it is at. It looks at moments only: thousands may wait."""
    table, now = world.table(QUEUE), world.clock.now()
    lane = [job for job in table if job.model == model and job.stages[-1].at > now]
    free = max((job.stages[-1].at for job in lane if job.stages[1].at <= now), default=now)
    waiting = [job for job in reversed(lane) if job.stages[1].at > now]
    if joining is not None:
        waiting.append(joining)
    waiting.sort(key=lambda job: -job.priority)
    for job in waiting:
        start = max(free, job.created + CLAIM_SECONDS)
        free = start + RUN_SECONDS
        if job is joining:
            job.stages += _run(job, start)
        elif job.stages[1].at != start:
            job.stages[1:] = _run(job, start)
            table.save(job)


def _run(job: QueueJob, start: float) -> list[Stage]:
    return [Stage("running", start), Stage("failed" if job.doomed else "done", start + RUN_SECONDS)]


def _outputs(job: QueueJob) -> dict[str, Any]:
    """What the model made of the payload: an answer where there is a question, otherwise the payload itself."""
    match job.payload:
        case {"prompt": str(prompt)}:
            return {"text": BaseMind(job.model).answer(prompt)}
        case {"messages": [*messages]}:
            try:
                return {"text": BaseMind(job.model).answer(asked(msgspec.convert(messages, list[dict[str, Any]])))}
            except msgspec.ValidationError:
                return {"result": job.payload}
    return {"result": job.payload}
