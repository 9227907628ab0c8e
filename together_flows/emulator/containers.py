"""Deployments of containers: they roll out in revisions, scale between bounds, and say what each replica does."""

from __future__ import annotations

import math
import uuid
from typing import Any

import msgspec

from together_flows.emulator.jobs import Job, JobKind, Stage
from together_flows.emulator.queues import QUEUE
from together_flows.emulator.world import World

__all__ = ["DEPLOYMENTS", "Deployment", "Mount", "Spec", "Variable", "new_deployment", "roll_out", "scale"]

PULLING_SECONDS, STARTING_SECONDS, SCALING_SECONDS = 40.0, 20.0, 30.0

REGISTRY = "registry.together.ai/"
"""Where images come from. One from anywhere else cannot be pulled, and its deployment fails."""


class Variable(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An environment variable: its value, or the name of the secret that has it."""

    name: str
    value: str = ""
    value_from_secret: str = ""


class Mount(msgspec.Struct, kw_only=True):
    """A version of a volume in the container's tree."""

    name: str
    mount_path: str
    version: int
    volume_id: str

    def view(self) -> dict[str, Any]:
        return {"name": self.name, "mount_path": self.mount_path, "version": self.version}


class Spec(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How a deployment is to be."""

    name: str
    image: str
    gpu_type: str
    description: str = ""
    gpu_count: int = 0
    cpu: float = 1.0
    memory: float = 8.0
    storage: int = 10
    port: int = 0
    health_check_path: str = ""
    args: list[str] = []
    command: list[str] = []
    min_replicas: int = 1
    max_replicas: int = 1
    termination_grace_period_seconds: int = 300
    environment_variables: list[Variable] = []
    volumes: list[Mount] = []
    autoscaling: dict[str, Any] = {}


class Deployment(Job, kw_only=True):
    """A deployment.

    Attributes:
        revision: how often it was rolled out.
        revised: when the revision began.
        updated: when anything of it was last changed.
        serving: replicas that serve until the present change is through.
    """

    spec: Spec
    revision: int
    revised: float
    updated: float
    serving: int = 0

    def replica_ids(self, count: int) -> list[str]:
        return [f"{self.spec.name}-{self.id[:6]}-{self.revision}-{number}" for number in range(count)]


class _Deployments(JobKind[Deployment]):
    name = "deployment"
    noun = "Deployment"
    active = frozenset({"Updating", "Scaling", "Ready"})
    failure = "Failed"
    record = Deployment

    def row(self, world: World, job: Deployment, now: float) -> dict[str, Any]:
        spec, status = job.spec, job.status(now)
        desired = desired_replicas(world, job, now)
        row = {
            "id": job.id,
            "object": "deployment",
            **{name: getattr(spec, name) for name in spec.__struct_fields__},
            "volumes": [mount.view() for mount in spec.volumes],
            "status": status,
            "desired_replicas": desired,
            "ready_replicas": desired if status == "Ready" else min(job.serving, desired),
            "replica_events": {name: _replica(world, job, now) for name in job.replica_ids(desired)},
            "created_at": world.clock.iso(job.created),
            "updated_at": world.clock.iso(job.updated),
        }
        unshown = {"termination_grace_period_seconds", *(name for name in ("autoscaling", "port") if not row[name])}
        return {name: value for name, value in row.items() if name not in unshown}

    def fields(self, world: World, job: Deployment, now: float) -> dict[str, Any]:
        return {"name": job.spec.name, "revision": job.revision}

    def logs(self, world: World, job: Deployment, replica: str, now: float) -> list[str]:
        """What the replicas have printed, or the named one of them."""
        replicas = job.replica_ids(desired_replicas(world, job, now))
        entries = [entry for entry in _log_entries(job) if entry[0] <= now]
        return [
            f"{world.clock.iso(moment)} [{name}] {text}"
            for moment, text in entries
            for name in replicas
            if replica in ("", name)
        ]


DEPLOYMENTS = _Deployments()


def new_deployment(world: World, spec: Spec) -> Deployment:
    """A new deployment, rolling out."""
    born = world.born()
    deployment = Deployment(
        id=str(uuid.uuid4()),
        created=born.created,
        visible=born.visible,
        stages=[],
        spec=spec,
        revision=0,
        revised=born.created,
        updated=born.created,
    )
    roll_out(deployment, spec, born.created)
    return deployment


def roll_out(deployment: Deployment, spec: Spec, now: float) -> None:
    """Replaces every replica by one of the new kind; the old ones serve until the new ones do."""
    deployment.serving = _serving(deployment, now)
    deployment.spec, deployment.revision, deployment.revised = spec, deployment.revision + 1, now
    deployment.turn("Updating", now)
    if spec.image.startswith(REGISTRY):
        deployment.stages.append(Stage("Ready", now + PULLING_SECONDS + STARTING_SECONDS))
        deployment.error = ""
    else:
        deployment.stages.append(Stage("Failed", now + PULLING_SECONDS))
        deployment.error = f"Failed to pull image {spec.image!r}: it is not in {REGISTRY}."


def scale(deployment: Deployment, spec: Spec, now: float) -> None:
    """Brings up or takes away replicas; the others go on."""
    deployment.serving = _serving(deployment, now)
    deployment.spec = spec
    if deployment.status(now) == "Ready":
        deployment.turn("Scaling", now)
        deployment.stages.append(Stage("Ready", now + SCALING_SECONDS))


def desired_replicas(world: World, deployment: Deployment, now: float) -> int:
    """How many replicas there should be: the least, or what the backlog of its queue asks for."""
    spec = deployment.spec
    if spec.autoscaling.get("metric") != "QueueBacklogPerWorker":
        return spec.min_replicas
    model = spec.autoscaling.get("model") or spec.name
    backlog = sum(job.model == model and job.status(now) in QUEUE.active for job in world.table(QUEUE))
    wanted = math.ceil(backlog / float(spec.autoscaling["target"]))
    return min(max(spec.min_replicas, wanted), spec.max_replicas)


def _serving(deployment: Deployment, now: float) -> int:
    if not deployment.stages:
        return 0
    status = deployment.status(now)
    return deployment.spec.min_replicas if status == "Ready" else deployment.serving


def _replica(world: World, deployment: Deployment, now: float) -> dict[str, Any]:
    """What the platform tells of one replica; all of a revision go the same way."""
    status = deployment.status(now)
    event = {"image": deployment.spec.image, "revision_id": str(deployment.revision)}
    if deployment.spec.volumes:
        event |= _preload(world, deployment, now)
    if status == "Failed":
        reason = "ErrImagePull" if deployment.error.startswith("Failed to pull") else "Error"
        return event | {
            "replica_status": "Waiting",
            "replica_status_reason": reason,
            "replica_status_message": deployment.error,
        }
    if status == "Updating":
        return event | {"replica_status": "Waiting", "replica_status_reason": "ContainerCreating"}
    return event | {
        "replica_status": "Running",
        "replica_ready_since": world.clock.iso(deployment.revised + PULLING_SECONDS + STARTING_SECONDS),
    }


def _preload(world: World, deployment: Deployment, now: float) -> dict[str, str]:
    done = deployment.revised + PULLING_SECONDS / 2
    started = {"volume_preload_started_at": world.clock.iso(deployment.revised)}
    if now < done:
        return started | {"volume_preload_status": "InProgress"}
    return started | {"volume_preload_status": "Completed", "volume_preload_completed_at": world.clock.iso(done)}


def _log_entries(deployment: Deployment) -> list[tuple[float, str]]:
    """What every replica of the revision prints, and when."""
    spec, began = deployment.spec, deployment.revised
    pulled, ready = began + PULLING_SECONDS, began + PULLING_SECONDS + STARTING_SECONDS
    entries = [(began, f"Pulling image {spec.image}")]
    if not spec.image.startswith(REGISTRY):
        return [*entries, (pulled, deployment.error)]
    entries.append((pulled, f"Starting {' '.join([*spec.command, *spec.args]) or 'the image'}"))
    if spec.port:
        entries.append((ready, f"Listening on port {spec.port}"))
    entries.append((ready, "Ready"))
    if deployment.error:
        entries.append((deployment.stages[-1].at, deployment.error))
    return entries
