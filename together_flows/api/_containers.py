"""What a deployment is made of: its nested arguments, with the bounds of the API's reference, and its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from together_flows.api._model import Answer, Request, Rows, Secret, Time

__all__ = [
    "Autoscaling",
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
]


class HttpAutoscaling(Request):
    """Scale by the requests that come in.

    Attributes:
        metric: their number, or their average duration.
        target: threshold; 100 requests or 500 milliseconds unless given.
        time_interval_minutes: window of the rate, 10 minutes unless given.
    """

    metric: Literal["HTTPTotalRequests", "HTTPAvgRequestDuration"]
    target: float | None = None
    time_interval_minutes: Annotated[int, Field(ge=1)] | None = None


class QueueAutoscaling(Request):
    """Scale by the queue.

    Attributes:
        target: jobs that wait for each worker, 1.01 unless given.
        model: model whose queue counts; the deployment's own unless given.
    """

    metric: Literal["QueueBacklogPerWorker"] = "QueueBacklogPerWorker"
    target: float | None = None
    model: str | None = None


class CustomMetricAutoscaling(Request):
    """Scale by a Prometheus metric of one's own.

    Attributes:
        custom_metric_name: its name: a letter, underscore or colon, then also digits.
        target: threshold, 500 unless given.
    """

    metric: Literal["CustomMetric"] = "CustomMetric"
    custom_metric_name: Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")]
    target: float | None = None


class OtherAutoscaling(Request):
    """Scaling by a metric that this package does not know. Empty, it switches scaling off, in an update."""


def _metric(value: Any) -> str:
    metric = value.get("metric") if isinstance(value, Mapping) else getattr(value, "metric", None)
    if metric in {"HTTPTotalRequests", "HTTPAvgRequestDuration"}:
        return "HTTP"
    return metric if metric in {"QueueBacklogPerWorker", "CustomMetric"} else ""


Autoscaling = Annotated[
    Annotated[HttpAutoscaling, Tag("HTTP")]
    | Annotated[QueueAutoscaling, Tag("QueueBacklogPerWorker")]
    | Annotated[CustomMetricAutoscaling, Tag("CustomMetric")]
    | Annotated[OtherAutoscaling, Tag("")],
    Discriminator(_metric),
]


class EnvironmentVariable(Request):
    """An environment variable: its value, or the secret that holds it, but not both.

    Attributes:
        name: a letter or underscore, then also digits.
        value: the value. No repr or error shows it.
        value_from_secret: id or name of the secret.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    value: Secret | None = None
    value_from_secret: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.value is None) == (self.value_from_secret is None):
            raise ValueError("needs either value or value_from_secret")
        return self


class VolumeMount(Request):
    """Where a volume appears in the container.

    Attributes:
        name: the volume's id or name.
        mount_path: path in the container, such as `/data`.
        version: version of the volume; the latest, or in an update the one that is mounted, unless given.
    """

    name: str
    mount_path: str
    version: int | None = None


class VolumeSource(Request):
    """The files that a volume is loaded with: those in the project's storage whose names begin with the prefix."""

    type: Literal["files"] | str = "files"
    source_prefix: str | None = None


class SetVariable(Answer):
    """An environment variable of a deployment. Its value never shows in a repr."""

    name: str = ""
    value: str | None = Field(default=None, repr=False)
    value_from_secret: str | None = None


class ReplicaEvent(Answer):
    """How one replica does."""

    image: str | None = None
    revision_id: str | None = None
    replica_status: str | None = None
    replica_status_reason: str | None = None
    replica_status_message: str | None = None
    replica_ready_since: Time = None
    volume_preload_status: str | None = None
    volume_preload_started_at: Time = None
    volume_preload_completed_at: Time = None


class Deployment(Answer):
    """A deployment.

    Attributes:
        status: Updating and Scaling go on; Ready serves; ScaledToZero waits for work; Failed is over.
        cpu: cores a replica.
        memory: GiB a replica.
        storage: disk a replica.
        replica_events: how each replica does, by its id.
    """

    id: str
    status: str
    object: str = "deployment"
    name: str = ""
    description: str | None = None
    image: str | None = None
    command: Sequence[str] = ()
    args: Sequence[str] = ()
    autoscaling: dict[str, Any] | None = None
    cpu: float | None = None
    memory: float | None = None
    storage: float | None = None
    gpu_type: str | None = None
    gpu_count: int | None = None
    port: int | None = None
    health_check_path: str | None = None
    min_replicas: int | None = None
    max_replicas: int | None = None
    desired_replicas: int | None = None
    ready_replicas: int | None = None
    environment_variables: Sequence[SetVariable] = ()
    volumes: Sequence[dict[str, Any]] = ()
    replica_events: Mapping[str, ReplicaEvent] = Field(default_factory=dict)
    created_at: Time = None
    updated_at: Time = None


class DeploymentList(Answer):
    """All deployments of the project."""

    data: Rows[Deployment] = ()


class Logs(Answer):
    """What the containers wrote, line by line."""

    lines: Sequence[str] = ()


class StoredSecret(Answer):
    """A secret, without its value, which the API never tells."""

    id: str
    object: str = "secret"
    name: str = ""
    description: str | None = None
    created_at: Time = None
    created_by: str | None = None
    updated_at: Time = None
    last_updated_by: str | None = None


class SecretList(Answer):
    """All secrets of the project."""

    data: Rows[StoredSecret] = ()


class VolumeFile(Answer):
    """A file in a volume; its size is in bytes."""

    name: str = ""
    size: int | None = None
    last_modified: Time = None


class VolumeContent(Answer):
    """What a volume is loaded with."""

    type: str = "files"
    source_prefix: str | None = None
    files: Sequence[VolumeFile] = ()


class VolumeVersion(Answer):
    """A former version of a volume."""

    version: int | None = None
    content: VolumeContent | None = None
    mounted_by: Sequence[str] = ()


class Volume(Answer):
    """A volume. `mounted_by` are the deployments that mount its current version."""

    id: str
    object: str = "volume"
    name: str = ""
    type: str | None = None
    content: VolumeContent | None = None
    current_version: int | None = None
    version_history: Mapping[str, VolumeVersion] = Field(default_factory=dict)
    mounted_by: Sequence[str] = ()
    created_at: Time = None
    updated_at: Time = None


class VolumeList(Answer):
    """All volumes of the project."""

    data: Rows[Volume] = ()
