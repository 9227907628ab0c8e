"""Jobs: model uploads on their way."""

from __future__ import annotations

from starlette.responses import Response

from together_flows.emulator.gate import Call, Group
from together_flows.emulator.replies import data_list, json_reply
from together_flows.emulator.uploads import MODEL_UPLOADS

group = Group()


@group.get("/jobs")
async def list_jobs(call: Call) -> Response:
    """Every job."""
    return data_list(call.world.table(MODEL_UPLOADS).rows(call.world.clock.now()))


@group.get("/jobs/{jobId}")
async def retrieve(call: Call) -> Response:
    """One job."""
    job = call.world.table(MODEL_UPLOADS).get(call.path_params["jobId"])
    return json_reply(MODEL_UPLOADS.row(call.world, job, call.world.clock.now()))
