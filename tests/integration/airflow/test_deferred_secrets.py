"""What a deferral leaves with Airflow holds no secret.

Airflow encrypts a trigger's arguments, so a search of its database finds none there, whatever they hold. Here they are
searched as they are handed over.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from airflow_provider.operators.base import TogetherJobOperator
from airflow_provider.operators.deployment import TogetherDeploymentOperator
from airflow_provider.operators.fine_tune import TogetherFineTuneOperator
from airflow_provider.operators.model_upload import TogetherModelUploadOperator
from tests.e2e.secret_search import found_in
from tests.integration.airflow.material import MODEL, training, uploaded
from tests.integration.airflow.task import Deferral, Task
from together_flows.emulator import Emulator

HF, WANDB, PASSWORD = 'hf_"TokenOfTheTests"+/9&8<7>é', "wandb/KeyOfTheTests+5'4%3\\2", 'password: "OfTheTests/+1"'
OPERATORS: dict[str, tuple[type[TogetherJobOperator], dict[str, Any]]] = {
    "fine_tune": (TogetherFineTuneOperator, {"model": MODEL, "hf_api_token": HF, "wandb_api_key": WANDB}),
    "model_upload": (
        TogetherModelUploadOperator,
        {"model_name": "copied", "model_source": "me/private", "hf_token": HF},
    ),
    "deployment": (
        TogetherDeploymentOperator,
        {
            "name": "detector",
            "image": "registry.together.ai/me/detector:1",
            "gpu_type": "h100-80gb",
            "gpu_count": 1,
            "environment_variables": [{"name": "PASSWORD", "value": PASSWORD}],
        },
    ),
}


@pytest.mark.parametrize("kind", OPERATORS)
def test_a_deferral_hands_over_no_secret(kind: str, emulator: Emulator, tmp_path: Path) -> None:
    operator, arguments = OPERATORS[kind]
    if kind == "fine_tune":
        arguments = {**arguments, "training_file": uploaded(emulator, training(tmp_path))}
    task = Task(lambda: operator(task_id="task", deferrable=True, poll_interval=0.2, **arguments))
    deferral = task.run()
    assert isinstance(deferral, Deferral)
    assert f"{kind}:" in json.dumps(deferral.trigger_kwargs), "the search would miss a trigger's arguments"
    secrets = {"key": emulator.api_key, "hf": HF, "wandb": WANDB, "password": PASSWORD}
    assert found_in(json.dumps(asdict(deferral)).encode(), secrets) == []
    assert found_in(json.dumps(task.stored).encode(), secrets) == []
