"""Reinforcement learning: sessions, their operations, and the checkpoints that come of them."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from weakref import WeakValueDictionary

import anyio.to_thread
import msgspec
from starlette.responses import Response

from together_flows.emulator.catalogue import base_model
from together_flows.emulator.gate import Call, Group
from together_flows.emulator.policy import Policy
from together_flows.emulator.refusals import Refusal, message_and_code
from together_flows.emulator.replies import json_reply
from together_flows.emulator.rl import (
    OPERATIONS,
    SESSIONS,
    WORK_SECONDS,
    Computed,
    Operation,
    Session,
    find_checkpoint,
    latest_policy,
    new_checkpoint,
    new_operation,
    new_session,
    operations_of,
    stop,
)
from together_flows.emulator.rl_files import write_files
from together_flows.emulator.rl_losses import Failure, draw, forward_backward
from together_flows.emulator.rl_requests import (
    ForwardBackwardRequest,
    OptimStepRequest,
    SampleRequest,
    SessionRequest,
    whole_numbers,
)
from together_flows.emulator.signed import signed_url
from together_flows.emulator.world import World

group = Group(errors=message_and_code)
kinds = [SESSIONS, OPERATIONS]

_SESSIONS, _SESSION = "/rl/training-sessions", "/rl/training-sessions/{session_id}"
_STATUSES = ("UNSPECIFIED", "CREATING", "RUNNING", "STOPPED", "STOPPING", "ERROR", "EXPIRED")
_VARIANTS = {"CHECKPOINT_VARIANT_MERGED": "merged", "CHECKPOINT_VARIANT_ADAPTER": "adapter"}
_FAILED_PRECONDITION = 9

Compute = Callable[[Policy], Computed]

_turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
"""One operation of a session is computed at a time: each begins with what the one before has learned."""


@group.get(_SESSIONS)
async def list_sessions(call: Call) -> Response:
    """A page of sessions, newest first."""
    limit = call.whole("limit", 20) or 0
    if not 1 <= limit <= 100:
        raise Refusal(400, "limit must be between 1 and 100.")
    sessions = _with_status(call.world, call.query_params.get("status"))
    after = call.query_params.get("after")
    if after:
        ids = [session.id for session in sessions]
        if after not in ids:
            raise Refusal(400, f"after: there is no session {after} in this list.")
        sessions = sessions[ids.index(after) + 1 :]
    page, more = sessions[:limit], len(sessions) > limit
    now = call.world.clock.now()
    meta = {"limit": limit, "has_more": more, "next_cursor": page[-1].id if more else ""}
    return json_reply({"data": [SESSIONS.row(call.world, session, now) for session in page], "meta": meta})


@group.post(_SESSIONS)
async def create_session(call: Call) -> Response:
    """Creates a session, which bills until it is stopped."""
    request = await call.read(SessionRequest)
    model = base_model(request.base_model)
    if model is None or model.type != "chat":
        raise Refusal(404, f"There is no model {request.base_model!r} to train.")
    resumed = None
    if request.resume_from_checkpoint_id:
        resumed = find_checkpoint(call.world, request.resume_from_checkpoint_id)
        if resumed.model_name:
            raise Refusal(400, f"{resumed.id} is an inference checkpoint; training goes on from training checkpoints.")
    rank, alpha = whole_numbers([request.lora_config.rank, request.lora_config.alpha])
    lora = {"rank": rank, "alpha": alpha, "dropout": request.lora_config.dropout}
    session = new_session(call.world, base_model=request.base_model, lora=lora, resumed=resumed)
    call.world.table(SESSIONS).add(session)
    return _shown(call.world, session)


@group.get(_SESSION)
async def retrieve_session(call: Call) -> Response:
    """One session."""
    return _shown(call.world, _session(call))


@group.post(_SESSION + "/stop")
async def stop_session(call: Call) -> Response:
    """Stops a session; one that is over stays as it is."""
    session = _session(call)
    if session.status(call.world.clock.now()) in SESSIONS.active:
        stop(call.world, session)
    return _shown(call.world, session)


@group.post(_SESSION + "/operations/forward-backward")
async def submit_forward_backward(call: Call) -> Response:
    """Adds a batch to the gradient."""
    request = await call.read(ForwardBackwardRequest)

    def compute(policy: Policy) -> Computed:
        loss, metrics = forward_backward(policy, request)
        return Computed(output={"loss": loss, "metrics": metrics}, policy=policy)

    return await _submitted(call, "forward-backward", compute)


@group.post(_SESSION + "/operations/optim-step")
async def submit_optim_step(call: Call) -> Response:
    """Takes a step along the gradient."""
    request = await _read_or_default(call, OptimStepRequest)

    def compute(policy: Policy) -> Computed:
        policy.optimise(request.learning_rate, request.adamw_params)
        return Computed(output={"step": str(policy.step)}, policy=policy)

    return await _submitted(call, "optim-step", compute)


@group.post(_SESSION + "/operations/sample")
async def submit_sample(call: Call) -> Response:
    """Completes prompts with what has been learned so far."""
    request = await call.read(SampleRequest)
    seed = request.sampling_params.seed

    def compute(policy: Policy) -> Computed:
        chosen = whole_numbers([seed])[0] if seed is not None else zlib.crc32(msgspec.json.encode(request))
        rollouts = [
            {
                "sequences": [
                    {"tokens": [str(token) for token in tokens], "logprobs": logprobs, "stop_reason": reason}
                    for tokens, logprobs, reason in completions
                ]
            }
            for completions in draw(policy, request, chosen)
        ]
        return Computed(output={"rollouts": rollouts})

    return await _submitted(call, "sample", compute)


@group.post(_SESSION + "/operations/inference-checkpoint")
async def submit_inference_checkpoint(call: Call) -> Response:
    """Saves what has been learned as a model that can be downloaded."""
    session = _session(call)

    def compute(policy: Policy) -> Computed:
        checkpoint = new_checkpoint(call.world, session, policy, registered=True)
        return Computed(output={"model_name": checkpoint.model_name}, checkpoint=checkpoint)

    return await _submitted(call, "inference-checkpoint", compute)


@group.post(_SESSION + "/operations/training-checkpoint")
async def submit_training_checkpoint(call: Call) -> Response:
    """Saves what has been learned, to go on from there."""
    session = _session(call)

    def compute(policy: Policy) -> Computed:
        checkpoint = new_checkpoint(call.world, session, policy, registered=False)
        return Computed(output={"checkpoint_id": checkpoint.id}, checkpoint=checkpoint)

    return await _submitted(call, "training-checkpoint", compute)


@group.get("/rl/checkpoints/{id}/download")
async def download_checkpoint(call: Call) -> Response:
    """The addresses of a checkpoint's files."""
    variant = _VARIANTS.get(call.query_params.get("variant", ""))
    if variant is None:
        raise Refusal(400, f"variant must be one of {', '.join(_VARIANTS)}.")
    checkpoint = find_checkpoint(call.world, call.path_params["id"])
    if not checkpoint.model_name:
        raise Refusal(400, "Only inference checkpoints can be downloaded.")
    files = await anyio.to_thread.run_sync(write_files, call.world, checkpoint, variant)
    data = [
        {
            "filename": file.name,
            "url": signed_url(call, file.relative_to(call.world.folder).as_posix()),
            "size": str(file.stat().st_size),
        }
        for file in files
    ]
    return json_reply({"data": data})


def _add_retrieval(type: str) -> None:
    async def retrieve(call: Call) -> Response:
        session = _session(call)
        operation = call.world.table(OPERATIONS).get(call.path_params["operation_id"])
        if operation.session_id != session.id or operation.type != type:
            raise Refusal(404, f"Operation not found: {operation.id}")
        return _shown_operation(call.world, operation)

    group.add_api_route(f"{_SESSION}/operations/{type}/{{operation_id}}", retrieve, methods=["GET"])


for _type in WORK_SECONDS:
    _add_retrieval(_type)


async def _submitted(call: Call, type: str, compute: Compute) -> Response:
    """Computes an operation and stores it, unless its idempotency key says that this has been done."""
    world, session, key = call.world, _session(call), call.headers.get("idempotency-key", "")
    async with _turns.setdefault((str(world.folder), session.id), asyncio.Lock()):
        known = next((done for done in operations_of(world, session) if key and done.idempotency_key == key), None)
        if known is not None and known.type != type:
            raise Refusal(400, f"Idempotency-Key {key} belongs to an operation of type {known.type}.")
        if known is None:
            _refuse_inactive(world, session)
            computed = await anyio.to_thread.run_sync(_computed, world, session, compute)
            _refuse_inactive(world, session)
            known = new_operation(world, session, type, computed, key)
    return _shown_operation(world, known)


def _computed(world: World, session: Session, compute: Compute) -> Computed:
    try:
        return compute(latest_policy(world, session))
    except Failure as failure:
        return Computed.failed(failure)


def _refuse_inactive(world: World, session: Session) -> None:
    status = session.status(world.clock.now())
    if status not in SESSIONS.active:
        message = f"Training session {session.id} is not active: {status}."
        raise Refusal(400, message, body={"message": message, "code": _FAILED_PRECONDITION})


async def _read_or_default(call: Call, shape: type[OptimStepRequest]) -> OptimStepRequest:
    return await call.read(shape) if (await call.limited_body()).strip() else shape()


def _with_status(world: World, status: str | None) -> list[Session]:
    now = world.clock.now()
    wanted = (status or "UNSPECIFIED").removeprefix("TRAINING_SESSION_STATUS_")
    if wanted not in _STATUSES:
        raise Refusal(400, f"status {status!r} is none of a session's.")
    sessions = world.table(SESSIONS).visible(now)
    return [session for session in sessions if wanted == "UNSPECIFIED" or session.status(now).endswith(f"_{wanted}")]


def _session(call: Call) -> Session:
    return call.world.table(SESSIONS).get(call.path_params["session_id"])


def _shown(world: World, session: Session) -> Response:
    return json_reply(SESSIONS.row(world, session, world.clock.now()))


def _shown_operation(world: World, operation: Operation) -> Response:
    return json_reply(OPERATIONS.row(world, operation, world.clock.now()))
