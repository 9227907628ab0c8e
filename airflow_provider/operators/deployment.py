"""Operators for deployments: run a container of one's own on GPUs, and delete it whatever happens in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider.hidden import SecretField
from airflow_provider.operators.base import TogetherJobOperator, given
from airflow_provider.operators.teardown import TogetherBillingJobOperator, TogetherTeardownOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from together_flows.jobs.model import Spec

__all__ = ["TogetherDeploymentOperator", "TogetherDeploymentTeardownOperator"]

_ARGUMENTS = (
    "name",
    "image",
    "gpu_type",
    "gpu_count",
    "port",
    "command",
    "args",
    "autoscaling",
    "cpu",
    "memory",
    "storage",
    "min_replicas",
    "max_replicas",
    "environment_variables",
    "volumes",
    "health_check_path",
    "description",
    "termination_grace_period_seconds",
)


class TogetherDeploymentTeardownOperator(TogetherTeardownOperator):
    """
    Delete the deployments that a task has started.

    It takes what :class:`~airflow_provider.operators.teardown.TogetherTeardownOperator` takes.
    """

    kind = "deployment"


class TogetherDeploymentOperator(TogetherBillingJobOperator):
    """
    Run a container image on GPUs, and wait until it is ready. **Each replica bills until the deployment is deleted.**

    Have it deleted by a teardown, which Airflow runs whether the tasks in between succeed or fail:

    .. code-block:: python

        detector = TogetherDeploymentOperator(
            task_id="detector", name="detector", image="…", gpu_type="h100-80gb", gpu_count=1, port=8000
        )
        with detector.teardown():
            TogetherQueueOperator(task_id="detect", model="detector", payload={"image": "…"})

    A deployment that is not ready when its task ends for good is deleted too.

    Returns ``id``, ``name``, ``image``, ``gpu_type``, ``gpu_count``, ``ready_replicas``, ``status``, ``reference`` and
    ``url``; each is an XCom of its own too.

    :param name: unique name. (templated)
    :param image: image in Together AI's registry. (templated)
    :param gpu_type: kind of GPU. (templated)
    :param gpu_count: GPUs a replica; none unless given. (templated)
    :param port: port that the container listens on; needed if it serves requests. (templated)
    :param command: command of the container, in place of the image's own. (templated)
    :param args: arguments of the container, in place of the image's own. (templated)
    :param autoscaling: such as ``{"metric": "QueueBacklogPerWorker"}``. (templated)
    :param cpu: cores a replica. (templated)
    :param memory: GiB a replica. (templated)
    :param storage: GiB of disk a replica. (templated)
    :param min_replicas: fewest replicas. (templated)
    :param max_replicas: most replicas. (templated)
    :param environment_variables: each ``{"name": …, "value": …}`` or ``{"name": …, "value_from_secret": …}``. Airflow
        shows no ``value``, neither in the rendered templates nor in a log. Keep a secret out of the DAG file all the
        same: with ``"{{ var.value.token }}"`` as the value, or in a secret of Together AI's. (templated)
    :param volumes: such as ``[{"name": "weights", "mount_path": "/data"}]``. (templated)
    :param health_check_path: path that answers when the container is well. (templated)
    :param description: text for people. A marker is added, by which a lost deployment is found again. (templated)
    :param termination_grace_period_seconds: seconds that a replica has to end by itself. (templated)

    It also takes what :class:`~airflow_provider.operators.base.TogetherJobOperator` takes. No price is known
    beforehand, so ``budget`` limits nothing.
    """

    kind = "deployment"
    teardown_operator = TogetherDeploymentTeardownOperator
    template_fields: Sequence[str] = (*_ARGUMENTS, *TogetherJobOperator.template_fields)
    template_fields_renderers = dict.fromkeys(("autoscaling", "environment_variables", "volumes"), "json")
    environment_variables = SecretField.of_variables()

    def __init__(
        self,
        *,
        name: str,
        image: str,
        gpu_type: str,
        gpu_count: int | str | None = None,
        port: int | str | None = None,
        command: Sequence[str] | None = None,
        args: Sequence[str] | None = None,
        autoscaling: Mapping[str, Any] | None = None,
        cpu: float | str | None = None,
        memory: float | str | None = None,
        storage: int | str | None = None,
        min_replicas: int | str | None = None,
        max_replicas: int | str | None = None,
        environment_variables: Sequence[Mapping[str, Any]] | None = None,
        volumes: Sequence[Mapping[str, Any]] | None = None,
        health_check_path: str | None = None,
        description: str | None = None,
        termination_grace_period_seconds: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.image = image
        self.gpu_type = gpu_type
        self.gpu_count = gpu_count
        self.port = port
        self.command = command
        self.args = args
        self.autoscaling = autoscaling
        self.cpu = cpu
        self.memory = memory
        self.storage = storage
        self.min_replicas = min_replicas
        self.max_replicas = max_replicas
        self.environment_variables = environment_variables
        self.volumes = volumes
        self.health_check_path = health_check_path
        self.description = description
        self.termination_grace_period_seconds = termination_grace_period_seconds

    def job_specs(self, context: Context) -> Sequence[Spec]:
        """The arguments that were given."""
        return [given(self, _ARGUMENTS)]
