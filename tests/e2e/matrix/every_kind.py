"""A job of every kind that has an operator and waits: those of `jobs`, and the kinds that only few rows are about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from airflow_provider.operators.base import TogetherJobOperator
from airflow_provider.operators.cluster import TogetherClusterOperator, TogetherSharedVolumeOperator
from airflow_provider.operators.queue import TogetherQueueOperator
from airflow_provider.operators.rl import TogetherRLOperationOperator, TogetherRLSessionOperator
from airflow_provider.operators.teardown import TogetherBillingJobOperator
from airflow_provider.operators.video import TogetherVideoOperator
from tests.e2e.matrix.jobs import MAKE, MODEL

_REGION = "us-central-8"


def cluster(task_id: str, **rest: Any) -> TogetherJobOperator:
    return TogetherClusterOperator(
        task_id=task_id,
        cluster_name="training",
        region=_REGION,
        gpu_type="H100_SXM",
        num_gpus=8,
        billing_type="ON_DEMAND",
        driver_version="CUDA_12_6_560",
        **rest,
    )


def shared_volume(task_id: str, **rest: Any) -> TogetherJobOperator:
    return TogetherSharedVolumeOperator(task_id=task_id, volume_name="data", size_tib=1, region=_REGION, **rest)


def video(task_id: str, **rest: Any) -> TogetherJobOperator:
    return TogetherVideoOperator(task_id=task_id, model="minimax/hailuo-02", prompt="a red bus", seconds=2, **rest)


def queue(task_id: str, **rest: Any) -> TogetherJobOperator:
    return TogetherQueueOperator(task_id=task_id, model="me/detector", payload={"image": "street"}, **rest)


def rl_session(task_id: str, **rest: Any) -> TogetherJobOperator:
    return TogetherRLSessionOperator(task_id=task_id, base_model=MODEL, lora_config={"rank": 8, "alpha": 16}, **rest)


def rl_operation(task_id: str, **rest: Any) -> TogetherJobOperator:
    return TogetherRLOperationOperator(
        task_id=task_id,
        session_id="{{ params.rl_session }}",
        operation="sample",
        arguments={"prompts": [{"chunks": [{"encoded_text": {"tokens": [1, 2, 3]}}]}], "num_samples": 2},
        **rest,
    )


MAKE_EVERY: Mapping[str, Callable[..., TogetherJobOperator]] = {
    **MAKE,
    "cluster": cluster,
    "shared_volume": shared_volume,
    "video": video,
    "queue": queue,
    "rl_session": rl_session,
    "rl_operation": rl_operation,
}


def add_every_job(**rest: Any) -> None:
    """A deferred task of each kind, named for it. What bills until it is stopped is torn down afterwards."""
    for kind, make in MAKE_EVERY.items():
        made = make(kind, together_conn_id="{{ params.connection }}", poll_interval=1, deferrable=True, **rest)
        if isinstance(made, TogetherBillingJobOperator):
            made >> made.teardown(retries=2, retry_delay=timedelta(seconds=1))
