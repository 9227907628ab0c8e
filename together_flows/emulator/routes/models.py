"""Models: the catalogue with what the account has made and brought, and uploads."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from starlette.responses import Response

from together_flows.emulator.catalogue import BASE_MODELS, BaseModel, base_model
from together_flows.emulator.fine_tunes import FINE_TUNES
from together_flows.emulator.gate import Call, Group
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.replies import json_reply
from together_flows.emulator.uploads import MODEL_UPLOADS, new_upload
from together_flows.emulator.world import ACCOUNT, World

group = Group()
kinds = [MODEL_UPLOADS]

_CATALOGUE_CREATED = 1_735_689_600


class UploadRequest(msgspec.Struct, kw_only=True):
    """The body of an upload."""

    model_name: str
    model_source: str
    model_type: Literal["model", "adapter"] = "model"
    hf_token: str = ""
    description: str = ""
    base_model: str = ""
    lora_model: str = ""


@group.get("/models")
async def list_models(call: Call) -> Response:
    """A bare array."""
    dedicated = call.truth("dedicated")
    catalogue = [
        model.info(_CATALOGUE_CREATED)
        for model in BASE_MODELS.values()
        if not dedicated or model.type in ("chat", "language")
    ]
    return json_reply(catalogue + _own_models(call.world))


@group.post("/models")
async def upload(call: Call) -> Response:
    """Brings a model or an adapter from Hugging Face or S3. Nothing is fetched."""
    request = await call.read(UploadRequest)
    if not request.model_name.strip() or not request.model_source.strip():
        raise Refusal(400, "model_name and model_source must not be empty.", param="model_name")
    if request.model_type == "adapter" and not (request.base_model or request.lora_model):
        raise Refusal(400, "An adapter needs base_model or lora_model.", param="base_model")
    owned = f"{ACCOUNT}/{request.model_name.removeprefix(f'{ACCOUNT}/')}"
    table = call.world.table(MODEL_UPLOADS)
    known = table.find_by_key(owned)
    if known is not None and known.status(call.world.clock.now()) != "Failed":
        raise Refusal(409, f"A model named {owned} exists already.", param="model_name", code="model_exists")
    job = new_upload(
        call.world,
        model_name=owned,
        model_source=request.model_source,
        model_type=request.model_type,
        base_model=request.base_model,
        description=request.description,
    )
    table.add(job)
    source = "s3" if "X-Amz" in request.model_source or request.model_source.startswith("s3") else "huggingface"
    data = {
        "job_id": job.id,
        "model_name": job.model_name,
        "model_id": f"model-{job.id.removeprefix('job-')}",
        "model_source": source,
    }
    return json_reply({"data": data, "message": "Processing model weights. Job created."})


def _own_models(world: World) -> list[dict[str, Any]]:
    now = world.clock.now()
    tuned = [
        _own_info(world, BASE_MODELS[job.model], job.output_name, job.created)
        for job in world.table(FINE_TUNES)
        if job.status(now) == "completed"
    ]
    uploaded = [
        _own_info(world, base_model(job.base_model), job.model_name, job.created)
        for job in world.table(MODEL_UPLOADS)
        if job.status(now) == "Complete"
    ]
    return tuned + uploaded


def _own_info(world: World, base: BaseModel | None, name: str, created: float) -> dict[str, Any]:
    base = base or BASE_MODELS["Qwen/Qwen3-8B"]
    return {
        **base.info(world.clock.epoch(created)),
        "id": name,
        "display_name": name.partition("/")[2],
        "organization": ACCOUNT,
        "link": "",
    }
