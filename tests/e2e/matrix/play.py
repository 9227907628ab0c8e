"""Plays the scenarios of a module side by side, and hands each its verdict."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import pytest

from tests.e2e.airflow_cluster import AirflowCluster
from tests.e2e.matrix.accounts import Account, Accounts
from tests.e2e.matrix.cell import Cell, Counted

Orchestrator = TypeVar("Orchestrator")

#: Puts a cell into the table, and fails the test if it does not hold.
Record: TypeAlias = Callable[[Cell], None]


@dataclass(frozen=True)
class Stage(Generic[Orchestrator]):
    """Where a scenario is played.

    Attributes:
        on: the orchestrator that runs, `AirflowCluster` or `PrefectServer`.
        account: an account that no other scenario uses meanwhile.
        folder: an empty folder of the scenario's own.
    """

    on: Orchestrator
    account: Account
    folder: Path

    def trigger(self: Stage[AirflowCluster], dag_id: str, **params: Any) -> str:
        """Start a run of one of the matrix' DAGs on this stage's account."""
        files = self.account.files
        return self.on.trigger(
            dag_id, connection=self.account.connection, folder=str(self.folder), **{**files, **params}
        )

    def expect_run(self: Stage[AirflowCluster], dag_id: str, run: str, state: str, *, within: float = 600) -> None:
        """Wait for the end of a run, and fail with its tasks and their logs if it did not end so."""
        ended = self.on.wait_for_run(dag_id, run, within=within)
        tasks = {name: row["state"] for name, row in self.on.tasks(dag_id, run).items()}
        assert ended == state, f"{dag_id} {ended}: {tasks}\n{self.on.run_logs(dag_id, run)}"


@dataclass(frozen=True)
class Scenario(Generic[Orchestrator]):
    """A cell to be played.

    Attributes:
        row: number of the matrix' row.
        where: `Airflow`, `Prefect` or `core`.
        kind: job kind.
        case: what happens, in a few words.
        play: plays it and counts; raises `AssertionError` when a task's state or result is wrong.
    """

    row: str
    where: str
    kind: str
    case: str
    play: Callable[[Stage[Orchestrator]], Counted]

    def __str__(self) -> str:
        return f"{self.kind}: {self.case}"


def cells(scenarios: Iterable[Scenario[Any]], *, always: Collection[str]) -> list[Any]:
    """The scenarios as parameters of a test. Those that are not named in `always` are for `make survive` alone."""
    named = {str(scenario): scenario for scenario in scenarios}
    unknown = set(always) - named.keys()
    assert not unknown, f"there is no such scenario: {unknown}"
    return [
        pytest.param(scenario, id=name, marks=() if name in always else pytest.mark.exhaustive)
        for name, scenario in named.items()
    ]


class Performance(Generic[Orchestrator]):
    """Scenarios that are being played side by side, as many at once as there are accounts."""

    def __init__(
        self, on: Orchestrator, accounts: Accounts, folder: Path, scenarios: Iterable[Scenario[Orchestrator]]
    ) -> None:
        self._on = on
        self._accounts = accounts
        self._folder = folder
        self._pool = ThreadPoolExecutor(len(accounts.all), thread_name_prefix="scenario")
        self._lock = threading.Lock()
        self._played: dict[int, Future[Cell]] = {
            id(scenario): self._pool.submit(self._play, number, scenario) for number, scenario in enumerate(scenarios)
        }

    def cell(self, scenario: Scenario[Orchestrator]) -> Cell:
        """What became of a scenario, when it is over."""
        return self._played[id(scenario)].result()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _play(self, number: int, scenario: Scenario[Orchestrator]) -> Cell:
        folder = self._folder / str(number)
        folder.mkdir()
        counted, problem = None, ""
        with self._accounts.borrowed() as account:
            try:
                counted = scenario.play(Stage(self._on, account, folder))
            except Exception:
                problem = traceback.format_exc()
        return Cell(
            row=scenario.row,
            where=scenario.where,
            kind=scenario.kind,
            case=scenario.case,
            counted=counted,
            problem=problem,
        )
