"""The processes that the end-to-end tests share, and real data for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dags_examples.demo.questions import Datasets, write_datasets
from together_flows.emulator import EmulatorProcess

#: Emulated seconds per real second.
SPEED = 120.0


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests together that share an Airflow, a Prefect or an emulator; the groups can run side by side."""
    for item in items:
        needs = set(getattr(item, "fixturenames", ())) if item.path.parent.name == "matrix" else set()
        group = next((name for name in ("airflow", "prefect") if name in needs), item.path.stem)
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Datasets:
    return write_datasets(tmp_path_factory.mktemp("data"), held_out=20, validation=30, prompts=40)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(speed=SPEED, data=tmp_path_factory.mktemp("emulator")) as running:
        yield running
