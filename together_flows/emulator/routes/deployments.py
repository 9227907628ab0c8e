"""Deployments of containers, with their secrets, their volumes and the project's storage.

The routes under fixed names stand before `/deployments/{id}`, which would take them for ids.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from starlette.responses import RedirectResponse, Response

from together_flows.emulator.container_requests import CreateRequest, UpdateRequest, changed_spec, new_spec
from together_flows.emulator.containers import DEPLOYMENTS, Deployment, new_deployment, roll_out, scale
from together_flows.emulator.gate import Call, Group
from together_flows.emulator.refusals import Refusal, message_only
from together_flows.emulator.replies import data_list, json_reply
from together_flows.emulator.shelves import (
    SECRETS,
    VOLUMES,
    Secret,
    Volume,
    by_id_or_name,
    mounted_by,
    named_file,
    new_secret,
    new_volume,
)
from together_flows.emulator.signed import signed_url
from together_flows.emulator.world import World

group = Group(errors=message_only)
kinds = [DEPLOYMENTS, SECRETS, VOLUMES]

_LIST_OPENING = b'{"object":"list","data":['

SecretName = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_./-]+$")]
Value = Annotated[str, msgspec.Meta(min_length=1)]
Description = Annotated[str, msgspec.Meta(max_length=500)]
VolumeName = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class SecretRequest(msgspec.Struct, kw_only=True):
    """A secret to be kept."""

    name: SecretName
    value: Value
    description: Description = ""


class SecretUpdate(msgspec.Struct, kw_only=True):
    """What is to change of a secret."""

    name: SecretName | None = None
    value: Value | None = None
    description: Description | None = None


class Content(msgspec.Struct):
    """What a volume is loaded with."""

    type: Literal["files"] = "files"
    source_prefix: str = ""


class VolumeRequest(msgspec.Struct, kw_only=True):
    """A volume to be made."""

    name: VolumeName
    type: Literal["readOnly"]
    content: Content


class VolumeUpdate(msgspec.Struct, kw_only=True):
    """What is to change of a volume."""

    name: VolumeName | None = None
    type: Literal["readOnly"] | None = None
    content: Content | None = None


@group.get("/deployments/secrets")
async def list_secrets(call: Call) -> Response:
    """All secrets, without their values."""
    return data_list(call.world.table(SECRETS).rows(call.world.clock.now()), opening=_LIST_OPENING)


@group.post("/deployments/secrets")
async def create_secret(call: Call) -> Response:
    """Keeps a secret."""
    request = await call.read(SecretRequest)
    table = call.world.table(SECRETS)
    _refuse_taken(by_id_or_name(table, request.name), request.name)
    secret = new_secret(call.world, name=request.name, value=request.value, description=request.description)
    table.add(secret)
    return _shown_secret(call.world, secret)


@group.get("/deployments/secrets/{id:path}")
async def retrieve_secret(call: Call) -> Response:
    """One secret, without its value."""
    return _shown_secret(call.world, _secret(call))


@group.patch("/deployments/secrets/{id:path}")
async def update_secret(call: Call) -> Response:
    """Renames a secret, or gives it another value."""
    secret, table = _secret(call), call.world.table(SECRETS)
    request = await call.read(SecretUpdate)
    if request.name not in (None, secret.name):
        _refuse_taken(by_id_or_name(table, request.name or ""), request.name or "")
        secret.name = request.name or secret.name
    if request.value is not None:
        secret.set_value(request.value)
    if request.description is not None:
        secret.description = request.description
    secret.updated = call.world.clock.now()
    table.save(secret)
    return _shown_secret(call.world, secret)


@group.delete("/deployments/secrets/{id:path}")
async def delete_secret(call: Call) -> Response:
    """Forgets a secret."""
    call.world.table(SECRETS).remove(_secret(call))
    return json_reply({})


@group.get("/deployments/storage/volumes")
async def list_volumes(call: Call) -> Response:
    """All volumes."""
    now = call.world.clock.now()
    rows = [VOLUMES.row(call.world, volume, now) for volume in call.world.table(VOLUMES).visible(now)]
    return data_list(map(msgspec.json.encode, rows), opening=_LIST_OPENING)


@group.post("/deployments/storage/volumes")
async def create_volume(call: Call) -> Response:
    """Makes a volume in its first version."""
    request = await call.read(VolumeRequest)
    table = call.world.table(VOLUMES)
    _refuse_taken(by_id_or_name(table, request.name), request.name)
    volume = new_volume(call.world, name=request.name, prefix=request.content.source_prefix)
    table.add(volume)
    return _shown_volume(call.world, volume)


@group.get("/deployments/storage/volumes/{id}")
async def retrieve_volume(call: Call) -> Response:
    """One volume."""
    return _shown_volume(call.world, _volume(call))


@group.patch("/deployments/storage/volumes/{id}")
async def update_volume(call: Call) -> Response:
    """Renames a volume, or gives it a new version with other content."""
    volume, table = _volume(call), call.world.table(VOLUMES)
    request = await call.read(VolumeUpdate)
    if request.name not in (None, volume.name):
        _refuse_taken(by_id_or_name(table, request.name or ""), request.name or "")
        volume.name = request.name or volume.name
    if request.content is not None:
        volume.prefixes.append(request.content.source_prefix)
    volume.updated = call.world.clock.now()
    table.save(volume)
    return _shown_volume(call.world, volume)


@group.delete("/deployments/storage/volumes/{id}")
async def delete_volume(call: Call) -> Response:
    """Deletes a volume that nothing mounts."""
    volume = _volume(call)
    mounting = mounted_by(call.world, volume)
    if mounting:
        raise Refusal(400, f"Volume {volume.name} is mounted by {', '.join(mounting)}.")
    call.world.table(VOLUMES).remove(volume)
    return json_reply({})


@group.get("/deployments/storage/{filename:path}")
async def download(call: Call) -> Response:
    """Leads to a file in the project's storage."""
    file = named_file(call.world, call.path_params["filename"])
    return RedirectResponse(signed_url(call, f"files/{file.id}"), 307)


@group.get("/deployments")
async def list_deployments(call: Call) -> Response:
    """All deployments."""
    return data_list(call.world.table(DEPLOYMENTS).rows(call.world.clock.now()), opening=_LIST_OPENING)


@group.post("/deployments")
async def create(call: Call) -> Response:
    """Creates a deployment, which rolls out at once."""
    request = await call.read(CreateRequest)
    _refuse_taken(_find(call.world, request.name), request.name)
    deployment = new_deployment(call.world, new_spec(call.world, request))
    call.world.table(DEPLOYMENTS).add(deployment)
    return _shown(call.world, deployment)


@group.get("/deployments/{id}")
async def retrieve(call: Call) -> Response:
    """One deployment."""
    return _shown(call.world, _deployment(call))


@group.patch("/deployments/{id}")
async def update(call: Call) -> Response:
    """Changes a deployment: its replicas are scaled, or replaced where more than their number changes."""
    deployment = _deployment(call)
    request = await call.read(UpdateRequest)
    if request.name not in (None, deployment.spec.name):
        _refuse_taken(_find(call.world, request.name or ""), request.name or "")
    before, after = deployment.spec, changed_spec(call.world, deployment, request)
    now = call.world.clock.now()
    if _runs_otherwise(before, after) or deployment.status(now) == DEPLOYMENTS.failure:
        roll_out(deployment, after, now)
    elif (before.min_replicas, before.max_replicas) != (after.min_replicas, after.max_replicas):
        scale(deployment, after, now)
    else:
        deployment.spec = after
    deployment.updated = now
    call.world.table(DEPLOYMENTS).save(deployment)
    return _shown(call.world, deployment)


@group.delete("/deployments/{id}")
async def delete(call: Call) -> Response:
    """Deletes a deployment with its replicas."""
    deployment, table = _deployment(call), call.world.table(DEPLOYMENTS)
    if deployment.status(call.world.clock.now()) in DEPLOYMENTS.active:
        table.count_cancelled()
    table.remove(deployment)
    return json_reply({})


@group.get("/deployments/{id}/logs")
async def logs(call: Call) -> Response:
    """What the replicas of the present revision have printed."""
    replica = call.query_params.get("replica_id") or ""
    lines = DEPLOYMENTS.logs(call.world, _deployment(call), replica, call.world.clock.now())
    return json_reply({"lines": lines})


_FREE_TO_CHANGE = {"name", "description", "min_replicas", "max_replicas", "autoscaling"}
"""What can change without new replicas."""


def _runs_otherwise(before: msgspec.Struct, after: msgspec.Struct) -> bool:
    fields = set(before.__struct_fields__) - _FREE_TO_CHANGE
    return any(getattr(before, name) != getattr(after, name) for name in fields)


def _find(world: World, key: str) -> Deployment | None:
    table = world.table(DEPLOYMENTS)
    return table.find(key) or next((item for item in table if item.spec.name == key), None)


def _deployment(call: Call) -> Deployment:
    found = _find(call.world, call.path_params["id"])
    if found is None:
        raise Refusal(404, f"Deployment not found: {call.path_params['id']}")
    return found


def _secret(call: Call) -> Secret:
    found = by_id_or_name(call.world.table(SECRETS), call.path_params["id"])
    if found is None:
        raise Refusal(404, f"Secret not found: {call.path_params['id']}")
    return found


def _volume(call: Call) -> Volume:
    found = by_id_or_name(call.world.table(VOLUMES), call.path_params["id"])
    if found is None:
        raise Refusal(404, f"Volume not found: {call.path_params['id']}")
    return found


def _refuse_taken(holder: object | None, name: str) -> None:
    if holder is not None:
        raise Refusal(400, f"The name {name!r} is taken.")


def _shown(world: World, deployment: Deployment) -> Response:
    return json_reply(DEPLOYMENTS.row(world, deployment, world.clock.now()))


def _shown_secret(world: World, secret: Secret) -> Response:
    return json_reply(SECRETS.row(world, secret, world.clock.now()))


def _shown_volume(world: World, volume: Volume) -> Response:
    return json_reply(VOLUMES.row(world, volume, world.clock.now()))
