"""Row 5: the Prefect server itself is away, or nothing but it is left. Played on a server of its own, one at a time."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from dags_examples.demo.questions import Datasets
from tests.e2e.matrix.accounts import SPEED, Accounts
from tests.e2e.matrix.cell import Counted
from tests.e2e.matrix.conftest import chosen_scenarios, runner_environment
from tests.e2e.matrix.play import Performance, Record, Scenario, Stage, cells
from tests.e2e.matrix.runs import EVERYBODY, SLOW, WORK, Run
from tests.e2e.prefect_server import PrefectServer, prefect_server

pytestmark = pytest.mark.e2e

#: How long the server is away, in seconds.
AWAY = 60


@pytest.fixture(scope="module")
def alone(
    request: pytest.FixtureRequest, datasets: Datasets, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Performance[PrefectServer]]:
    """The module's scenarios, one after the other."""
    accounts = Accounts(tmp_path_factory.mktemp("account"), datasets, size=1)
    folder = tmp_path_factory.mktemp("scenarios")
    try:
        accounts.start()
        with prefect_server(tmp_path_factory.mktemp("prefect"), env=runner_environment(accounts)) as server:
            server.serve("tests.e2e.matrix.flows.serve", EVERYBODY)
            performance = Performance(server, accounts, folder, chosen_scenarios(request))
            yield performance
            performance.close()
    finally:
        accounts.stop()


def server_away(stage: Stage[PrefectServer]) -> Counted:
    """The waits do not need the server, nor does a block around an endpoint; what they have to tell waits for it."""
    account = stage.account
    runs = {"endpoint": Run.start(stage, "awaited", "endpoint", hold=True)}
    runs["endpoint"].wait_until_in_use()
    account.emulator.settings(speed=min(SLOW.values()))
    runs |= {kind: Run.start(stage, "awaited", kind) for kind in WORK}
    for kind in WORK:
        runs[kind].wait_until_it_looks(kind)
    jobs = {kind: set(account.job_ids(kind)) for kind in runs}
    stage.on.server.kill()
    time.sleep(AWAY)  # not for luck: this is what happens in this cell
    stage.on.start()
    account.emulator.settings(speed=SPEED)
    runs["endpoint"].release()
    for kind, run in runs.items():
        run.expect("COMPLETED")
        assert run.job_ids() == jobs[kind]
    return account.count("endpoint", ended=1) + account.count("batch") + account.count("fine_tune")


def nothing_left(stage: Stage[PrefectServer]) -> Counted:
    """Runner and flow are killed at once, and the run says for ever that it runs: a sweep may take it for dead."""
    serving = stage.on.serve("tests.e2e.matrix.flows.serve", "doomed", "awaited")
    run = Run.start(stage, "awaited", "endpoint", served_by="doomed", hold=True)
    run.wait_until_in_use()
    serving.kill(signal.SIGKILL)
    run.sweep()
    assert stage.account.emulator.billing() == {"endpoint": 1}, "whether its process lives cannot be seen from here"
    run.sweep(dead_after_hours=1 / 3600)
    return stage.account.count("endpoint", ended=1)


SCENARIOS = [
    Scenario("5", "Prefect", "batch, endpoint, fine_tune", f"server away for {AWAY} s", server_away),
    Scenario("5", "Prefect", "endpoint", "runner and flow killed, taken for dead, swept", nothing_left),
]


@pytest.mark.parametrize("scenario", cells(SCENARIOS, always=()))
def test_a_run_outlives_its_server_and_the_sweep_outlives_the_run(
    scenario: Scenario[PrefectServer], alone: Performance[PrefectServer], record_cell: Record
) -> None:
    record_cell(alone.cell(scenario))
