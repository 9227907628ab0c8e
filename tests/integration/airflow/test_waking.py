"""When a deferred task is woken."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from airflow_provider.triggers.job import TogetherJobTrigger
from tests.integration.airflow.material import training, uploaded
from together_flows.emulator import Emulator


async def woken_after(emulator: Emulator, file_id: str, not_before: float) -> float:
    """Seconds until a trigger for a file that was processed long ago wakes its task, which waits for so many."""
    began = time.monotonic()
    trigger = TogetherJobTrigger("together_default", [f"file:{file_id}"], not_before=time.time() + not_before)
    events = [event async for event in trigger.run()]
    assert events[0].payload["outcomes"][0]["state"] == "succeeded"
    return time.monotonic() - began


async def test_a_task_is_not_woken_before_the_scheduler_knows_that_it_was_deferred(
    database: Path, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC", "5")
    file_id = uploaded(emulator, training(tmp_path))
    assert await woken_after(emulator, file_id, not_before=2.0) >= 1.9


async def test_a_clock_that_is_set_back_does_not_hold_a_task_whose_job_is_done(
    database: Path, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC", "0.5")
    file_id = uploaded(emulator, training(tmp_path))
    async with asyncio.timeout(60):
        assert await woken_after(emulator, file_id, not_before=86_400.0) >= 0.9
