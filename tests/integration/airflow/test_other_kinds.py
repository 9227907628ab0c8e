"""Deployments, clusters, volumes, videos, queues and reinforcement learning: each operator, sensor and teardown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator, task

from airflow_provider.operators.base import TogetherJobOperator
from airflow_provider.operators.cluster import (
    TogetherClusterOperator,
    TogetherClusterTeardownOperator,
    TogetherSharedVolumeOperator,
)
from airflow_provider.operators.deployment import TogetherDeploymentOperator
from airflow_provider.operators.queue import TogetherQueueOperator
from airflow_provider.operators.rl import TogetherRLOperationOperator, TogetherRLSessionOperator
from airflow_provider.operators.teardown import TogetherBillingJobOperator
from airflow_provider.operators.video import TogetherVideoOperator
from airflow_provider.sensors.job import (
    TogetherClusterSensor,
    TogetherDeploymentSensor,
    TogetherJobSensor,
    TogetherQueueSensor,
    TogetherRLOperationSensor,
    TogetherRLSessionSensor,
    TogetherSharedVolumeSensor,
    TogetherVideoSensor,
)
from tests.integration.airflow.conftest import SPEED
from tests.integration.airflow.dag_run import FinishedRun
from tests.integration.airflow.material import MODEL
from tests.integration.airflow.task import Task, kill_in_triggerer
from together_flows import Together
from together_flows.api import rl
from together_flows.emulator import Emulator
from together_flows.jobs import kind_named

RunDag = Callable[..., FinishedRun]
deferred_or_not = pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "in process"])


@dataclass(frozen=True, kw_only=True)
class Case:
    """One kind of job.

    Attributes:
        operator: submits it.
        sensor: waits for it.
        id_argument: how the sensor calls the id.
        arguments: of the operator.
        returns: a part of what it returns.
        tells_why: whether the API says why one failed.
        ending_speed: how fast the emulator runs where a job is to be ended before it is done.
    """

    operator: type[TogetherJobOperator]
    sensor: Callable[..., TogetherJobSensor]
    id_argument: str
    arguments: Mapping[str, Any]
    returns: Mapping[str, Any] = field(default_factory=dict)
    tells_why: bool = True
    ending_speed: float = 40.0

    @property
    def kind(self) -> str:
        return self.operator.kind

    def make(self, task_id: str = "task", **wishes: Any) -> TogetherJobOperator:
        return self.operator(task_id=task_id, **{"poll_interval": 0.2, **self.arguments, **wishes})

    def task(self, **wishes: Any) -> Task:
        """A task instance of it, rendered in each of its processes."""

        def made() -> TogetherJobOperator:
            operator = self.make(**wishes)
            operator.render_template_fields({})
            return operator

        return Task(made)


DEPLOYMENT = Case(
    operator=TogetherDeploymentOperator,
    sensor=TogetherDeploymentSensor,
    id_argument="deployment_id",
    arguments={
        "name": "detector",
        "image": "registry.together.ai/me/detector:1",
        "gpu_type": "h100-80gb",
        "gpu_count": "{{ 2 - 1 }}",
        "port": 8000,
    },
    returns={"name": "detector", "gpu_count": 1, "ready_replicas": 1},
)
CLUSTER = Case(
    operator=TogetherClusterOperator,
    sensor=TogetherClusterSensor,
    id_argument="cluster_id",
    arguments={
        "cluster_name": "training",
        "region": "us-central-8",
        "gpu_type": "H100_SXM",
        "num_gpus": "{{ 4 * 2 }}",
        "billing_type": "ON_DEMAND",
        "driver_version": "CUDA_12_6_560",
    },
    returns={"num_gpus": 8, "region": "us-central-8", "status": "Ready"},
    tells_why=False,
    ending_speed=200.0,
)
VOLUME = Case(
    operator=TogetherSharedVolumeOperator,
    sensor=TogetherSharedVolumeSensor,
    id_argument="volume_id",
    arguments={"volume_name": "data", "size_tib": "{{ 1 + 1 }}", "region": "us-central-8"},
    returns={"size_tib": 2, "status": "available"},
    tells_why=False,
    ending_speed=5.0,
)
VIDEO = Case(
    operator=TogetherVideoOperator,
    sensor=TogetherVideoSensor,
    id_argument="video_id",
    arguments={"model": "minimax/hailuo-02", "prompt": "a {{ 'red' }} bus", "seconds": 2},
    returns={"seconds": "2"},
)
QUEUE = Case(
    operator=TogetherQueueOperator,
    sensor=TogetherQueueSensor,
    id_argument="job_id",
    arguments={"model": "me/detector", "payload": {"image": "{{ 'street' }}"}},
    returns={"model": "me/detector"},
    ending_speed=0.01,  # what has begun cannot be cancelled
)
SESSION = Case(
    operator=TogetherRLSessionOperator,
    sensor=TogetherRLSessionSensor,
    id_argument="session_id",
    arguments={"base_model": MODEL, "lora_config": {"rank": "{{ 4 + 4 }}", "alpha": 16}},
    returns={"base_model": MODEL, "status": "RUNNING", "step": 0},
    tells_why=False,
)
PROMPTS = [{"chunks": [{"encoded_text": {"tokens": [1, 2, 3]}}]}]
OPERATION = Case(
    operator=TogetherRLOperationOperator,
    sensor=TogetherRLOperationSensor,
    id_argument="job_id",
    arguments={"operation": "sample", "arguments": {"prompts": PROMPTS, "num_samples": "{{ 1 + 1 }}"}},
)

CASES = {case.kind: case for case in (DEPLOYMENT, CLUSTER, VOLUME, VIDEO, QUEUE, SESSION, OPERATION)}
BILLING = [kind for kind in CASES if kind_named(kind).bills_until_stopped]
ENDED = [kind for kind in CASES if kind_named(kind).end is not None]
every_kind = pytest.mark.parametrize("kind", CASES)

#: Emulator seconds a second at which no job ends while a test looks at it, however busy the machine is.
NEARLY_STILL = 0.001


@pytest.fixture
def client(emulator: Emulator) -> Iterator[Together]:
    with Together(api_key=emulator.api_key, base_url=emulator.url) as client:
        yield client


@pytest.fixture
def case(kind: str, client: Together) -> Case:
    """The kind's case, with a session for what needs one."""
    case = CASES[kind]
    if kind != "rl_operation":
        return case
    session = client.send(rl.create_session(base_model=MODEL)).id
    while client.send(rl.retrieve_session(session)).status != "TRAINING_SESSION_STATUS_RUNNING":
        pass
    return Case(**{**vars(case), "arguments": {**case.arguments, "session_id": session}})


@pytest.fixture
def slow(emulator: Emulator) -> Iterator[Emulator]:
    yield emulator
    emulator.settings(speed=SPEED)


def running(emulator: Emulator, kind: str) -> int:
    return int(emulator.counts()["running"][kind])


@every_kind
@deferred_or_not
def test_a_job_is_submitted_once_and_awaited(
    case: Case, kind: str, deferrable: bool, run_dag: RunDag, emulator: Emulator
) -> None:
    with DAG(f"{kind}_{deferrable}", schedule=None) as dag:
        case.make(deferrable=deferrable)
    run = run_dag(dag)
    assert run.states == {"task": "success"}, run.log
    returned = run.xcom("task")
    assert {name: returned[name] for name in case.returns} == case.returns
    assert returned["reference"].startswith(f"{kind}:")
    assert run.xcom("task", "together_jobs") == [returned["reference"]]
    assert run.xcom("task", "_link_TogetherJobLink") == returned["url"]
    assert emulator.counts()["created"][kind] == 1


@every_kind
def test_a_sensor_waits_for_what_another_task_has_submitted(
    case: Case, kind: str, run_dag: RunDag, emulator: Emulator
) -> None:
    with DAG(f"sense_{kind}", schedule=None) as dag:
        submitted = case.make("submit", wait=False)
        wishes: dict[str, Any] = {case.id_argument: submitted.output["id"]}
        case.sensor(task_id="deferred", poke_interval=0.2, **wishes)
        case.sensor(task_id="poking", poke_interval=0.2, deferrable=False, **wishes)
    run = run_dag(dag)
    assert set(run.states.values()) == {"success"}, run.log
    for sensor in ("deferred", "poking"):
        assert run.xcom(sensor)["reference"] == run.xcom("submit", "reference")
    assert emulator.counts()["created"][kind] == 1


@every_kind
@deferred_or_not
def test_a_failed_job_fails_the_task_with_its_own_words_and_bills_no_more(
    case: Case, kind: str, deferrable: bool, run_dag: RunDag, emulator: Emulator
) -> None:
    emulator.settings(fail={kind: "the disk is full"})
    with DAG(f"fail_{kind}_{deferrable}", schedule=None) as dag:
        case.make(deferrable=deferrable, retries=0)
    run = run_dag(dag)
    assert run.states == {"task": "failed"}
    assert "JobFailed" in run.log
    assert ("the disk is full" in run.log) is case.tells_why
    assert running(emulator, kind) == 0


@pytest.mark.parametrize("kind", ENDED)
def test_a_job_whose_task_a_person_stops_is_ended(
    case: Case, kind: str, slow: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow.settings(speed=NEARLY_STILL)
    submitted = case.task(deferrable=True)
    deferral = submitted.run()
    assert running(slow, kind) == 1
    slow.settings(speed=case.ending_speed)
    submitted.states.state = "failed"
    kill_in_triggerer(submitted, deferral, monkeypatch)
    assert running(slow, kind) == 0
    assert slow.counts()["cancelled"][kind] == 1


@pytest.mark.parametrize("kind", [kind for kind in CASES if kind not in ENDED])
def test_a_job_that_the_api_cannot_end_is_left_to_its_end(
    case: Case, kind: str, slow: Emulator, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    slow.settings(speed=NEARLY_STILL)
    submitted = case.task(deferrable=True)
    deferral = submitted.run()
    submitted.states.state = "failed"
    kill_in_triggerer(submitted, deferral, monkeypatch)
    assert running(slow, kind) == 1
    assert kind_named(kind).end_note in "".join(capfd.readouterr())


@pytest.mark.parametrize("kind", CASES)
def test_a_retry_adopts_the_job_that_lives(case: Case, kind: str, slow: Emulator) -> None:
    slow.settings(speed=NEARLY_STILL)
    submitted = case.task(deferrable=True)
    first = submitted.run()
    submitted.retry()
    again = submitted.run()
    assert again.trigger_kwargs["references"] == first.trigger_kwargs["references"]
    assert slow.counts()["created"][kind] == 1


@pytest.mark.parametrize("kind", BILLING)
def test_what_bills_is_stopped_when_the_work_is_done(
    case: Case, kind: str, run_dag: RunDag, emulator: Emulator
) -> None:
    with DAG(f"work_{kind}", schedule=None) as dag:
        started: Any = case.make("start")
        with started.teardown():
            work_with(started, lambda: running(emulator, kind))
    run = run_dag(dag)
    assert run.states == {"start": "success", "work": "success", "stop_start": "success"}, run.log
    assert run.xcom("work") == 1
    assert run.xcom("stop_start") == [run.xcom("start")["id"]]
    assert running(emulator, kind) == 0


@pytest.mark.parametrize("kind", BILLING)
def test_what_bills_is_stopped_when_the_work_fails(case: Case, kind: str, run_dag: RunDag, emulator: Emulator) -> None:
    def fails() -> int:
        raise ValueError("the work went wrong")

    with DAG(f"bad_work_{kind}", schedule=None) as dag:
        started: Any = case.make("start")
        with started.teardown(task_id="stop"):
            work_with(started, fails)
    run = run_dag(dag)
    assert run.states == {"start": "success", "work": "failed", "stop": "success"}
    assert run.state == "failed"
    assert running(emulator, kind) == 0


def work_with(started: BaseOperator, do: Callable[[], int]) -> None:
    """A task between setup and teardown."""

    @task
    def work() -> int:
        return do()

    started >> work()


def test_a_teardown_stops_each_cluster_of_a_mapped_task(run_dag: RunDag, emulator: Emulator) -> None:
    arguments = {**CLUSTER.arguments, "poll_interval": 0.2}
    arguments.pop("cluster_name")
    with DAG("clusters", schedule=None) as dag:
        clusters = TogetherClusterOperator.partial(task_id="start", **arguments).expand(cluster_name=["one", "two"])
        clusters >> TogetherClusterTeardownOperator(task_id="stop", setup_task_id="start")
    run = run_dag(dag)
    assert run.states["stop"] == "success", run.log
    assert len(run.xcom("stop")) == emulator.counts()["created"]["cluster"] == 2
    assert running(emulator, "cluster") == 0


def test_a_teardown_of_nothing_says_so(run_dag: RunDag, emulator: Emulator) -> None:
    with DAG("nothing", schedule=None) as dag:
        started = DEPLOYMENT.make("start", gpu_type="abacus", name="not a name", retries=0)
        assert isinstance(started, TogetherBillingJobOperator)
        started.teardown(task_id="stop")
    run = run_dag(dag)
    assert run.states == {"start": "failed", "stop": "success"}
    assert "No deployment was started" in run.log


def test_a_volume_that_may_hold_data_is_kept_when_its_task_is_cleared(slow: Emulator) -> None:
    finished = VOLUME.task(deferrable=False)
    first = finished.run()
    finished.clear()
    again = finished.run()
    assert first["id"] != again["id"]
    assert slow.counts()["created"]["shared_volume"] == 2
    assert "DELETE /compute/clusters/storage/volumes/{volume_id}" not in slow.counts()["requests"]


@pytest.mark.parametrize("target", ["videos/bus.mp4", "videos/"])
def test_a_video_is_downloaded(target: str, run_dag: RunDag, emulator: Emulator, tmp_path: Path) -> None:
    with DAG("film", schedule=None) as dag:
        VIDEO.make(output_path=f"{tmp_path}/{target}", deferrable=True)
    run = run_dag(dag)
    assert run.state == "success", run.log
    made = run.xcom("task")
    film = Path(made["path"])
    assert film.name == ("bus.mp4" if target.endswith(".mp4") else f"{made['id']}.mp4")
    assert film.read_bytes()[4:8] == b"ftyp"
    assert film.stat().st_size == made["bytes"]
    assert list(film.parent.iterdir()) == [film]


def test_a_retry_downloads_the_video_that_is_paid_for(slow: Emulator, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder is wanted")
    making = VIDEO.task(output_path=str(blocked / "bus.mp4"), deferrable=False)
    with pytest.raises(OSError):
        making.run()
    blocked.unlink()
    making.retry()
    assert Path(making.run()["path"]).stat().st_size > 0
    assert slow.counts()["created"]["video"] == 1


def test_no_value_of_an_environment_variable_reaches_log_or_xcom(run_dag: RunDag, emulator: Emulator) -> None:
    token = "a-token-of-mine"
    with DAG("secret_variable", schedule=None, params={"token": token}) as dag:
        DEPLOYMENT.make(environment_variables=[{"name": "TOKEN", "value": "{{ params.token }}"}])
        DEPLOYMENT.make("refused", environment_variables=[{"name": "1", "value": token}], name="refused", retries=0)
    run = run_dag(dag)
    assert run.states == {"task": "success", "refused": "failed"}
    assert token not in json.dumps(run.xcom("task"))
    assert token not in run.log
    sent = [row for row in emulator.jobs() if row["kind"] == "deployment"]
    assert len(sent) == 1


def test_a_budget_that_cannot_be_kept_is_said_to_limit_nothing(run_dag: RunDag, emulator: Emulator) -> None:
    with DAG("budget", schedule=None) as dag:
        QUEUE.make(budget=5)
    run = run_dag(dag)
    assert run.state == "success"
    assert "the budget of $5.00 limits nothing" in run.log
