"""Compute: GPU clusters, the volumes that they share, and the regions of both."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from starlette.responses import Response

from together_flows.emulator.clusters import (
    CLUSTERS,
    DRIVERS,
    GPUS_PER_NODE,
    REGIONS,
    SHARED_VOLUMES,
    Cluster,
    SharedVolume,
    attach,
    existing_cluster,
    is_gone,
    new_cluster,
    new_volume,
    remove_cluster,
    rescale,
)
from together_flows.emulator.gate import Call, Group
from together_flows.emulator.refusals import Refusal, message_and_code
from together_flows.emulator.replies import data_list, json_reply
from together_flows.emulator.world import World

group = Group(errors=message_and_code)
kinds = [CLUSTERS, SHARED_VOLUMES]

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Tebibytes = Annotated[int, msgspec.Meta(ge=1, le=1024)]
ClusterType = Literal["KUBERNETES", "SLURM"]


class VolumeRequest(msgspec.Struct, kw_only=True):
    """A volume to be made."""

    volume_name: Name
    size_tib: Tebibytes
    region: str


class ClusterRequest(msgspec.Struct, kw_only=True):
    """The body of a creation; what it does not name is accepted and ignored."""

    region: str
    gpu_type: str
    num_gpus: int
    cluster_name: Name
    billing_type: Literal["RESERVED", "ON_DEMAND"]
    driver_version: str = ""
    cuda_version: str = ""
    nvidia_driver_version: str = ""
    cluster_type: ClusterType = "KUBERNETES"
    duration_days: Annotated[int, msgspec.Meta(ge=1)] | None = None
    shared_volume: VolumeRequest | None = None
    volume_id: str = ""


class ClusterUpdate(msgspec.Struct, kw_only=True):
    """The body of an update."""

    cluster_type: ClusterType | None = None
    num_gpus: int | None = None


class VolumeUpdate(msgspec.Struct, kw_only=True):
    """The body of an update; the volume is named in it and not in the path."""

    volume_id: str
    size_tib: Tebibytes


@group.get("/compute/regions")
async def list_regions(call: Call) -> Response:
    """The regions with what can be had there."""
    drivers = [
        {"cuda_driver_version": cuda, "cuda_version": cuda, "nvidia_driver_version": driver}
        for cuda, driver in DRIVERS.values()
    ]
    regions = [
        {"name": name, "driver_versions": drivers, "supported_instance_types": types} for name, types in REGIONS.items()
    ]
    return json_reply({"regions": regions})


@group.get("/compute/clusters")
async def list_clusters(call: Call) -> Response:
    """All clusters that are still there."""
    table, now = call.world.table(CLUSTERS), call.world.clock.now()
    rows = [table.row(cluster, now) for cluster in table.visible(now) if not is_gone(cluster, now)]
    return data_list(rows, opening=b'{"clusters":[')


@group.post("/compute/clusters")
async def create_cluster(call: Call) -> Response:
    """Creates a cluster, which bills at once."""
    request = await call.read(ClusterRequest)
    _check_gpus(request.num_gpus)
    _check_region(request.region, request.gpu_type)
    if request.billing_type == "RESERVED" and request.duration_days is None:
        raise Refusal(400, "A RESERVED cluster needs duration_days.")
    driver = _driver(request)
    volume = _volume_of(call.world, request)
    cluster = new_cluster(
        call.world,
        name=request.cluster_name,
        cluster_type=request.cluster_type,
        region=request.region,
        gpu_type=request.gpu_type,
        num_gpus=request.num_gpus,
        driver_version=driver,
        hours=24 * (request.duration_days or 0) if request.billing_type == "RESERVED" else 0,
        volume=volume,
    )
    call.world.table(CLUSTERS).add(cluster)
    if volume is not None:
        attach(call.world, volume, cluster)
    return _shown(call.world, cluster)


@group.get("/compute/clusters/{cluster_id}")
async def retrieve_cluster(call: Call) -> Response:
    """One cluster."""
    return _shown(call.world, existing_cluster(call.world, call.path_params["cluster_id"]))


@group.put("/compute/clusters/{cluster_id}")
async def update_cluster(call: Call) -> Response:
    """Rescales a cluster, or changes its type."""
    cluster = existing_cluster(call.world, call.path_params["cluster_id"])
    request = await call.read(ClusterUpdate)
    if cluster.status(call.world.clock.now()) == "Deleting":
        raise Refusal(400, f"Cluster {cluster.id} is Deleting.")
    if request.num_gpus is not None:
        _check_gpus(request.num_gpus)
    if request.cluster_type is not None:
        cluster.cluster_type = request.cluster_type
    if request.num_gpus not in (None, cluster.num_gpus):
        rescale(call.world, cluster, request.num_gpus or 0)
    call.world.table(CLUSTERS).save(cluster)
    return _shown(call.world, cluster)


@group.delete("/compute/clusters/{cluster_id}")
async def delete_cluster(call: Call) -> Response:
    """Begins to delete a cluster; a minute later it is not found any more."""
    cluster = existing_cluster(call.world, call.path_params["cluster_id"])
    if cluster.status(call.world.clock.now()) != "Deleting":
        remove_cluster(call.world, cluster)
        call.world.table(CLUSTERS).count_cancelled()
    return json_reply({"cluster_id": cluster.id})


@group.get("/compute/clusters/storage/volumes")
async def list_volumes(call: Call) -> Response:
    """All volumes."""
    return data_list(call.world.table(SHARED_VOLUMES).rows(call.world.clock.now()), opening=b'{"volumes":[')


@group.post("/compute/clusters/storage/volumes")
async def create_volume(call: Call) -> Response:
    """Creates a volume."""
    return _shown_volume(call.world, _created_volume(call.world, await call.read(VolumeRequest)))


@group.put("/compute/clusters/storage/volumes")
async def update_volume(call: Call) -> Response:
    """Makes a volume larger."""
    request = await call.read(VolumeUpdate)
    table = call.world.table(SHARED_VOLUMES)
    volume = table.get(request.volume_id)
    if request.size_tib < volume.size_tib:
        raise Refusal(400, f"A volume can only grow; {volume.id} has {volume.size_tib} TiB.")
    volume.size_tib = request.size_tib
    table.save(volume)
    return _shown_volume(call.world, volume)


@group.get("/compute/clusters/storage/volumes/{volume_id}")
async def retrieve_volume(call: Call) -> Response:
    """One volume."""
    return _shown_volume(call.world, call.world.table(SHARED_VOLUMES).get(call.path_params["volume_id"]))


@group.delete("/compute/clusters/storage/volumes/{volume_id}")
async def delete_volume(call: Call) -> Response:
    """Deletes a volume, unless a cluster has it."""
    table = call.world.table(SHARED_VOLUMES)
    volume = table.get(call.path_params["volume_id"])
    if _holder(call.world, volume) is not None:
        raise Refusal(400, f"Volume {volume.id} is attached to a cluster; delete that first.")
    table.remove(volume)
    table.count_cancelled()
    return json_reply({"success": True})


def _shown(world: World, cluster: Cluster) -> Response:
    return json_reply(CLUSTERS.row(world, cluster, world.clock.now()))


def _shown_volume(world: World, volume: SharedVolume) -> Response:
    return json_reply(SHARED_VOLUMES.row(world, volume, world.clock.now()))


def _check_gpus(count: int) -> None:
    if count < GPUS_PER_NODE or count % GPUS_PER_NODE:
        raise Refusal(400, f"num_gpus must be a multiple of {GPUS_PER_NODE}, got {count}.")


def _check_region(name: str, gpu_type: str | None = None) -> None:
    if name not in REGIONS:
        raise Refusal(400, f"Unknown region {name!r}; there are {', '.join(REGIONS)}.")
    if gpu_type is not None and gpu_type not in REGIONS[name]:
        raise Refusal(400, f"{name} has no {gpu_type}; it has {', '.join(REGIONS[name])}.")


def _driver(request: ClusterRequest) -> str:
    """The contract's name of the driver, also for clients that name CUDA and driver one by one."""
    if request.driver_version in DRIVERS:
        return request.driver_version
    pair = (request.cuda_version, request.nvidia_driver_version)
    found = next((name for name, versions in DRIVERS.items() if versions == pair), None)
    if found is None:
        raise Refusal(400, f"driver_version must be one of {', '.join(DRIVERS)}, got {request.driver_version!r}.")
    return found


def _volume_of(world: World, request: ClusterRequest) -> SharedVolume | None:
    """The volume that a new cluster is to share, made now if it is to be made."""
    if request.shared_volume is not None and request.volume_id:
        raise Refusal(400, "Give either shared_volume or volume_id.")
    if request.shared_volume is not None:
        wanted = request.shared_volume.region
        volume = _created_volume(world, request.shared_volume) if wanted == request.region else None
    elif request.volume_id:
        volume = world.table(SHARED_VOLUMES).get(request.volume_id)
        wanted = volume.region
    else:
        return None
    if volume is None or wanted != request.region:
        raise Refusal(400, f"The volume is in {wanted}, the cluster in {request.region}.")
    if _holder(world, volume) is not None:
        raise Refusal(400, f"Volume {volume.id} is attached to another cluster.")
    return volume


def _created_volume(world: World, request: VolumeRequest) -> SharedVolume:
    _check_region(request.region)
    volume = new_volume(world, name=request.volume_name, region=request.region, size_tib=request.size_tib)
    world.table(SHARED_VOLUMES).add(volume)
    return volume


def _holder(world: World, volume: SharedVolume) -> Cluster | None:
    """The cluster that has the volume."""
    now = world.clock.now()
    attached = (cluster for cluster in world.table(CLUSTERS) if cluster.volume_id == volume.id)
    return next((cluster for cluster in attached if not is_gone(cluster, now)), None)
