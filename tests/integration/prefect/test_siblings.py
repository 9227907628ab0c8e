"""When a task that waits for several jobs is interrupted, one that cannot be ended does not keep the others running."""

from __future__ import annotations

import asyncio

import pytest

from together_flows import Together
from together_flows.api import batches, files, fine_tunes
from together_flows.client import instant_retries
from together_flows.emulator import Emulator
from together_flows.jobs import JobRecord, MemoryStore, Phase
from together_flows.prefect import TogetherCredentials
from together_flows.prefect.identity import Owner
from together_flows.prefect.interruption import Kept, asettle, settle

MODEL = "Qwen/Qwen3-8B"
ROW = b'{"text": "a row of text to train on"}\n'
LINE = b'{"custom_id": "a", "body": {"model": "Qwen/Qwen3-8B", "messages": [{"role": "user", "content": "hello"}]}}\n'


def started(emulator: Emulator) -> list[tuple[str, str]]:
    """A training that is about to be asked to end, and a batch after it."""
    with Together(api_key=emulator.api_key, base_url=emulator.url) as client:
        rows = client.send(files.upload(file=ROW * 20, file_name="a.jsonl", purpose="fine-tune"))
        while client.send(files.retrieve(rows.id)).processing_status != "COMPLETED":
            pass
        lines = client.send(files.upload(file=LINE, file_name="b.jsonl", purpose="batch-api"))
        emulator.settings(speed=0.001)
        tuned = client.send(fine_tunes.create(training_file=rows.id, model=MODEL))
        batch = client.send(batches.create(input_file_id=lines.id, endpoint="/v1/chat/completions")).job
    return [("fine_tune", tuned.id), ("batch", batch.id)]


def kept(jobs: list[tuple[str, str]]) -> Kept:
    store = MemoryStore()
    found = []
    for kind, job_id in jobs:
        record = JobRecord(kind=kind, fingerprint="f", marker="tf0", intent_at=1.0, phase=Phase.SUBMITTED, id=job_id)
        store.save(job_id, record)
        found.append((record, store, job_id))
    return found


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_refused_cancellation_does_not_stop_the_next(way: str) -> None:
    with Emulator(speed=3600) as emulator, instant_retries():
        jobs = kept(started(emulator))
        emulator.fault(method="POST", path="/fine-tunes/{id}/cancel", status=401, times=None)
        account = TogetherCredentials(api_key=emulator.api_key, base_url=emulator.url)
        nobody = Owner(flow_run_id=None, attempt=1, task_run="flow")
        if way == "sync":
            settle(account, nobody, lambda: jobs)
        else:
            asyncio.run(asettle(account, nobody, lambda: jobs))
        assert emulator.billing() == {"fine_tune": 1}
