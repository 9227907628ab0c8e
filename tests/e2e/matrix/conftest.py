"""What all rows of the matrix share: accounts, the orchestrators, and the table at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dags_examples.demo.questions import Datasets
from tests.e2e.airflow_cluster import AirflowCluster, airflow_cluster
from tests.e2e.matrix.accounts import Accounts
from tests.e2e.matrix.cell import Cell, table
from tests.e2e.matrix.play import Performance, Record, Scenario
from tests.e2e.matrix.runs import EVERYBODY
from tests.e2e.prefect_server import PrefectServer, prefect_server

_SCENARIOS_AT_ONCE = 8
_CELL = "cell of the matrix"


@pytest.fixture
def record_cell(request: pytest.FixtureRequest) -> Record:
    """Puts a cell into the table that is printed at the end, and fails the test if it does not hold."""

    def record(cell: Cell) -> None:
        request.node.user_properties.append((_CELL, cell.dump()))  # it goes with the report, also to another process
        assert cell.holds, f"{cell.counted}\n{cell.problem}"

    return record


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    said = [pair for report in reports for pair in getattr(report, "user_properties", ()) if report.when == "call"]
    cells = [Cell.parse(value) for name, value in said if name == _CELL]
    if cells:
        terminalreporter.section("fault matrix")
        terminalreporter.write_line(table(cells))
        held = sum(cell.holds for cell in cells)
        terminalreporter.write_line(f"{held} of {len(cells)} cells hold.")


@pytest.fixture(scope="session")
def accounts(tmp_path_factory: pytest.TempPathFactory, datasets: Datasets) -> Iterator[Accounts]:
    pool = Accounts(tmp_path_factory.mktemp("accounts"), datasets, _SCENARIOS_AT_ONCE)
    try:
        pool.start()
        yield pool
    finally:
        pool.stop()


@pytest.fixture(scope="session")
def airflow(accounts: Accounts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowCluster]:
    """One Airflow for all rows; it knows every account by a connection of its own."""
    connections = {account.connection: account.airflow_connection for account in accounts.all}
    dags = Path(__file__).parent / "dags"
    home = tmp_path_factory.mktemp("airflow")
    with airflow_cluster(home, dags, connections=connections, on_postgres=True) as cluster:
        yield cluster


def chosen_scenarios(request: pytest.FixtureRequest) -> list[Scenario[Any]]:
    """The scenarios of the module whose tests are going to run."""
    return [
        item.callspec.params["scenario"]
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.module is request.module
        and "scenario" in getattr(item, "callspec", item).__dict__.get("params", {})
    ]


@pytest.fixture(scope="module")
def in_airflow(
    request: pytest.FixtureRequest,
    airflow: AirflowCluster,
    accounts: Accounts,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Performance[AirflowCluster]]:
    """The module's scenarios, played side by side in the one Airflow."""
    performance = Performance(airflow, accounts, tmp_path_factory.mktemp("scenarios"), chosen_scenarios(request))
    yield performance
    performance.close()


def runner_environment(accounts: Accounts) -> dict[str, str]:
    """What a process is told that serves the matrix' flows."""
    blocks = {account.block: account.credentials_block for account in accounts.all}
    return {"MATRIX_ACCOUNTS": json.dumps(blocks), "PREFECT_RUNNER_POLL_FREQUENCY": "2"}


@pytest.fixture(scope="session")
def prefect(accounts: Accounts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """One Prefect for all rows; it knows every account by a credentials block of its own."""
    with prefect_server(tmp_path_factory.mktemp("prefect"), env=runner_environment(accounts)) as server:
        server.serve("tests.e2e.matrix.flows.serve", EVERYBODY)
        yield server


@pytest.fixture(scope="module")
def in_prefect(
    request: pytest.FixtureRequest,
    prefect: PrefectServer,
    accounts: Accounts,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Performance[PrefectServer]]:
    """The module's scenarios, played side by side in the one Prefect."""
    performance = Performance(prefect, accounts, tmp_path_factory.mktemp("scenarios"), chosen_scenarios(request))
    yield performance
    performance.close()
