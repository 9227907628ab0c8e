"""The whole contract through one operator: each of its operations, by name, with arguments in plain JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from airflow_provider.operators.operation import TogetherOperator
from tests.integration.airflow.task import Task
from tests.integration.every_operation import CONTRACT, walk
from together_flows.emulator import Emulator


def test_every_operation_of_the_contract_goes_through_the_general_operator(emulator: Emulator, tmp_path: Path) -> None:
    def send(operation: str, arguments: dict[str, Any], **beside: Any) -> Any:
        """What a task returns, which must fit into an XCom."""
        if operation == "models.list":  # it does not
            beside = {"output_path": str(tmp_path / "answer.json")}
        given = {"operation": operation, "arguments": arguments, **beside}
        return json.loads(json.dumps(Task(lambda: TogetherOperator(task_id="send", **given)).run()))

    seen = walk(emulator, tmp_path, send)

    assert len(CONTRACT) == 98
    assert seen == CONTRACT
