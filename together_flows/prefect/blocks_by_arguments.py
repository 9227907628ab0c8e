"""Job blocks whose settings are the arguments of the job's creation."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from prefect.types import SecretDict
from pydantic import Field, SecretStr

from together_flows.prefect.blocks import TogetherJobBlock
from together_flows.prefect.submitting import given
from together_flows.prefect.tasks.rl_operations import RLOperationArguments, rl_operation_spec

__all__ = [
    "ClusterJob",
    "DeploymentJob",
    "QueueJob",
    "RLOperationJob",
    "RLSessionJob",
    "SharedVolumeJob",
    "VideoJob",
]


class _FromArguments:
    """For blocks whose arguments are the specification as they stand. No block itself, so that none is registered."""

    arguments: dict[str, Any]

    def spec(self) -> dict[str, Any]:
        """The arguments of the job's creation."""
        return given(self.arguments)


class DeploymentJob(_FromArguments, TogetherJobBlock):
    """A deployment; the job is "done" when it is ready. It bills until `stop_container`.

    Attributes:
        arguments: see `DeploymentArguments`.
        secret_environment: environment variables, by name, whose values Prefect hides.
    """

    _block_type_name: ClassVar[str] = "Together AI Deployment Job"
    _block_type_slug: ClassVar[str] = "together-ai-deployment-job"
    kind: ClassVar[str] = "deployment"

    arguments: dict[str, Any] = Field(default_factory=dict, description="What is wanted.")
    secret_environment: SecretDict | None = Field(default=None, description="Hidden environment variables.")

    def spec(self) -> dict[str, Any]:
        """The arguments of the job's creation."""
        spec = super().spec()
        if self.secret_environment is None:
            return spec
        hidden = [
            {"name": name, "value": SecretStr(str(value))}
            for name, value in self.secret_environment.get_secret_value().items()
        ]
        return {**spec, "environment_variables": [*spec.get("environment_variables", ()), *hidden]}


class ClusterJob(_FromArguments, TogetherJobBlock):
    """A GPU cluster; the job is "done" when it is ready. It bills until `delete_cluster`.

    Attributes:
        arguments: see `ClusterArguments`.
    """

    _block_type_name: ClassVar[str] = "Together AI Cluster Job"
    _block_type_slug: ClassVar[str] = "together-ai-cluster-job"
    kind: ClassVar[str] = "cluster"

    arguments: dict[str, Any] = Field(default_factory=dict, description="What is wanted.")


class SharedVolumeJob(_FromArguments, TogetherJobBlock):
    """A volume for clusters. It holds data and so bills until a person deletes it.

    Attributes:
        arguments: see `SharedVolumeArguments`.
    """

    _block_type_name: ClassVar[str] = "Together AI Shared Volume Job"
    _block_type_slug: ClassVar[str] = "together-ai-shared-volume-job"
    kind: ClassVar[str] = "shared_volume"

    arguments: dict[str, Any] = Field(default_factory=dict, description="What is wanted.")


class VideoJob(_FromArguments, TogetherJobBlock):
    """A video.

    Attributes:
        arguments: see `VideoArguments`.
    """

    _block_type_name: ClassVar[str] = "Together AI Video Job"
    _block_type_slug: ClassVar[str] = "together-ai-video-job"
    kind: ClassVar[str] = "video"

    arguments: dict[str, Any] = Field(default_factory=dict, description="What is wanted.")


class QueueJob(_FromArguments, TogetherJobBlock):
    """A job in the queue of a deployment.

    Attributes:
        arguments: see `QueueArguments`.
    """

    _block_type_name: ClassVar[str] = "Together AI Queue Job"
    _block_type_slug: ClassVar[str] = "together-ai-queue-job"
    kind: ClassVar[str] = "queue"

    arguments: dict[str, Any] = Field(default_factory=dict, description="What is wanted.")


class RLSessionJob(_FromArguments, TogetherJobBlock):
    """A training session; the job is "done" when it runs. It bills until `stop_rl_session`.

    Attributes:
        arguments: see `RLSessionArguments`.
    """

    _block_type_name: ClassVar[str] = "Together AI RL Session Job"
    _block_type_slug: ClassVar[str] = "together-ai-rl-session-job"
    kind: ClassVar[str] = "rl_session"

    arguments: dict[str, Any] = Field(default_factory=dict, description="What is wanted.")


class RLOperationJob(TogetherJobBlock):
    """An operation of a training session.

    Attributes:
        arguments: see `RLOperationArguments`.
    """

    _block_type_name: ClassVar[str] = "Together AI RL Operation Job"
    _block_type_slug: ClassVar[str] = "together-ai-rl-operation-job"
    kind: ClassVar[str] = "rl_operation"

    arguments: dict[str, Any] = Field(default_factory=dict, description="What is wanted.")

    def spec(self) -> dict[str, Any]:
        """The arguments of the job's creation."""
        return rl_operation_spec(cast(RLOperationArguments, self.arguments))
