"""Requests for deployments: their bounds, and what they must find in the account."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from together_flows.emulator.containers import Deployment, Mount, Spec, Variable
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.shelves import SECRETS, VOLUMES, by_id_or_name
from together_flows.emulator.world import World

__all__ = ["CreateRequest", "UpdateRequest", "changed_spec", "new_spec"]

MAX_REPLICAS = 100

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_-]+$")]
GpuType = Literal["h100-80gb", "h100-40gb-mig", "h200-140gb", "b200-192gb"]
Replicas = Annotated[int, msgspec.Meta(ge=0, le=MAX_REPLICAS)]


class VariableRequest(msgspec.Struct, kw_only=True):
    """An environment variable."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    value: str | None = None
    value_from_secret: str | None = None


class MountRequest(msgspec.Struct, kw_only=True):
    """A volume to mount."""

    name: str
    mount_path: Annotated[str, msgspec.Meta(pattern=r"^/")]
    version: int | None = None


class UpdateRequest(msgspec.Struct, kw_only=True):
    """The body of an update; what is not given stays."""

    name: Name | None = None
    image: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    gpu_type: GpuType | None = None
    description: str | None = None
    gpu_count: Annotated[int, msgspec.Meta(ge=0, le=8)] | None = None
    cpu: Annotated[float, msgspec.Meta(ge=0.1)] | None = None
    memory: Annotated[float, msgspec.Meta(gt=0, le=1000)] | None = None
    storage: Annotated[int, msgspec.Meta(ge=1, le=400)] | None = None
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] | None = None
    health_check_path: str | None = None
    args: list[str] | None = None
    command: list[str] | None = None
    min_replicas: Replicas | None = None
    max_replicas: Replicas | None = None
    termination_grace_period_seconds: Annotated[int, msgspec.Meta(ge=0)] | None = None
    environment_variables: list[VariableRequest] | None = None
    volumes: list[MountRequest] | None = None
    autoscaling: dict[str, Any] | None = None


class CreateRequest(UpdateRequest, kw_only=True):
    """The body of a creation."""

    name: Name
    image: Annotated[str, msgspec.Meta(min_length=1)]
    gpu_type: GpuType


def new_spec(world: World, request: CreateRequest) -> Spec:
    """What a creation asks for.

    Raises:
        Refusal: 400, it cannot be had.
    """
    least = 1 if request.min_replicas is None else request.min_replicas
    request.min_replicas = least
    request.max_replicas = max(least, 1) if request.max_replicas is None else request.max_replicas
    blank = Spec(name=request.name, image=request.image, gpu_type=request.gpu_type)
    return _applied(world, blank, request, mounted={})


def changed_spec(world: World, deployment: Deployment, request: UpdateRequest) -> Spec:
    """What an update makes of a deployment.

    Raises:
        Refusal: 400, it cannot be had.
    """
    mounted = {mount.volume_id: mount.version for mount in deployment.spec.volumes}
    return _applied(world, deployment.spec, request, mounted)


def _applied(world: World, spec: Spec, request: UpdateRequest, mounted: dict[str, int]) -> Spec:
    plain = set(request.__struct_fields__) - {"environment_variables", "volumes", "autoscaling"}
    changes: dict[str, Any] = {name: value for name in plain if (value := getattr(request, name)) is not None}
    if request.environment_variables is not None:
        changes["environment_variables"] = [_variable(world, wanted) for wanted in request.environment_variables]
    if request.volumes is not None:
        changes["volumes"] = [_mount(world, wanted, mounted) for wanted in request.volumes]
    if request.autoscaling is not None:
        changes["autoscaling"] = _autoscaling(request.autoscaling)
    changed = msgspec.structs.replace(spec, **changes)
    if changed.min_replicas > changed.max_replicas:
        raise Refusal(400, "max_replicas must be at least min_replicas.")
    return changed


def _variable(world: World, wanted: VariableRequest) -> Variable:
    if (wanted.value is None) == (wanted.value_from_secret is None):
        raise Refusal(400, f"{wanted.name} needs either value or value_from_secret.")
    secret = wanted.value_from_secret
    if secret is not None and by_id_or_name(world.table(SECRETS), secret) is None:
        raise Refusal(400, f"{wanted.name}: there is no secret {secret!r}.")
    return Variable(name=wanted.name, value=wanted.value or "", value_from_secret=secret or "")


def _mount(world: World, wanted: MountRequest, mounted: dict[str, int]) -> Mount:
    volume = by_id_or_name(world.table(VOLUMES), wanted.name)
    if volume is None:
        raise Refusal(400, f"There is no volume {wanted.name!r}.")
    version = wanted.version or mounted.get(volume.id, volume.version)
    if not 1 <= version <= volume.version:
        raise Refusal(400, f"Volume {volume.name} has no version {version}.")
    return Mount(name=volume.name, mount_path=wanted.mount_path, version=version, volume_id=volume.id)


_METRICS: dict[str, dict[str, Any]] = {
    "HTTPTotalRequests": {"target": 100, "time_interval_minutes": 10},
    "HTTPAvgRequestDuration": {"target": 500, "time_interval_minutes": 10},
    "QueueBacklogPerWorker": {"target": 1.01},
    "CustomMetric": {"target": 500},
}
"""The metrics with their default settings."""


def _autoscaling(wanted: dict[str, Any]) -> dict[str, Any]:
    """The settings with their defaults; none for an empty object, which switches scaling off."""
    if not wanted:
        return {}
    metric = str(wanted.get("metric"))
    if metric not in _METRICS:
        raise Refusal(400, f"autoscaling.metric must be one of {', '.join(_METRICS)}, got {metric!r}.")
    settings = _METRICS[metric] | wanted
    if not isinstance(settings["target"], int | float) or settings["target"] <= 0:
        raise Refusal(400, "autoscaling.target must be above 0.")
    if metric == "CustomMetric" and not wanted.get("custom_metric_name"):
        raise Refusal(400, "autoscaling.custom_metric_name is required for CustomMetric.")
    return settings
