"""The whole contract through one task: each of its operations, by name, with arguments in plain JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prefect import flow

import together_flows.prefect as tp
from tests.integration.every_operation import CONTRACT, walk
from tests.integration.prefect.conftest import BLOCK
from together_flows.emulator import Emulator


def test_every_operation_of_the_contract_goes_through_the_task(emulator: Emulator, tmp_path: Path) -> None:
    def send(operation: str, arguments: dict[str, Any], **beside: Any) -> Any:
        return json.loads(json.dumps(tp.call(BLOCK, operation, arguments, **beside)))

    @flow
    def whole() -> set[str]:
        return walk(emulator, tmp_path, send)

    assert len(CONTRACT) == 98
    assert whole() == CONTRACT
