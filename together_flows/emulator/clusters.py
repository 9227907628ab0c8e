"""GPU clusters and the volumes they share: they come up in many steps, and bill until they are deleted."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable
from typing import Any

from together_flows.emulator.jobs import Job, JobKind, Stage
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.world import World

__all__ = [
    "CLUSTERS",
    "DELETED",
    "DRIVERS",
    "GPUS_PER_NODE",
    "REGIONS",
    "SHARED_VOLUMES",
    "Cluster",
    "SharedVolume",
    "attach",
    "existing_cluster",
    "is_gone",
    "new_cluster",
    "new_volume",
    "remove_cluster",
    "rescale",
]

GPUS_PER_NODE = 8

DELETED = "Deleted"
"""A status that nobody sees: from then on the cluster is not found."""

DRIVERS = {
    "CUDA_12_5_555": ("12.5", "555"),
    "CUDA_12_6_560": ("12.6", "560"),
    "CUDA_12_6_565": ("12.6", "565"),
    "CUDA_12_8_570": ("12.8", "570"),
}
"""The contract's names, with the versions of CUDA and of the driver that newer clients name one by one."""

REGIONS = {
    "us-central-8": ("H100_SXM", "H200_SXM", "H100_SXM_INF"),
    "us-east-2": ("H100_SXM", "B200_SXM", "L40_PCIE"),
    "eu-west-1": ("H100_SXM", "RTX_6000_PCI"),
}

_WAY_UP = (
    ("WaitingForControlPlaneNodes", 60.0),
    ("WaitingForDataPlaneNodes", 120.0),
    ("WaitingForSubnet", 30.0),
    ("WaitingForSharedVolume", 30.0),
    ("InstallingDrivers", 120.0),
    ("RunningAcceptanceTests", 60.0),
)
_WAY_WIDER = (("WaitingForDataPlaneNodes", 120.0), ("RunningAcceptanceTests", 60.0))
DELETING_SECONDS, PROVISIONING_SECONDS = 60.0, 30.0

_HOUR = 3600.0


class Cluster(Job, kw_only=True):
    """A cluster.

    Attributes:
        hours: how long it is reserved; 0 for one on demand.
        volume_id: the volume that it shares; empty for none.
    """

    name: str
    cluster_type: str
    region: str
    gpu_type: str
    num_gpus: int
    driver_version: str
    hours: int
    volume_id: str

    @property
    def reserved_until(self) -> float:
        """When its reservation is over; infinite for one on demand."""
        return self.created + self.hours * _HOUR if self.hours else math.inf

    def stage(self, now: float) -> Stage:
        if now >= self.reserved_until:
            return Stage(DELETED, self.reserved_until)
        return super().stage(now)


class SharedVolume(Job, kw_only=True):
    """A volume."""

    name: str
    region: str
    size_tib: int


class _Clusters(JobKind[Cluster]):
    name = "cluster"
    noun = "Cluster"
    active = frozenset({*(status for status, _ in _WAY_UP), "Ready", "Degraded"})
    failure = "Degraded"
    record = Cluster

    def row(self, world: World, job: Cluster, now: float) -> dict[str, Any]:
        status = job.status(now)
        volume = world.table(SHARED_VOLUMES).find(job.volume_id)
        return {
            "cluster_id": job.id,
            "cluster_type": job.cluster_type,
            "region": job.region,
            "gpu_type": job.gpu_type,
            "cluster_name": job.name,
            "duration_hours": job.hours,
            "driver_version": job.driver_version,
            "volumes": [SHARED_VOLUMES.row(world, volume, now)] if volume else [],
            "status": status,
            "control_plane_nodes": [_control_node(job, number, status) for number in range(1, 4)],
            "gpu_worker_nodes": [_worker(job, number, status) for number in range(1, job.num_gpus // 8 + 1)],
            "kube_config": _kube_config(job) if status == "Ready" else "",
            "num_gpus": job.num_gpus,
        }

    def fields(self, world: World, job: Cluster, now: float) -> dict[str, Any]:
        return {"name": job.name, "num_gpus": job.num_gpus}


class _SharedVolumes(JobKind[SharedVolume]):
    name = "shared_volume"
    noun = "Volume"
    active = frozenset({"provisioning", "available", "bound"})
    failure = "failed"
    record = SharedVolume

    def row(self, world: World, job: SharedVolume, now: float) -> dict[str, Any]:
        return {
            "volume_id": job.id,
            "volume_name": job.name,
            "size_tib": job.size_tib,
            "status": job.status(now),
        }


CLUSTERS = _Clusters()
SHARED_VOLUMES = _SharedVolumes()


def new_cluster(
    world: World,
    *,
    name: str,
    cluster_type: str,
    region: str,
    gpu_type: str,
    num_gpus: int,
    driver_version: str,
    hours: int,
    volume: SharedVolume | None,
) -> Cluster:
    """A new cluster on its way up."""
    born = world.born()
    way = [step for step in _WAY_UP if volume or step[0] != "WaitingForSharedVolume"]
    return Cluster(
        id=str(uuid.uuid4()),
        created=born.created,
        visible=born.visible,
        stages=_steps(way, born.created),
        name=name,
        cluster_type=cluster_type,
        region=region,
        gpu_type=gpu_type,
        num_gpus=num_gpus,
        driver_version=driver_version,
        hours=hours,
        volume_id=volume.id if volume else "",
    )


def new_volume(world: World, *, name: str, region: str, size_tib: int) -> SharedVolume:
    """A new volume."""
    born = world.born()
    return SharedVolume(
        id=str(uuid.uuid4()),
        created=born.created,
        visible=born.visible,
        stages=[Stage("provisioning", born.created), Stage("available", born.created + PROVISIONING_SECONDS)],
        name=name,
        region=region,
        size_tib=size_tib,
    )


def attach(world: World, volume: SharedVolume, cluster: Cluster) -> None:
    """Binds a volume to a cluster, as soon as it is there and as long as the cluster is."""
    now = world.clock.now()
    bound = max(volume.entered("available") or now, now)
    volume.stages = [*(stage for stage in volume.stages if stage.at <= bound), Stage("bound", bound)]
    if cluster.reserved_until < math.inf:
        volume.stages.append(Stage("available", cluster.reserved_until))
    world.table(SHARED_VOLUMES).save(volume)


def existing_cluster(world: World, cluster_id: str) -> Cluster:
    """The cluster of this id.

    Raises:
        Refusal: 404, there is none, or none any more.
    """
    cluster = world.table(CLUSTERS).get(cluster_id)
    if is_gone(cluster, world.clock.now()):
        raise Refusal(404, f"Cluster not found: {cluster_id}")
    return cluster


def is_gone(cluster: Cluster, now: float) -> bool:
    """Whether a cluster is deleted, or its reservation over."""
    return cluster.status(now) == DELETED


def rescale(world: World, cluster: Cluster, num_gpus: int) -> None:
    """Gives a cluster another number of GPUs."""
    cluster.num_gpus = num_gpus
    now = world.clock.now()
    first, *later = _steps(_WAY_WIDER, now)
    cluster.turn(first.status, now)
    cluster.stages += later


def remove_cluster(world: World, cluster: Cluster) -> None:
    """Begins to delete a cluster; its volume stays."""
    now = world.clock.now()
    gone = now + DELETING_SECONDS
    cluster.turn("Deleting", now)
    cluster.stages.append(Stage(DELETED, gone))
    world.table(CLUSTERS).save(cluster)
    volume = world.table(SHARED_VOLUMES).find(cluster.volume_id)
    if volume is not None:
        volume.turn("available", gone)
        world.table(SHARED_VOLUMES).save(volume)


def _steps(way: Iterable[tuple[str, float]], start: float) -> list[Stage]:
    stages = []
    for status, seconds in way:
        stages.append(Stage(status, start))
        start += seconds
    return [*stages, Stage("Ready", start)]


def _control_node(cluster: Cluster, number: int, status: str) -> dict[str, Any]:
    name = f"{cluster.name}-control-{number}"
    return {
        "node_id": f"{cluster.id[:8]}-c{number}",
        "node_name": name,
        "status": "Provisioning" if status == "WaitingForControlPlaneNodes" else "Running",
        "host_name": f"{name}.emulator.invalid",
        "num_cpu_cores": 8,
        "memory_gib": 32,
        "network": f"10.0.0.{number}",
    }


def _worker(cluster: Cluster, number: int, status: str) -> dict[str, Any]:
    name = f"{cluster.name}-gpu-{number}"
    waiting = status in ("WaitingForControlPlaneNodes", "WaitingForDataPlaneNodes")
    return {
        "node_id": f"{cluster.id[:8]}-g{number}",
        "node_name": name,
        "status": "Provisioning" if waiting else "Running",
        "host_name": f"{name}.emulator.invalid",
        "num_cpu_cores": 192,
        "num_gpus": GPUS_PER_NODE,
        "memory_gib": 1800,
        "networks": [f"10.0.1.{number}"],
    }


def _kube_config(cluster: Cluster) -> str:
    """A well-formed configuration that leads nowhere."""
    return (
        "apiVersion: v1\nkind: Config\n"
        f"clusters:\n- name: {cluster.id}\n  cluster:\n    server: https://{cluster.id}.emulator.invalid:6443\n"
        f"contexts:\n- name: {cluster.id}\n  context:\n    cluster: {cluster.id}\n    user: emulator\n"
        f"current-context: {cluster.id}\nusers:\n- name: emulator\n  user:\n    token: emulated\n"
    )
