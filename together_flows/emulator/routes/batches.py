"""Batches: create, list, read, cancel. Their errors are a text under `error`."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from together_flows.emulator.batches import BATCHES, ENDPOINTS_SERVED, Batch, new_batch
from together_flows.emulator.files import usable
from together_flows.emulator.gate import Call, Group
from together_flows.emulator.refusals import Refusal, flat_error
from together_flows.emulator.replies import json_array, json_reply

group = Group(errors=flat_error)
kinds = [BATCHES]


class CreateRequest(msgspec.Struct, kw_only=True):
    """The body of a creation."""

    input_file_id: str
    endpoint: str
    completion_window: str = "24h"
    priority: int = 1
    model_id: str = ""


@group.post("/batches")
async def create(call: Call) -> Response:
    """Creates a batch; the answer is 201 and wraps the job."""
    request = await call.read(CreateRequest)
    if request.endpoint not in ENDPOINTS_SERVED:
        raise Refusal(400, f"endpoint must be one of {', '.join(ENDPOINTS_SERVED)}, got {request.endpoint!r}.")
    file = usable(call.world, request.input_file_id, field="input_file_id")
    if file.purpose != "batch-api":
        raise Refusal(400, f"input_file_id: {file.id} has purpose {file.purpose}, not batch-api.")
    job = new_batch(call.world, file, endpoint=request.endpoint, model_id=request.model_id)
    call.world.table(BATCHES).add(job)
    answer: dict[str, Any] = {"job": BATCHES.row(call.world, job, job.created)}
    if request.completion_window != "24h":
        answer["warning"] = f"completion_window {request.completion_window} has no effect; it is always 24h."
    return json_reply(answer, 201)


@group.get("/batches")
async def list_batches(call: Call) -> Response:
    """Every batch, in a bare array."""
    return json_array(call.world.table(BATCHES).rows(call.world.clock.now()))


@group.get("/batches/{id}")
async def retrieve(call: Call) -> Response:
    """One batch."""
    return _row(call, _batch(call))


@group.post("/batches/{id}/cancel")
async def cancel(call: Call) -> Response:
    """Stops a batch; what it has answered so far can be read."""
    job = _batch(call)
    table = call.world.table(BATCHES)
    status = job.status(call.world.clock.now())
    if status in BATCHES.active:
        table.end(job, "CANCELLED")
        table.count_cancelled()
    elif status != "CANCELLED":
        raise Refusal(400, f"Batch job {job.id} is {status} and cannot be cancelled.")
    return _row(call, job)


def _batch(call: Call) -> Batch:
    return call.world.table(BATCHES).get(call.path_params["id"])


def _row(call: Call, job: Batch) -> Response:
    return json_reply(BATCHES.row(call.world, job, call.world.clock.now()))
