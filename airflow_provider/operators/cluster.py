"""Operators for GPU clusters and the volumes that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider.operators.base import TogetherJobOperator, given
from airflow_provider.operators.teardown import TogetherBillingJobOperator, TogetherTeardownOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from together_flows.jobs.model import Spec

__all__ = ["TogetherClusterOperator", "TogetherClusterTeardownOperator", "TogetherSharedVolumeOperator"]

_CLUSTER = (
    "cluster_name",
    "region",
    "gpu_type",
    "num_gpus",
    "billing_type",
    "driver_version",
    "cluster_type",
    "duration_days",
    "shared_volume",
    "volume_id",
    "cuda_version",
    "nvidia_driver_version",
)
_VOLUME = ("volume_name", "size_tib", "region")


class TogetherClusterTeardownOperator(TogetherTeardownOperator):
    """
    Delete the GPU clusters that a task has started. A volume that was made with one is kept: it holds data.

    It takes what :class:`~airflow_provider.operators.teardown.TogetherTeardownOperator` takes.
    """

    kind = "cluster"


class TogetherClusterOperator(TogetherBillingJobOperator):
    """
    Create a GPU cluster, and wait until it is ready. **It bills until it is deleted.**

    Have it deleted by a teardown, which Airflow runs whether the tasks in between succeed or fail:

    .. code-block:: python

        cluster = TogetherClusterOperator(
            task_id="cluster",
            cluster_name="training",
            region="us-central-8",
            gpu_type="H100_SXM",
            num_gpus=8,
            billing_type="ON_DEMAND",
            driver_version="CUDA_12_6_560",
        )
        with cluster.teardown():
            train_on(cluster.output["id"])

    A cluster that is not ready when its task ends for good is deleted too.

    Returns ``id``, ``name``, ``region``, ``gpu_type``, ``num_gpus``, ``volumes``, ``status``, ``reference`` and
    ``url``; each is an XCom of its own too. The access to the cluster is a secret and so no XCom: where it is needed,
    ``compute.retrieve_cluster`` tells it.

    :param cluster_name: name for people. A marker is added, by which a lost cluster is found again. (templated)
    :param region: region. (templated)
    :param gpu_type: kind of GPU. (templated)
    :param num_gpus: GPUs, a multiple of 8. (templated)
    :param billing_type: ``RESERVED`` for ``duration_days``, or ``ON_DEMAND`` until it is deleted. (templated)
    :param driver_version: CUDA and driver in one word. (templated)
    :param cluster_type: ``KUBERNETES`` or ``SLURM``. (templated)
    :param duration_days: days of a reservation. (templated)
    :param shared_volume: volume to make with it, with ``volume_name``, ``size_tib`` and ``region``. (templated)
    :param volume_id: volume that is there already. (templated)
    :param cuda_version: CUDA's version, with the next in place of ``driver_version``. (templated)
    :param nvidia_driver_version: the driver's version. (templated)

    It also takes what :class:`~airflow_provider.operators.base.TogetherJobOperator` takes. No price is known
    beforehand, so ``budget`` limits nothing.
    """

    kind = "cluster"
    teardown_operator = TogetherClusterTeardownOperator
    template_fields: Sequence[str] = (*_CLUSTER, *TogetherJobOperator.template_fields)
    template_fields_renderers = {"shared_volume": "json"}  # noqa: RUF012 - Airflow declares it so

    def __init__(
        self,
        *,
        cluster_name: str,
        region: str,
        gpu_type: str,
        num_gpus: int | str,
        billing_type: str,
        driver_version: str | None = None,
        cluster_type: str | None = None,
        duration_days: int | str | None = None,
        shared_volume: Mapping[str, Any] | None = None,
        volume_id: str | None = None,
        cuda_version: str | None = None,
        nvidia_driver_version: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cluster_name = cluster_name
        self.region = region
        self.gpu_type = gpu_type
        self.num_gpus = num_gpus
        self.billing_type = billing_type
        self.driver_version = driver_version
        self.cluster_type = cluster_type
        self.duration_days = duration_days
        self.shared_volume = shared_volume
        self.volume_id = volume_id
        self.cuda_version = cuda_version
        self.nvidia_driver_version = nvidia_driver_version

    def job_specs(self, context: Context) -> Sequence[Spec]:
        """The arguments that were given."""
        return [given(self, _CLUSTER)]


class TogetherSharedVolumeOperator(TogetherJobOperator):
    """
    Create a volume for clusters, and wait until it is available. **It bills until a person deletes it.**

    A volume that was ever available may hold data, which no deletion gives back. So it outlives its task and its DAG
    run, whatever becomes of them, like a file; delete it with ``compute.delete_volume``. One that never became
    available is deleted when nobody wants it any more.

    Returns ``id``, ``name``, ``size_tib``, ``status``, ``reference`` and ``url``; each is an XCom of its own too.

    :param volume_name: name for people. A marker is added, by which a lost volume is found again. (templated)
    :param size_tib: size in whole TiB. (templated)
    :param region: region. (templated)

    It also takes what :class:`~airflow_provider.operators.base.TogetherJobOperator` takes. No price is known
    beforehand, so ``budget`` limits nothing.
    """

    kind = "shared_volume"
    template_fields: Sequence[str] = (*_VOLUME, *TogetherJobOperator.template_fields)

    def __init__(self, *, volume_name: str, size_tib: int | str, region: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.volume_name = volume_name
        self.size_tib = size_tib
        self.region = region

    def job_specs(self, context: Context) -> Sequence[Spec]:
        """The arguments that were given."""
        return [given(self, _VOLUME)]
