"""The queue. Its ids are `requestId` in one answer and `request_id` everywhere else, as in the API."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from together_flows.emulator.gate import Call, Group
from together_flows.emulator.queues import QUEUE, QueueJob, cancel, enqueue
from together_flows.emulator.refusals import Refusal, flat
from together_flows.emulator.replies import json_reply

group = Group(errors=flat)
kinds = [QUEUE]


class SubmitRequest(msgspec.Struct, kw_only=True):
    """The body of a submission."""

    model: str
    payload: dict[str, Any]
    info: dict[str, Any] = msgspec.field(default_factory=dict)
    priority: int = 0


class CancelRequest(msgspec.Struct, kw_only=True):
    """The body of a cancellation."""

    model: str
    request_id: str


@group.post("/queue/submit")
async def submit(call: Call) -> Response:
    """Puts a job into the queue. Any model is taken: its name is that of a deployment, which may come later."""
    request = await call.read(SubmitRequest)
    if not request.model:
        raise Refusal(400, "model must not be empty.", param="model", code="invalid_request")
    job = enqueue(
        call.world, model=request.model, payload=request.payload, info=request.info, priority=request.priority
    )
    return json_reply({"requestId": job.id})


@group.get("/queue/status")
async def status(call: Call) -> Response:
    """One job."""
    job = _job(call, _needed(call, "request_id"), _needed(call, "model"))
    return json_reply(QUEUE.row(call.world, job, call.world.clock.now()))


@group.post("/queue/cancel")
async def cancel_job(call: Call) -> Response:
    """Cancels a job that waits; of any other it answers the status with 409."""
    request = await call.read(CancelRequest)
    job = _job(call, request.request_id, request.model)
    done = cancel(call.world, job)
    return json_reply({"status": job.status(call.world.clock.now())}, 200 if done else 409)


@group.get("/queue/metrics")
async def metrics(call: Call) -> Response:
    """How many jobs of a model wait and run."""
    model, now = _needed(call, "model"), call.world.clock.now()
    states = [job.status(now) for job in call.world.table(QUEUE) if job.model == model]
    running, waiting = states.count("running"), states.count("pending")
    return json_reply({"messages_running": running, "messages_waiting": waiting, "total_jobs": running + waiting})


def _needed(call: Call, name: str) -> str:
    value = call.query_params.get(name)
    if not value:
        raise Refusal(400, f"{name} is required.", param=name, code="invalid_request")
    return value


def _job(call: Call, request_id: str, model: str) -> QueueJob:
    job = call.world.table(QUEUE).get(request_id)
    if job.model != model:
        raise Refusal(404, f"Request not found: {request_id}", code="not_found")
    return job
