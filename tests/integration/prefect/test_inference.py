"""Inference over rows in real flow runs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterType
from prefect.context import get_run_context

import together_flows.prefect as tp
from tests.integration.inference.every_kind import OPERATIONS, cases
from tests.integration.prefect.conftest import BLOCK, MODEL
from together_flows.client import instant_retries
from together_flows.emulator import Emulator
from together_flows.errors import PaymentRequired

WISHES: dict[str, Any] = {"model": MODEL, "defaults": {"max_tokens": 8}, "concurrency": 4}
TEXTS = [f"Where is parcel {number}?" for number in range(40)]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def asked(emulator: Emulator) -> int:
    return int(emulator.counts()["requests"].get("POST /chat/completions", 0))


def test_the_sync_task_answers_rows_in_their_order(emulator: Emulator, prompts: Path, tmp_path: Path) -> None:
    @flow
    def answer() -> dict[str, Any]:
        return tp.infer_rows(BLOCK, "chat.create", str(prompts), str(tmp_path / "out.jsonl"), **WISHES)

    made = answer()
    assert (made["rows"], made["succeeded"]) == (12, 12)
    assert [line["index"] for line in lines(tmp_path / "out.jsonl")] == list(range(12))
    assert len(json.dumps(made)) < 1_000


async def test_the_async_task_answers_rows_and_is_submittable(emulator: Emulator, tmp_path: Path) -> None:
    @flow
    async def answer() -> list[dict[str, Any]]:
        first = await tp.ainfer_rows(BLOCK, "chat.create", TEXTS, str(tmp_path / "one.jsonl"), **WISHES)
        embed = {"model": "BAAI/bge-base-en-v1.5"}
        future = tp.ainfer_rows.submit(BLOCK, "embeddings.create", TEXTS, str(tmp_path / "two.jsonl"), **embed)
        future.wait()
        return [first, await future.state.aresult()]

    first, second = await answer()
    assert first["succeeded"] == 40
    assert second["succeeded"] == 40
    assert all(line["response"]["data"] for line in lines(tmp_path / "two.jsonl"))


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
async def test_the_share_of_the_rows_that_are_done_is_an_artifact(
    asynchronous: bool, emulator: Emulator, tmp_path: Path
) -> None:
    @flow
    def answer() -> UUID:
        tp.infer_rows(BLOCK, "chat.create", TEXTS, str(tmp_path / "out.jsonl"), **WISHES)
        return get_run_context().flow_run.id

    @flow
    async def aanswer() -> UUID:
        await tp.ainfer_rows(BLOCK, "chat.create", TEXTS, str(tmp_path / "out.jsonl"), **WISHES)
        return get_run_context().flow_run.id

    flow_run_id = await aanswer() if asynchronous else await asyncio.to_thread(answer)
    async with get_client() as client:
        chosen = ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]), type=ArtifactFilterType(any_=["progress"])
        )
        [artifact] = await client.read_artifacts(artifact_filter=chosen)
    assert artifact.data == 100.0
    assert "out.jsonl" in str(artifact.description)


async def test_the_sync_task_works_inside_an_async_flow(emulator: Emulator, tmp_path: Path) -> None:
    @flow
    async def answer() -> dict[str, Any]:
        return tp.infer_rows(BLOCK, "chat.create", TEXTS, str(tmp_path / "out.jsonl"), **WISHES)

    assert (await answer())["succeeded"] == 40


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
async def test_every_operation_keeps_order_bound_and_failures(
    operation: str, asynchronous: bool, emulator: Emulator, tmp_path: Path
) -> None:
    case = cases(tmp_path)[operation]
    output = f"memory://{uuid4().hex}/out.jsonl"

    @flow
    def answer() -> dict[str, Any]:
        return tp.infer_rows(BLOCK, operation, **case.arguments(case.rows(), output))

    @flow
    async def aanswer() -> dict[str, Any]:
        return await tp.ainfer_rows(BLOCK, operation, **case.arguments(case.rows(), output))

    emulator.fault(method="POST", path=case.route.partition(" ")[2], status=429, times=1)
    emulator.fault(method="POST", path=case.route.partition(" ")[2], delay=0.05, times=None)
    with instant_retries():
        made = await aanswer() if asynchronous else await asyncio.to_thread(answer)
    case.check(emulator, made, output)


def test_a_rerun_after_a_failure_pays_no_answered_row_again(emulator: Emulator, tmp_path: Path) -> None:
    emulator.fault(path="/chat/completions", status=402, skip=20)

    @flow
    def answer() -> dict[str, Any]:
        return tp.infer_rows(BLOCK, "chat.create", TEXTS, str(tmp_path / "out.jsonl"), **WISHES)

    with pytest.raises(PaymentRequired):
        answer()
    before = asked(emulator)
    made = answer()
    assert made["succeeded"] == 40
    assert made["resumed"] >= 20
    assert asked(emulator) - before == 40 - made["resumed"]


def test_a_fresh_run_pays_answered_rows_of_another_one_again(emulator: Emulator, tmp_path: Path) -> None:
    emulator.fault(path="/chat/completions", status=402, skip=20)

    @flow
    def answer(fresh: bool) -> dict[str, Any]:
        return tp.infer_rows(BLOCK, "chat.create", TEXTS, str(tmp_path / "out.jsonl"), fresh=fresh, **WISHES)

    with pytest.raises(PaymentRequired):
        answer(fresh=False)
    made = answer(fresh=True)
    assert (made["succeeded"], made["resumed"]) == (40, 0)


def test_a_retry_of_the_flow_run_does_not_make_a_complete_output_again(emulator: Emulator, tmp_path: Path) -> None:
    tried = 0

    @flow(retries=1)
    def answer() -> dict[str, Any]:
        nonlocal tried
        tried += 1
        made = tp.infer_rows(BLOCK, "chat.create", TEXTS, str(tmp_path / "out.jsonl"), **WISHES)
        if tried == 1:
            raise RuntimeError("something after it")
        return made

    assert answer()["succeeded"] == 40
    assert tried == 2
    assert asked(emulator) == 40
