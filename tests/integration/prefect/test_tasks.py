"""Every task pair against the emulator, inside real flow runs."""

from __future__ import annotations

import asyncio
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from prefect import Task, flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.context import get_run_context

import together_flows.prefect as tp
from tests.integration.prefect.conftest import BLOCK, HARDWARE, MODEL, QUICK, created, running
from together_flows.api import fine_tunes
from together_flows.emulator import Emulator

PAIRS = [name for name in tp.__all__ if isinstance(getattr(tp, name), Task)]


def test_every_task_has_its_async_twin() -> None:
    sync = {name for name in PAIRS if not getattr(tp, name).isasync}
    assert {f"a{name}" for name in sync} == set(PAIRS) - sync
    assert {"submit_fine_tune", "wait_for_job", "fine_tune", "batch", "call", "wait_many"} <= sync


def judging(file_id: str | None, model: str = MODEL) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "judge": {
            "model": "meta-llama/Llama-3.3-70B-Instruct-Turbo",
            "model_source": "serverless",
            "system_template": "Does it agree with {{ reference }}?",
        },
        "min_score": 0.0,
        "max_score": 10.0,
        "pass_threshold": 5.0,
        "model_to_evaluate": {
            "model": model,
            "model_source": "serverless",
            "system_template": "Answer.",
            "input_template": "{{ prompt }}",
            "max_tokens": 64,
            "temperature": 0.0,
        },
    }
    return parameters | ({"input_data_file_path": file_id} if file_id else {})


def test_sync_tasks_do_the_whole_work(
    emulator: Emulator, training: Path, heldout: Path, prompts: Path, tmp_path: Path
) -> None:
    @tp.together_flow
    def whole() -> dict[str, Any]:
        file = tp.upload_file(BLOCK, str(training), purpose="fine-tune", **QUICK)
        tuned = tp.fine_tune(BLOCK, training_file=file["file_id"], model=MODEL, budget=50.0, **QUICK)
        score = tp.evaluate(
            BLOCK,
            type="score",
            parameters=judging(None, tuned["model"]),
            input_path=str(heldout),
            result_path=str(tmp_path / "judged.jsonl"),
            **QUICK,
        )
        with tp.endpoint(BLOCK, model=tuned["model"], hardware=HARDWARE, budget=50.0, **QUICK) as served:
            asked = {"model": served["name"], "messages": [{"role": "user", "content": "Where is parcel 3?"}]}
            answer = tp.call(BLOCK, "chat.create", asked)
            billing = running(emulator)
        rows = tp.batch(BLOCK, str(prompts), str(tmp_path / "out.jsonl"), model=tuned["model"], max_rows=5, **QUICK)
        archive = tp.download_model(BLOCK, tuned["id"], f"{tmp_path}/model/")
        copied = tp.upload_model(BLOCK, model_name="mine/copy", model_source="org/repo", **QUICK)
        downloaded = tp.download_file(BLOCK, file["file_id"], f"{tmp_path}/back.jsonl")
        return {"flow_run_id": get_run_context().flow_run.id, **locals()}  # type: ignore[union-attr]

    made = whole()
    assert made["tuned"]["model"]
    assert made["tuned"]["price_usd"] > 0
    assert made["score"]["results"]["aggregated_scores"]["mean_score"] > 8
    assert len(Path(made["score"]["result_path"]).read_text().splitlines()) == 12
    assert "depot 3" in made["answer"]["choices"][0]["message"]["content"]
    assert made["billing"] == {"endpoint": 1}
    assert made["rows"]["succeeded"] == 12
    assert len(made["rows"]["jobs"]) == 3
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(12))
    assert tarfile.is_tarfile(made["archive"]) or made["archive"].endswith(".tar.zst")
    assert made["copied"]["model"].endswith("copy")
    assert Path(made["downloaded"]).read_bytes() == training.read_bytes()
    assert running(emulator) == {}
    types = artifact_types(made["flow_run_id"])
    assert {"progress", "table", "markdown"} <= types  # a link is kept as markdown


def artifact_types(flow_run_id: Any) -> set[str | None]:
    chosen = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
    with get_client(sync_client=True) as client:
        return {artifact.type for artifact in client.read_artifacts(artifact_filter=chosen)}


async def test_async_tasks_do_the_whole_work(
    emulator: Emulator, training: Path, heldout: Path, prompts: Path, tmp_path: Path
) -> None:
    @tp.together_flow
    async def whole() -> dict[str, Any]:
        file, questions = await asyncio.gather(
            tp.aupload_file(BLOCK, str(training), purpose="fine-tune", **QUICK),
            tp.aupload_file(BLOCK, str(heldout), purpose="eval", **QUICK),
        )
        tuned = await tp.afine_tune(BLOCK, training_file=file["file_id"], model=MODEL, budget=50.0, **QUICK)
        parameters = judging(questions["file_id"], tuned["model"])
        score = await tp.aevaluate(
            BLOCK, type="score", parameters=parameters, result_path=str(tmp_path / "judged.jsonl"), **QUICK
        )
        async with tp.aendpoint(BLOCK, model=tuned["model"], hardware=HARDWARE, **QUICK) as served:
            asked = {"model": served["name"], "messages": [{"role": "user", "content": "Where is parcel 3?"}]}
            answer = await tp.acall(BLOCK, "chat.create", asked)
        rows = await tp.abatch(
            BLOCK, str(prompts), str(tmp_path / "out.jsonl"), model=tuned["model"], max_rows=5, **QUICK
        )
        archive = await tp.adownload_model(BLOCK, tuned["id"], str(tmp_path / "model.tar"))
        copied = await tp.aupload_model(BLOCK, model_name="mine/copy", model_source="org/repo", **QUICK)
        downloaded = await tp.adownload_file(BLOCK, file["file_id"], f"{tmp_path}/back.jsonl")
        return dict(locals())

    made = await whole()
    assert made["tuned"]["model"]
    assert made["score"]["results"]["aggregated_scores"]["mean_score"] > 8
    assert "depot 3" in made["answer"]["choices"][0]["message"]["content"]
    assert made["rows"]["succeeded"] == 12
    assert created(emulator, "batch") == 3
    assert Path(made["archive"]).stat().st_size > 0
    assert made["copied"]["source"] == "org/repo"
    assert Path(made["downloaded"]).read_bytes() == training.read_bytes()
    assert running(emulator) == {}


def test_tasks_can_be_submitted_and_mapped_and_equal_inputs_are_two_jobs(emulator: Emulator, training: Path) -> None:
    @flow
    def mapped() -> list[str]:
        file = tp.upload_file.submit(BLOCK, str(training), purpose="fine-tune", **QUICK).result()
        same = [file["file_id"]] * 2
        jobs = tp.submit_fine_tune.map(BLOCK, training_file=same, model=MODEL).result()
        again = tp.asubmit_fine_tune.map(BLOCK, training_file=same, model=MODEL).result()
        tp.wait_many(BLOCK, [*jobs, *again], **QUICK)
        return [job["id"] for job in (*jobs, *again)]

    ids = mapped()
    assert len(set(ids)) == 4
    assert created(emulator, "fine_tune") == 4


async def test_fifty_waits_cost_list_calls_and_one_last_look_each(emulator: Emulator, training: Path) -> None:
    emulator.settings(speed=5)

    async def finish_all_at_once() -> None:
        """End the jobs between two looks, so that there is no last few of them, which are cheaper to read singly."""
        while (await asyncio.to_thread(emulator.counts))["requests"].get("GET /fine-tunes", 0) < 3:
            await asyncio.sleep(0.1)
        await asyncio.to_thread(emulator.settings, speed=100_000)

    @flow
    async def many() -> list[dict[str, Any]]:
        file = await tp.aupload_file(BLOCK, str(training), purpose="fine-tune", **QUICK)
        async with tp.TogetherCredentials(api_key=emulator.api_key, base_url=emulator.url).get_async_client() as client:
            wanted = fine_tunes.create(training_file=file["file_id"], model=MODEL)
            jobs = await asyncio.gather(*(client.send(wanted) for _ in range(50)))
        before = emulator.counts()["requests"].get("GET /fine-tunes/{id}", 0)
        waits = tp.await_many(BLOCK, [f"fine_tune:{job.id}" for job in jobs], **QUICK)
        results, _ = await asyncio.gather(waits, finish_all_at_once())
        reads = emulator.counts()["requests"]["GET /fine-tunes/{id}"] - before
        assert reads <= 60, "each job is read once at its end; the looks on the way are list calls"
        return results

    results = await many()
    assert len(results) == 50
    assert all(result["model"] for result in results)
    assert emulator.counts()["requests"]["GET /fine-tunes"] >= 2


async def test_rows_that_fail_come_back_with_their_error_in_their_place(emulator: Emulator, tmp_path: Path) -> None:
    wrong = {"model": "no/such", "messages": [{"role": "user", "content": "two"}]}
    rows: list[Any] = ["one", {"custom_id": "bad", "body": wrong}, "three"]

    @flow
    async def some() -> dict[str, Any]:
        return await tp.abatch(BLOCK, rows, str(tmp_path / "out.jsonl"), model=MODEL, **QUICK)

    result = await some()
    assert (result["succeeded"], result["failed"]) == (2, 1)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["succeeded", "failed", "succeeded"]
    assert lines[1]["error"]["message"]
    assert created(emulator, "batch") == 2, "the row was sent again, on its own"


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_job_block_is_saved_triggered_and_waited_for(emulator: Emulator, training: Path, kind: str) -> None:
    credentials = await tp.TogetherCredentials.aload(BLOCK)
    block = tp.FileJob(credentials=credentials, path=str(training), purpose="fine-tune", poll_interval=0.2)
    await block.asave(f"upload-{kind}", overwrite=True)
    loaded = await tp.FileJob.aload(f"upload-{kind}")

    if kind == "async":
        job_run = await loaded.atrigger()
        await job_run.await_for_completion()
    else:
        job_run = await asyncio.to_thread(loaded.trigger)
        await asyncio.to_thread(job_run.wait_for_completion)
    assert job_run.fetch_result()["rows"] == 40
    assert emulator.api_key not in repr(loaded)
