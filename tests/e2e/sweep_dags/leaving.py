"""A run that leaves an endpoint behind, runs that still need what they have started, and the sweep as it is shipped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider.operators.endpoint import TogetherEndpointOperator
from dags_examples.airflow.together_sweep import dag as together_sweep

__all__ = ["leaving", "together_sweep", "using", "waiting"]

MODEL = "Qwen/Qwen3-8B"
HARDWARE = "1x_nvidia_h100_80gb_sxm"


def killed_after_the_creation(context: Any) -> None:
    """Have the task's process die when the endpoint is there and its id is not known yet."""
    os.environ["TOGETHER_FLOWS_CRASH_AT"] = "after:send:endpoints.create"


def endpoint(task_id: str, **rest: Any) -> TogetherEndpointOperator:
    return TogetherEndpointOperator(task_id=task_id, model=MODEL, hardware=HARDWARE, poll_interval=1.0, **rest)


with DAG("leaving", schedule=None) as leaving:
    endpoint("left", retries=0, pre_execute=killed_after_the_creation)

with DAG("waiting", schedule=None) as waiting:
    endpoint("starting", deferrable=True)

with DAG("using", schedule=None, params={"done": Param("", type="string")}) as using:
    served = endpoint("served")

    @task.sensor(poke_interval=1.0, timeout=900, mode="poke")
    def work(params: dict[str, Any]) -> bool:
        """Use the endpoint until the test says that it is enough."""
        return Path(params["done"]).exists()

    with served.teardown():
        work()
