"""Deployments: containers of one's own on Together's GPUs, with their secrets and volumes.

They bill while their replicas run. Ids and names are both taken wherever a path asks for an id.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from together_flows.api._containers import (
    Autoscaling,
    CustomMetricAutoscaling,
    Deployment,
    DeploymentList,
    EnvironmentVariable,
    HttpAutoscaling,
    Logs,
    OtherAutoscaling,
    QueueAutoscaling,
    ReplicaEvent,
    SecretList,
    SetVariable,
    StoredSecret,
    Volume,
    VolumeContent,
    VolumeFile,
    VolumeList,
    VolumeMount,
    VolumeSource,
    VolumeVersion,
)
from together_flows.api._model import Name, Nested, Secret
from together_flows.api._operation import Reply, operation

__all__ = [
    "CustomMetricAutoscaling",
    "Deployment",
    "DeploymentList",
    "EnvironmentVariable",
    "HttpAutoscaling",
    "Logs",
    "OtherAutoscaling",
    "QueueAutoscaling",
    "ReplicaEvent",
    "SecretList",
    "SetVariable",
    "StoredSecret",
    "Volume",
    "VolumeContent",
    "VolumeFile",
    "VolumeList",
    "VolumeMount",
    "VolumeSource",
    "VolumeVersion",
    "create",
    "create_secret",
    "create_volume",
    "delete",
    "delete_secret",
    "delete_volume",
    "download_file",
    "list",
    "list_secrets",
    "list_volumes",
    "logs",
    "retrieve",
    "retrieve_secret",
    "retrieve_volume",
    "update",
    "update_secret",
    "update_volume",
]

GpuType = Literal["h100-80gb", "h100-40gb-mig", "h200-140gb", "b200-192gb"] | str
DeploymentName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")]
SecretName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_./-]{1,100}$")]
SecretValue = Annotated[Secret, Field(min_length=1)]
Description = Annotated[str, Field(max_length=500)]
Cores = Annotated[float, Field(ge=0.1)]
Gibibytes = Annotated[float, Field(gt=0, le=1000)]
StorageGibibytes = Annotated[int, Field(ge=0, le=400)]
Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=0)]


def _check_replicas(given: Any) -> Iterator[str]:
    low, high = given.min_replicas, given.max_replicas
    if low is not None and high is not None and high < low:
        yield f"min_replicas ({low}) exceeds max_replicas ({high})"


@operation("GET", "/deployments")
def list() -> DeploymentList:
    """List the project's deployments with their statuses. One call shows them all."""


@operation("POST", "/deployments", check=_check_replicas)
def create(
    *,
    gpu_type: GpuType,
    image: Name,
    name: DeploymentName,
    args: Sequence[str] | None = None,
    autoscaling: Nested[Autoscaling] | None = None,
    command: Sequence[str] | None = None,
    cpu: Cores | None = None,
    description: str | None = None,
    environment_variables: Sequence[Nested[EnvironmentVariable]] | None = None,
    gpu_count: Count | None = None,
    health_check_path: str | None = None,
    max_replicas: Count | None = None,
    memory: Gibibytes | None = None,
    min_replicas: Count | None = None,
    port: Port | None = None,
    storage: StorageGibibytes | None = None,
    termination_grace_period_seconds: Count | None = None,
    volumes: Sequence[Nested[VolumeMount]] | None = None,
) -> Deployment:
    """Run a container image. Each replica is billed while it runs.

    The bounds are those of the API's reference.

    Args:
        gpu_type: kind of GPU.
        image: image in Together's registry.
        name: unique name of 1 to 100 letters, digits, underscores and hyphens.
        args: arguments of the container, in place of the image's own.
        autoscaling: scale by requests, by the queue or by a metric of one's own.
        command: command of the container, in place of the image's own.
        cpu: cores a replica, at least 0.1.
        description: text for people.
        environment_variables: each with a value or with the name of a secret. No repr or error shows a value.
        gpu_count: GPUs a replica, 0 unless given.
        health_check_path: path that answers when the container is well.
        max_replicas: most replicas, as many as `min_replicas` unless given.
        memory: GiB a replica, at most 1000.
        min_replicas: fewest replicas, 1 unless given.
        port: port that the container listens on, 1 to 65535; needed if it serves requests.
        storage: GiB of disk a replica, at most 400.
        termination_grace_period_seconds: seconds that a replica has to end by itself.
        volumes: volumes to mount.

    Raises:
        Conflict: the name is taken.
    """


@operation("DELETE", "/deployments/{id}", reply=Reply.NOTHING)
def delete(id: str, /) -> None:
    """Stop a deployment and delete it."""


@operation("GET", "/deployments/{id}")
def retrieve(id: str, /) -> Deployment:
    """Read one deployment, by id or name."""


@operation("PATCH", "/deployments/{id}", check=_check_replicas)
def update(
    id: str,
    /,
    *,
    args: Sequence[str] | None = None,
    autoscaling: Nested[Autoscaling] | None = None,
    command: Sequence[str] | None = None,
    cpu: Cores | None = None,
    description: str | None = None,
    environment_variables: Sequence[Nested[EnvironmentVariable]] | None = None,
    gpu_count: Count | None = None,
    gpu_type: GpuType | None = None,
    health_check_path: str | None = None,
    image: str | None = None,
    max_replicas: Count | None = None,
    memory: Gibibytes | None = None,
    min_replicas: Count | None = None,
    name: DeploymentName | None = None,
    port: Port | None = None,
    storage: StorageGibibytes | None = None,
    termination_grace_period_seconds: Count | None = None,
    volumes: Sequence[Nested[VolumeMount]] | None = None,
) -> Deployment:
    """Change a deployment. What is not given stays as it is.

    Args:
        id: id or name.
        args: as for `create`.
        autoscaling: as for `create`; `{}` switches it off.
        command: as for `create`.
        cpu: as for `create`.
        description: as for `create`.
        environment_variables: these take the place of all that are set.
        gpu_count: as for `create`.
        gpu_type: as for `create`.
        health_check_path: as for `create`; an empty string switches the check off.
        image: as for `create`.
        max_replicas: as for `create`.
        memory: as for `create`.
        min_replicas: as for `create`.
        name: new name.
        port: as for `create`.
        storage: as for `create`.
        termination_grace_period_seconds: as for `create`.
        volumes: these take the place of all that are mounted.
    """


@operation("GET", "/deployments/{id}/logs")
def logs(id: str, /, *, replica_id: str | None = None) -> Logs:
    """Read what a deployment wrote.

    Args:
        id: id or name.
        replica_id: only this replica.
    """


@operation("GET", "/deployments/secrets")
def list_secrets() -> SecretList:
    """List the project's secrets, without their values."""


@operation("POST", "/deployments/secrets")
def create_secret(
    *, name: SecretName, value: SecretValue, description: Description | None = None, project_id: str | None = None
) -> StoredSecret:
    """Store a secret for deployments to use.

    Args:
        name: unique name of 1 to 100 letters, digits, underscores, hyphens, slashes and dots (API's reference).
        value: what is to be kept secret. No repr or error shows it.
        description: text for people, at most 500 characters (API's reference).
        project_id: without effect; the key decides the project.

    Raises:
        Conflict: the name is taken.
    """


@operation("DELETE", "/deployments/secrets/{id}", reply=Reply.NOTHING)
def delete_secret(id: str, /) -> None:
    """Delete a secret, by id or name."""


@operation("GET", "/deployments/secrets/{id}")
def retrieve_secret(id: str, /) -> StoredSecret:
    """Read about one secret, by id or name. Its value is not told."""


@operation("PATCH", "/deployments/secrets/{id}")
def update_secret(
    id: str,
    /,
    *,
    description: Description | None = None,
    name: SecretName | None = None,
    project_id: str | None = None,
    value: SecretValue | None = None,
) -> StoredSecret:
    """Change a secret.

    Args:
        id: id or name.
        description: new text for people, at most 500 characters.
        name: new name.
        project_id: without effect; the key decides the project.
        value: new value. No repr or error shows it.
    """


@operation("GET", "/deployments/storage/{filename}", reply=Reply.BYTES)
def download_file(filename: str, /) -> bytes:
    """Download a file from the project's storage. The API redirects to a signed address."""


@operation("GET", "/deployments/storage/volumes")
def list_volumes() -> VolumeList:
    """List the project's volumes."""


@operation("POST", "/deployments/storage/volumes")
def create_volume(*, content: Nested[VolumeSource], name: Name, type: Literal["readOnly"] | str = "readOnly") -> Volume:
    """Make a volume out of files in the project's storage.

    Args:
        content: which files.
        name: unique name.
        type: `readOnly` is the only one so far.
    """


@operation("DELETE", "/deployments/storage/volumes/{id}", reply=Reply.NOTHING)
def delete_volume(id: str, /) -> None:
    """Delete a volume, by id or name."""


@operation("GET", "/deployments/storage/volumes/{id}")
def retrieve_volume(id: str, /) -> Volume:
    """Read one volume, by id or name."""


@operation("PATCH", "/deployments/storage/volumes/{id}")
def update_volume(
    id: str,
    /,
    *,
    content: Nested[VolumeSource] | None = None,
    name: str | None = None,
    type: Literal["readOnly"] | str | None = None,
) -> Volume:
    """Change a volume. New content makes a new version.

    Args:
        id: id or name.
        content: which files it is loaded with from now on.
        name: new name.
        type: `readOnly` is the only one so far.
    """
