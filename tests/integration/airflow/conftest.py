"""An emulator, an Airflow database, and DAGs that run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.airflow.home import HOME
from together_flows.client import instant_retries
from together_flows.emulator import Emulator

if TYPE_CHECKING:
    from airflow.sdk import DAG

    from tests.integration.airflow.dag_run import FinishedRun

#: Emulator seconds in a second.
SPEED = 1200


@pytest.fixture(scope="session")
def running_emulator() -> Iterator[Emulator]:
    with Emulator(speed=SPEED) as emulator:
        yield emulator


@pytest.fixture
def emulator(running_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An emulator as good as new, and a connection to it as Airflow's default."""
    running_emulator.reset()
    connect(monkeypatch, running_emulator.url, running_emulator.api_key)
    with instant_retries():
        yield running_emulator
    running_emulator.clear_faults()


def connect(monkeypatch: pytest.MonkeyPatch, url: str, key: str) -> None:
    """Have Airflow know this account as its default connection."""
    connection = {"conn_type": "together", "password": key, "host": url}
    monkeypatch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", json.dumps(connection))


@pytest.fixture(scope="session")
def database() -> Path:
    """Airflow's database, made once."""
    from airflow.utils.db import initdb

    initdb()
    return HOME / "airflow.db"


@pytest.fixture
def run_dag(database: Path, capfd: pytest.CaptureFixture[str]) -> Callable[[DAG], FinishedRun]:
    """Runs a DAG in this process, triggers and all, and answers with how it went."""
    from tests.integration.airflow.dag_run import run_in_process

    def run(dag: DAG, **conf: object) -> FinishedRun:
        capfd.readouterr()
        return run_in_process(dag, conf, lambda: "".join(capfd.readouterr()))

    return run
