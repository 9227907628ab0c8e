"""The processes that the end-to-end tests share, and real data for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from dags_examples.demo.questions import Datasets, write_datasets
from together_flows.emulator import EmulatorProcess

#: Emulated seconds per real second.
SPEED = 120.0


class _ByServer(LoadScopeScheduling):
    """Keeps the tests together that share an Airflow or a Prefect, and else those of a module."""

    def _split_scope(self, nodeid: str) -> str:
        module = PurePosixPath(nodeid.partition("::")[0])
        last = module.stem.rpartition("_")[2]
        return last if module.parent.name == "matrix" and last in ("airflow", "prefect") else str(module)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Run those groups side by side."""
    return _ByServer(config, log)


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Datasets:
    return write_datasets(tmp_path_factory.mktemp("data"), held_out=20, validation=30, prompts=40)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(speed=SPEED, data=tmp_path_factory.mktemp("emulator")) as running:
        yield running
