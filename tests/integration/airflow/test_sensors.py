"""Sensors: for every kind of job, in the triggerer and in a worker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from airflow.triggers.base import TaskSuccessEvent

from airflow_provider.operators.batch import TogetherBatchOperator
from airflow_provider.operators.endpoint import TogetherEndpointOperator
from airflow_provider.operators.evaluation import TogetherEvaluationOperator
from airflow_provider.operators.file import TogetherUploadFileOperator
from airflow_provider.operators.fine_tune import TogetherFineTuneOperator
from airflow_provider.operators.model_upload import TogetherModelUploadOperator
from airflow_provider.sensors.job import (
    TogetherBatchSensor,
    TogetherEndpointSensor,
    TogetherEvaluationSensor,
    TogetherFileSensor,
    TogetherFineTuneSensor,
    TogetherJobSensor,
    TogetherModelUploadSensor,
)
from airflow_provider.triggers.job import TogetherSensorTrigger
from tests.integration.airflow.dag_run import FinishedRun
from tests.integration.airflow.material import HARDWARE, JUDGE, MODEL, heldout, prompts, training, uploaded
from together_flows import Together
from together_flows.api import fine_tunes
from together_flows.emulator import Emulator

RunDag = Callable[..., FinishedRun]


@pytest.fixture
def client(emulator: Emulator) -> Iterator[Together]:
    with Together(api_key=emulator.api_key, base_url=emulator.url) as client:
        yield client


@pytest.fixture
def new_fine_tune(client: Together, emulator: Emulator, tmp_path: Path) -> Callable[[], str]:
    file_id = uploaded(emulator, training(tmp_path))
    return lambda: client.send(fine_tunes.create(training_file=file_id, model=MODEL)).id


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "in a worker"])
def test_a_sensor_for_each_kind_waits_for_what_another_task_has_submitted(
    deferrable: bool, run_dag: RunDag, emulator: Emulator, tmp_path: Path
) -> None:
    wishes: dict[str, Any] = {"deferrable": deferrable, "poke_interval": 0.2}
    with DAG("sense", schedule=None, render_template_as_native_obj=False) as dag:
        upload = TogetherUploadFileOperator(task_id="upload", path=str(training(tmp_path)), poll_interval=0.3)
        tune = TogetherFineTuneOperator(task_id="tune", training_file=upload.output["file_id"], model=MODEL, wait=False)
        answer = TogetherBatchOperator(
            task_id="answer",
            rows=prompts(3),
            model=MODEL,
            output_path=str(tmp_path / "out.jsonl"),
            directory=str(tmp_path / "work"),
            wait=False,
        )
        judge = TogetherEvaluationOperator(
            task_id="judge",
            evaluation_type="classify",
            input_path=str(heldout(tmp_path)),
            judge={**JUDGE, "system_template": "Is {{ answer }} right for {{ question }}?"},
            labels=["good", "bad"],
            pass_labels=["good"],
            model_to_evaluate="answer",
            wait=False,
        )
        serve = TogetherEndpointOperator(task_id="serve", model=MODEL, hardware=HARDWARE, wait=False)
        copy = TogetherModelUploadOperator(task_id="copy", model_name="m", model_source="someone/m", wait=False)

        def id_of(task_id: str) -> str:
            return f"{{{{ ti.xcom_pull(task_ids='{task_id}')['reference'].partition(':')[2] }}}}"

        upload >> TogetherFileSensor(task_id="file", file_id=upload.output["file_id"], **wishes)
        tune >> TogetherFineTuneSensor(task_id="fine_tune", fine_tune_id=id_of("tune"), **wishes)
        answer >> TogetherBatchSensor(task_id="batch", batch_id=id_of("answer"), **wishes)
        judge >> TogetherEvaluationSensor(task_id="evaluation", evaluation_id=id_of("judge"), **wishes)
        serve >> TogetherEndpointSensor(task_id="endpoint", endpoint_id=id_of("serve"), **wishes)
        copy >> TogetherModelUploadSensor(task_id="model_upload", job_id=id_of("copy"), **wishes)
    run = run_dag(dag)
    assert set(run.states.values()) == {"success"}, run.log
    assert run.xcom("fine_tune")["model"]
    assert run.xcom("batch")["output_file_id"]
    assert run.xcom("endpoint")["state"] == "STARTED"
    assert run.xcom("file")["file_id"] == run.xcom("upload")["file_id"]


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "in a worker"])
def test_a_failed_job_fails_its_sensor_at_once_with_the_jobs_words(
    deferrable: bool, run_dag: RunDag, emulator: Emulator, new_fine_tune: Callable[[], str]
) -> None:
    emulator.settings(fail={"fine_tune": "the node caught fire"})
    job_id = new_fine_tune()
    with DAG("sense_failure", schedule=None) as dag:
        TogetherFineTuneSensor(
            task_id="sensor", fine_tune_id=job_id, deferrable=deferrable, poke_interval=0.2, retries=2, retry_delay=0
        )
    run = run_dag(dag)
    assert run.states == {"sensor": "failed"}
    assert "the node caught fire" in run.log
    assert run.log.count("Task failed with exception") == 1


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "in a worker"])
def test_a_sensor_of_nothing_says_so(deferrable: bool, run_dag: RunDag, emulator: Emulator) -> None:
    with DAG("sense_nothing", schedule=None) as dag:
        TogetherBatchSensor(
            task_id="sensor", batch_id="{{ none }}", deferrable=deferrable, poke_interval=0.1, retries=0
        )
    run = run_dag(dag)
    assert run.states == {"sensor": "failed"}


def test_a_soft_sensor_is_skipped_when_the_job_has_failed(
    run_dag: RunDag, emulator: Emulator, new_fine_tune: Callable[[], str]
) -> None:
    emulator.settings(fail={"fine_tune": "the node caught fire"})
    job_id = new_fine_tune()
    with DAG("sense_softly", schedule=None) as dag:
        TogetherFineTuneSensor(task_id="sensor", fine_tune_id=job_id, soft_fail=True, poke_interval=0.2)
    assert run_dag(dag).states == {"sensor": "skipped"}


def test_a_sensor_begins_and_ends_in_the_triggerer(emulator: Emulator, new_fine_tune: Callable[[], str]) -> None:
    sensor = TogetherFineTuneSensor(task_id="sensor", fine_tune_id=new_fine_tune(), poke_interval=0.2)
    assert sensor.start_from_trigger
    begin = sensor.start_trigger_args
    assert begin is not None
    assert begin.trigger_cls == f"{TogetherSensorTrigger.__module__}.{TogetherSensorTrigger.__qualname__}"
    kwargs = json.loads(json.dumps(begin.trigger_kwargs))

    async def event() -> Any:
        return await anext(TogetherSensorTrigger(**kwargs).run())

    ended = asyncio.run(event())
    assert isinstance(ended, TaskSuccessEvent)
    assert ended.xcoms is not None
    assert ended.xcoms["return_value"]["model"] == ended.xcoms["model"] != ""


def test_a_sensor_never_ends_its_job(emulator: Emulator, new_fine_tune: Callable[[], str]) -> None:
    emulator.settings(speed=40)
    trigger = TogetherSensorTrigger("together_default", [f"fine_tune:{new_fine_tune()}"], interval=0.2)

    async def killed() -> None:
        run = asyncio.create_task(anext(trigger.run()))
        await asyncio.sleep(0.3)
        run.cancel()
        await asyncio.wait({run})
        await trigger.on_kill()
        await trigger.cleanup()

    asyncio.run(killed())
    assert emulator.counts()["running"]["fine_tune"] == 1
    emulator.settings(speed=1200)


def test_poking_outlives_an_api_that_fails_for_a_while(emulator: Emulator, new_fine_tune: Callable[[], str]) -> None:
    sensor = TogetherFineTuneSensor(task_id="sensor", fine_tune_id=new_fine_tune(), deferrable=False)
    emulator.fault(method="GET", path="/fine-tunes/{id}", status=500, times=None)
    assert not sensor.poke({})
    emulator.clear_faults()


def test_a_wrong_key_fails_a_sensor_at_once(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.integration.airflow.conftest import connect

    connect(monkeypatch, emulator.url, "a-wrong-key")
    sensor: TogetherJobSensor = TogetherBatchSensor(task_id="sensor", batch_id="b", deferrable=False)
    with pytest.raises(AirflowFailException):
        sensor.poke({})
