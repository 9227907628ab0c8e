"""The processes that the end-to-end tests share, and real data for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dags_examples.demo.questions import Datasets, write_datasets
from together_flows.emulator import EmulatorProcess

#: Emulated seconds per real second.
SPEED = 120.0


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Datasets:
    return write_datasets(tmp_path_factory.mktemp("data"), held_out=20, validation=30, prompts=40)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(speed=SPEED, data=tmp_path_factory.mktemp("emulator")) as running:
        yield running
