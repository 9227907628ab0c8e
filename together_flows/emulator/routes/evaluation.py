"""Evaluation: create, list, read. There is no way to cancel one."""

from __future__ import annotations

from itertools import islice

from starlette.responses import Response

from together_flows.emulator.catalogue import BASE_MODELS
from together_flows.emulator.evaluation_request import EvaluationRequest, read_parameters
from together_flows.emulator.evaluations import EVALUATIONS, Evaluation, new_evaluation
from together_flows.emulator.gate import Call, Group
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.replies import json_array, json_reply

group = Group(aliases={"/evaluations": "/evaluation"})
kinds = [EVALUATIONS]

DEFAULT_LIMIT, MAX_LIMIT = 10, 100

_EXTERNAL_MODELS = ["anthropic/claude-sonnet-4-5", "google/gemini-2.5-pro", "openai/gpt-5"]


@group.post("/evaluation")
async def create(call: Call) -> Response:
    """Creates a job; the answer is its id and that it is pending."""
    request = await call.read(EvaluationRequest)
    parameters, file = read_parameters(call.world, request)
    job = new_evaluation(call.world, request, parameters, file)
    call.world.table(EVALUATIONS).add(job)
    return json_reply({"workflow_id": job.id, "status": "pending"})


@group.get("/evaluation")
async def list_jobs(call: Call) -> Response:
    """The newest jobs, at most a hundred, in a bare array."""
    limit = call.whole("limit", DEFAULT_LIMIT) or DEFAULT_LIMIT
    if limit < 1:
        raise Refusal(400, "limit must be at least 1.", param="limit")
    wanted = call.query_params.get("status")
    table, now = call.world.table(EVALUATIONS), call.world.clock.now()
    found = (job for job in table.visible(now) if wanted is None or job.status(now) == wanted)
    return json_array(table.row(job, now) for job in islice(found, min(limit, MAX_LIMIT)))


@group.get("/evaluation/model-list")
async def model_list(call: Call) -> Response:
    """The models that can judge or be judged."""
    source = call.query_params.get("model_source", "all")
    own = [model.id for model in BASE_MODELS.values() if model.type == "chat"]
    lists = {"all": own + _EXTERNAL_MODELS, "serverless": own, "dedicated": own, "external": _EXTERNAL_MODELS}
    if source not in lists:
        raise Refusal(400, f"model_source must be one of {', '.join(lists)}, got {source!r}.", param="model_source")
    return json_reply({"model_list": lists[source]})


@group.get("/evaluation/{id}")
async def retrieve(call: Call) -> Response:
    """One job."""
    return json_reply(EVALUATIONS.row(call.world, _job(call), call.world.clock.now()))


@group.get("/evaluation/{id}/status")
async def status(call: Call) -> Response:
    """How far a job is, and what came out."""
    job = _job(call)
    current = job.status(call.world.clock.now())
    results = EVALUATIONS.results(job, current)
    return json_reply({"status": current} if results is None else {"status": current, "results": results})


def _job(call: Call) -> Evaluation:
    return call.world.table(EVALUATIONS).get(call.path_params["id"])
