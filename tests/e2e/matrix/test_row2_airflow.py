"""Row 2: a part of Airflow dies while tasks wait in the triggerer. The waits go on: nothing is submitted or cancelled.

A run has a task of every kind that waits. Each event disturbs all of Airflow, so they happen one after the other.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.airflow_cluster import AirflowCluster
from tests.e2e.matrix.accounts import SPEED, Account, Accounts
from tests.e2e.matrix.cell import Cell, Counted
from tests.e2e.matrix.every_kind import MAKE_EVERY
from tests.e2e.matrix.jobs import MODEL
from tests.e2e.matrix.play import Record, Stage
from tests.e2e.matrix.test_row1_airflow import batch_line
from tests.e2e.processes import Process, eventually, free_port
from together_flows import Together
from together_flows.api import rl
from together_flows.jobs import JobReference, kind_named, run
from together_flows.jobs.ending import look

pytestmark = pytest.mark.e2e

KINDS = tuple(MAKE_EVERY)
#: Emulated seconds per real second at which no job ends by itself.
NEARLY_STILL = 0.001
#: The same at which what runs until it is stopped is stopped soon, and is not ended by its own time limits before.
UNHURRIED = 60.0
#: Seconds that the API server is away.
OUTAGE = 60.0
_WITHIN = 300.0
#: Creations beside the task's own: the batch's input is a file, and the training operation works in a session.
_BESIDES = {"file": 1, "rl_session": 1}
#: What costs money and has no teardown, because it may hold data: only a person deletes it.
_KEPT = ("shared_volume",)


class WaitingRun:
    """A DAG run whose tasks wait for jobs that do not end before they are let go.

    Args:
        stage: where it is played.
        dag: one of the DAGs with a task of every kind.
    """

    def __init__(self, stage: Stage[AirflowCluster], dag: str) -> None:
        self.stage = stage
        self.airflow = stage.on
        self.account = stage.account
        self.dag = dag
        (stage.folder / "file.jsonl").write_text(batch_line("file"))
        session = running_session(stage.account)
        stage.account.emulator.settings(speed=NEARLY_STILL)
        self.run = stage.trigger(dag, rl_session=session)
        self.wait_for_triggerer(lambda triggerers: None not in triggerers)
        self.jobs = {kind: self._announced(kind) for kind in KINDS}

    def triggerers(self) -> set[int | None]:
        """The triggerers that have the tasks' triggers; `None` stands for a task that waits in none."""
        tasks = self.airflow.tasks(self.dag, self.run)
        rows = [tasks[kind] for kind in KINDS]
        return {row["trigger"]["triggerer_id"] if row["state"] == "deferred" else None for row in rows}

    def wait_for_triggerer(self, has_them: Callable[[set[int | None]], bool]) -> None:
        """Wait until the triggers are where they should be."""
        eventually(lambda: has_them(self.triggerers()), within=_WITHIN, what=f"triggers of {self.run}", every=0.5)

    def let_go(self) -> None:
        """Let the jobs end: until all are done by the API's own word, whatever Airflow does meanwhile."""
        self.account.emulator.settings(speed=SPEED * 5)
        with client_of(self.account) as client:

            def done(job: str) -> bool:
                reference = JobReference.parse(job)
                status = run(look(kind_named(reference.kind), reference.id), client=client)
                return status is None or status.state.is_final  # one that is gone has ended, and the counts say so

            eventually(lambda: all(map(done, self.jobs.values())), within=_WITHIN, what="the end of all jobs")
        self.account.emulator.settings(speed=UNHURRIED)

    def cell(self, kind: str, event: Event) -> Cell:
        """What became of one of the tasks and its job, when the run is over."""
        task = self.airflow.tasks(self.dag, self.run)[kind]
        problem = ""
        if task["state"] != "success":
            problem = f"the task is {task['state']}\n{self.airflow.run_logs(self.dag, self.run)}"
        elif not event.retried and task["try_number"] != 1:
            problem = f"it took {task['try_number']} attempts"
        elif (returned := self._returned(kind)) != self.jobs[kind]:
            problem = f"it returned {returned} and waited for {self.jobs[kind]}"
        return Cell(row="2", where="Airflow", kind=kind, case=event.case, counted=self._count(kind), problem=problem)

    def _count(self, kind: str) -> Counted:
        wanted = 1 + _BESIDES.get(kind, 0)
        torn_down = int(f"stop_{kind}" in self.airflow.tasks(self.dag, self.run))
        stays = kind_named(kind).bills_until_stopped or kind in _KEPT
        running = wanted - torn_down if stays else 0
        return self.account.count(kind, wanted=wanted, ended=torn_down, running=running)

    def _announced(self, kind: str) -> str:
        """The job of a task, as it was told before the wait."""
        [reference] = self.airflow.xcom(self.dag, self.run, kind, "together_jobs")
        return str(reference)

    def _returned(self, kind: str) -> str:
        return str(self.airflow.xcom(self.dag, self.run, kind)["reference"])


def client_of(account: Account) -> Together:
    return Together(api_key=account.emulator.api_key, base_url=account.emulator.url)


def running_session(account: Account) -> str:
    """A session for the training operation."""
    with client_of(account) as client:
        session = client.send(rl.create_session(base_model=MODEL)).id

        def runs() -> bool:
            return client.send(rl.retrieve_session(session)).status == "TRAINING_SESSION_STATUS_RUNNING"

        eventually(runs, within=60, what=f"the start of {session}")
    return session


def triggerer_dies(waiting: WaitingRun) -> None:
    before = waiting.triggerers()
    waiting.airflow.triggerer.kill()
    waiting.airflow.triggerer.start()
    waiting.wait_for_triggerer(lambda now: now.isdisjoint({None, *before}))
    waiting.let_go()


def triggers_move(waiting: WaitingRun) -> None:
    """The triggerer hangs until another has its triggers, and comes back; then the other one dies."""
    [first] = waiting.triggerers()
    assert first is not None
    with second_triggerer(waiting.airflow) as second:
        signal_group(waiting.airflow.triggerer, signal.SIGSTOP)
        try:
            waiting.wait_for_triggerer(lambda now: now.isdisjoint({None, first}))
            others = waiting.triggerers()
        finally:
            signal_group(waiting.airflow.triggerer, signal.SIGCONT)
        wait_until_let_go(waiting, first)
        second.kill()
    waiting.wait_for_triggerer(lambda now: now.isdisjoint({None, *others}))
    waiting.let_go()


def wait_until_let_go(waiting: WaitingRun, triggerer: int) -> None:
    """Wait until a triggerer has noticed, for every job, that it has to wait no more: Airflow calls our kill there."""
    folder = waiting.airflow.home / "logs" / f"dag_id={waiting.dag}" / f"run_id={waiting.run}"

    def noticed() -> bool:
        logs = [path.read_text(errors="replace") for path in folder.rglob(f"*.trigger.{triggerer}.log")]
        killed = [log for log in logs if "invoking on_kill" in log and "trigger completed" in log]
        return len(killed) == len(KINDS)

    eventually(noticed, within=_WITHIN, what="the old triggerer's last word on its triggers", every=1)


def scheduler_dies(waiting: WaitingRun) -> None:
    """The jobs end while there is no scheduler."""
    waiting.airflow.scheduler.kill()
    waiting.let_go()
    waiting.airflow.scheduler.start()


def api_server_is_away(waiting: WaitingRun) -> None:
    """The jobs end while there is no API server. The length of its absence is what the event is about."""
    waiting.airflow.api_server.kill()
    back_at = time.monotonic() + OUTAGE
    waiting.let_go()
    time.sleep(max(back_at - time.monotonic(), 0.0))
    waiting.airflow.api_server.start()


@contextmanager
def second_triggerer(airflow: AirflowCluster) -> Iterator[Process]:
    """Another triggerer beside the cluster's own, once it is at work."""
    env = {**airflow.env, "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port())}
    command = ["python", "-m", "airflow", "triggerer"]
    process = Process("second triggerer", command, log=airflow.home / "second-triggerer.log", env=env)
    process.start()
    try:
        eventually(lambda: len(living_triggerers(airflow)) > 1, within=_WITHIN, what="the second triggerer", every=0.5)
        yield process
    finally:
        process.stop()


def living_triggerers(airflow: AirflowCluster) -> set[int]:
    rows = (
        airflow.rest.get("/jobs", params={"job_type": "TriggererJob", "is_alive": True})
        .raise_for_status()
        .json()["jobs"]
    )
    return {row["id"] for row in rows}


def signal_group(process: Process, what: signal.Signals) -> None:
    os.killpg(process.pid, what)


@dataclass(frozen=True)
class Event:
    """Something that happens to Airflow while tasks wait.

    Attributes:
        case: what, in a few words.
        happens: brings it about, and lets the jobs end.
        retried: whether Airflow itself fails the tasks on its way, so that they need a retry.
    """

    case: str
    happens: Callable[[WaitingRun], None]
    retried: bool = False

    @property
    def dag(self) -> str:
        return "every_kind_waits_with_retries" if self.retried else "every_kind_waits"

    def play(self, stage: Stage[AirflowCluster]) -> dict[str, Cell]:
        """Let it happen to a run, and answer with a cell for each kind."""
        try:
            waiting = WaitingRun(stage, self.dag)
            self.happens(waiting)
            stage.on.wait_for_run(waiting.dag, waiting.run, within=600)
            return {kind: waiting.cell(kind, self) for kind in KINDS}
        except Exception:
            problem = f"{traceback.format_exc()}\n{stage.on.report()}"
            return {
                kind: Cell(row="2", where="Airflow", kind=kind, case=self.case, counted=None, problem=problem)
                for kind in KINDS
            }


class Disturbances:
    """The events, each played when it is first asked about, and only once."""

    def __init__(self, airflow: AirflowCluster, accounts: Accounts, folder: Path) -> None:
        self._airflow = airflow
        self._accounts = accounts
        self._folder = folder
        self._played: dict[str, dict[str, Cell]] = {}

    def cell(self, event: Event, kind: str) -> Cell:
        if event.case not in self._played:
            folder = self._folder / str(len(self._played))
            folder.mkdir()
            with self._accounts.borrowed() as account:
                self._played[event.case] = event.play(Stage(self._airflow, account, folder))
        return self._played[event.case][kind]


@pytest.fixture(scope="module")
def disturbances(
    airflow: AirflowCluster, accounts: Accounts, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Disturbances]:
    yield Disturbances(airflow, accounts, tmp_path_factory.mktemp("disturbances"))
    dead = [process.name for process in airflow.processes if not process.is_alive]
    assert not dead, f"{dead} must run for the rows that follow"


#: Played on every run of the CI. The other events are for `make survive`.
REPRESENTATIVE = "triggerer killed"
EVENTS = [
    Event(REPRESENTATIVE, triggerer_dies),
    Event("triggerer hangs, triggers move, the other is killed", triggers_move),
    Event("scheduler killed, jobs end meanwhile", scheduler_dies),
    Event(f"API server away for {OUTAGE:.0f} s, jobs end meanwhile", api_server_is_away, retried=True),
]
CASES = [
    pytest.param(
        event,
        kind,
        id=f"{kind}: {event.case}",
        marks=() if event.case == REPRESENTATIVE else pytest.mark.exhaustive,
    )
    for event in EVENTS
    for kind in KINDS
]


@pytest.mark.parametrize(("event", "kind"), CASES)
def test_a_wait_outlives_the_parts_of_airflow(
    event: Event, kind: str, disturbances: Disturbances, record_cell: Record
) -> None:
    record_cell(disturbances.cell(event, kind))
