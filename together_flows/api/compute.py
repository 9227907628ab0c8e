"""Compute: GPU clusters with Kubernetes or Slurm, and the volumes that they share. They bill until they are deleted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from together_flows.api._model import Answer, Name, Nested, Request, Rows
from together_flows.api._operation import operation

__all__ = [
    "Cluster",
    "ClusterDeleted",
    "ClusterList",
    "ClusterVolume",
    "ControlPlaneNode",
    "DriverVersion",
    "NewVolume",
    "Region",
    "RegionList",
    "SharedVolume",
    "VolumeDeleted",
    "VolumeList",
    "WorkerNode",
    "create_cluster",
    "create_volume",
    "delete_cluster",
    "delete_volume",
    "list_clusters",
    "list_regions",
    "list_volumes",
    "retrieve_cluster",
    "retrieve_volume",
    "update_cluster",
    "update_volume",
]

ClusterType = Literal["KUBERNETES", "SLURM"] | str
GpuType = Literal["H100_SXM", "H200_SXM", "RTX_6000_PCI", "L40_PCIE", "B200_SXM", "H100_SXM_INF"] | str
Gpus = Annotated[int, Field(ge=8, multiple_of=8)]
Tebibytes = Annotated[int, Field(ge=1)]


class NewVolume(Request):
    """A volume to make together with a cluster: its name, its size in TiB, and its region."""

    volume_name: str
    size_tib: Tebibytes
    region: str


class ControlPlaneNode(Answer):
    """A node that runs the cluster."""

    node_id: str
    status: str
    node_name: str = ""
    host_name: str = ""
    num_cpu_cores: int | None = None
    memory_gib: float | None = None
    network: str | None = None


class WorkerNode(Answer):
    """A node that has the GPUs."""

    node_id: str
    status: str
    node_name: str = ""
    host_name: str = ""
    num_cpu_cores: int | None = None
    num_gpus: int | None = None
    memory_gib: float | None = None
    networks: Sequence[str] = ()


class ClusterVolume(Answer):
    """A volume of a cluster."""

    volume_id: str
    status: str
    volume_name: str = ""
    size_tib: int | None = None


class Cluster(Answer):
    """A GPU cluster.

    Attributes:
        status: Ready serves; WaitingForControlPlaneNodes, WaitingForDataPlaneNodes, WaitingForSubnet,
            WaitingForSharedVolume, InstallingDrivers, RunningAcceptanceTests and Deleting go on; Degraded, Paused and
            OnDemandComputePaused need a look. A deleted cluster is not found.
        duration_hours: hours that a reserved cluster lasts.
        kube_config: access to the cluster. It is a secret: no repr shows it.
    """

    cluster_id: str
    status: str
    cluster_name: str = ""
    cluster_type: str | None = None
    region: str | None = None
    gpu_type: str | None = None
    num_gpus: int | None = None
    driver_version: str | None = None
    duration_hours: int | None = None
    volumes: Sequence[ClusterVolume] = ()
    control_plane_nodes: Sequence[ControlPlaneNode] = ()
    gpu_worker_nodes: Sequence[WorkerNode] = ()
    kube_config: str | None = Field(default=None, repr=False)


class ClusterList(Answer):
    """All clusters of the account."""

    clusters: Rows[Cluster]


class ClusterDeleted(Answer):
    """The answer to a deletion."""

    cluster_id: str


class DriverVersion(Answer):
    """A pair of versions that go together."""

    cuda_driver_version: str | None = None
    cuda_version: str | None = None
    nvidia_driver_version: str | None = None


class Region(Answer):
    """A region, with the drivers and the GPUs that can be had there."""

    name: str
    driver_versions: Sequence[DriverVersion | str] = ()
    supported_instance_types: Sequence[str] = ()


class RegionList(Answer):
    """All regions."""

    regions: Rows[Region]


class SharedVolume(Answer):
    """A volume.

    Attributes:
        size_tib: TiB.
        status: available and bound can be used; provisioning, scheduled and deleting go on; failed, access_revoked and
            unknown cannot.
    """

    volume_id: str
    status: str
    volume_name: str = ""
    size_tib: int | None = None


class VolumeList(Answer):
    """All volumes of the account."""

    volumes: Rows[SharedVolume]


class VolumeDeleted(Answer):
    """The answer to a deletion."""

    success: bool | None = None


def _check_drivers(given: Any) -> Iterator[str]:
    pair = (given.cuda_version, given.nvidia_driver_version)
    if given.driver_version is None and None in pair:
        yield "driver_version is required, or cuda_version with nvidia_driver_version"


@operation("GET", "/compute/clusters")
def list_clusters() -> ClusterList:
    """List the account's clusters with their statuses. One call shows them all."""


@operation("POST", "/compute/clusters", check=_check_drivers)
def create_cluster(
    *,
    region: Name,
    gpu_type: GpuType,
    num_gpus: Gpus,
    cluster_name: Name,
    billing_type: Literal["RESERVED", "ON_DEMAND"] | str,
    driver_version: Literal["CUDA_12_5_555", "CUDA_12_6_560", "CUDA_12_6_565", "CUDA_12_8_570"] | str | None = None,
    cluster_type: ClusterType | None = None,
    duration_days: Annotated[int, Field(ge=1)] | None = None,
    shared_volume: Nested[NewVolume] | None = None,
    volume_id: str | None = None,
    cuda_version: str | None = None,
    nvidia_driver_version: str | None = None,
) -> Cluster:
    """Create a cluster. It is billed for its reservation, or on demand until it is deleted.

    Args:
        region: name out of `list_regions`.
        gpu_type: kind of GPU.
        num_gpus: GPUs, a multiple of 8 (API's reference).
        cluster_name: name for people.
        billing_type: `RESERVED` for `duration_days`, or `ON_DEMAND` until it is deleted.
        driver_version: CUDA and driver in one word, as the API's contract has it.
        cluster_type: `KUBERNETES` or `SLURM`.
        duration_days: days of a reservation.
        shared_volume: volume to make with it.
        volume_id: volume that is there already.
        cuda_version: CUDA's version; newer versions of the API take it with the next in place of `driver_version`.
        nvidia_driver_version: the driver's version.
    """


@operation("GET", "/compute/clusters/{cluster_id}")
def retrieve_cluster(cluster_id: str, /) -> Cluster:
    """Read one cluster. When it is ready, the answer has the access to it."""


@operation("PUT", "/compute/clusters/{cluster_id}")
def update_cluster(
    cluster_id: str, /, *, cluster_type: ClusterType | None = None, num_gpus: Gpus | None = None
) -> Cluster:
    """Rescale a cluster.

    Args:
        cluster_id: the cluster.
        cluster_type: `KUBERNETES` or `SLURM`.
        num_gpus: GPUs from now on, a multiple of 8 (API's reference).
    """


@operation("DELETE", "/compute/clusters/{cluster_id}")
def delete_cluster(cluster_id: str, /) -> ClusterDeleted:
    """Delete a cluster, which ends its billing."""


@operation("GET", "/compute/regions")
def list_regions() -> RegionList:
    """List the regions with the drivers and GPUs that can be had there."""


@operation("GET", "/compute/clusters/storage/volumes")
def list_volumes() -> VolumeList:
    """List the account's volumes with their statuses. One call shows them all."""


@operation("PUT", "/compute/clusters/storage/volumes")
def update_volume(*, volume_id: str | None = None, size_tib: Tebibytes | None = None) -> SharedVolume:
    """Enlarge a volume.

    Args:
        volume_id: the volume.
        size_tib: size from now on, in whole TiB.
    """


@operation("POST", "/compute/clusters/storage/volumes")
def create_volume(*, volume_name: Name, size_tib: Tebibytes, region: Name) -> SharedVolume:
    """Create a volume. It is billed until it is deleted.

    Args:
        volume_name: name for people.
        size_tib: size in whole TiB.
        region: name out of `list_regions`.
    """


@operation("GET", "/compute/clusters/storage/volumes/{volume_id}")
def retrieve_volume(volume_id: str, /) -> SharedVolume:
    """Read one volume."""


@operation("DELETE", "/compute/clusters/storage/volumes/{volume_id}")
def delete_volume(volume_id: str, /) -> VolumeDeleted:
    """Delete a volume with everything on it, which ends its billing."""
