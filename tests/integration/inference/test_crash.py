"""A process that dies in the middle: what has an answer is not paid again."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

from tests.integration.inference.conftest import Send, asked, lines
from tests.integration.inference.sending_child import CHAT
from together_flows.emulator import Emulator

ROWS, CONCURRENCY = 400, 16


async def test_after_a_kill_only_rows_whose_answers_were_under_way_are_sent_again(
    send: Send, output: Path, emulator: Emulator, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"Where is parcel {n}?"}) + "\n" for n in range(ROWS)))
    emulator.fault(path="/chat/completions", delay=0.02, times=None)
    part = tmp_path / ".answers.jsonl.part"
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.inference.sending_child"),
        *(emulator.url, emulator.api_key, str(rows), str(output)),
    )
    try:
        async with asyncio.timeout(30):
            while not part.exists() or part.read_bytes().count(b"\n") < 100:
                assert child.returncode is None
                await asyncio.sleep(0.005)
    finally:
        child.send_signal(signal.SIGKILL)
        await child.wait()
    kept = part.read_bytes().count(b"\n")
    assert kept < ROWS
    emulator.clear_faults()

    made = await send(str(rows))

    assert made["resumed"] == kept
    assert made["succeeded"] == ROWS
    assert asked(emulator) <= ROWS + CONCURRENCY
    assert [line["index"] for line in lines(output)] == list(range(ROWS))
    assert not part.exists()


async def test_in_object_storage_what_was_written_before_a_kill_is_not_paid_again(
    send: Send, emulator: Emulator, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"Where is parcel {n}?"}) + "\n" for n in range(ROWS)))
    emulator.fault(path="/chat/completions", delay=0.02, times=None)
    output = f"file://{tmp_path}/bucket/answers.jsonl"  # fsspec serves it as it serves object storage
    part = tmp_path / "bucket" / ".answers.jsonl.part"
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.inference.sending_child"),
        *(emulator.url, emulator.api_key, f"file://{rows}", output, json.dumps(CHAT), "0.1"),
    )
    try:
        async with asyncio.timeout(30):
            while not part.exists() or len(list(part.iterdir())) < 3:
                assert child.returncode is None
                await asyncio.sleep(0.005)
    finally:
        child.send_signal(signal.SIGKILL)
        await child.wait()
    kept = sum(segment.read_bytes().count(b'"succeeded":true') for segment in part.glob("*.jsonl"))
    assert 0 < kept < ROWS
    emulator.clear_faults()
    before = asked(emulator)

    made = await send(f"file://{rows}", output)

    assert (made["resumed"], made["succeeded"]) == (kept, ROWS)
    assert asked(emulator) - before == ROWS - kept
    assert [line["index"] for line in lines(tmp_path / "bucket" / "answers.jsonl")] == list(range(ROWS))
    assert not part.exists()


async def test_a_second_process_does_not_send_the_same_rows_meanwhile(
    send: Send, output: Path, emulator: Emulator
) -> None:
    emulator.fault(path="/chat/completions", delay=0.3, times=None)
    first = asyncio.create_task(send(["Hello?"]))
    while not (output.parent / ".answers.jsonl.part").exists():
        await asyncio.sleep(0.005)
    second = asyncio.create_task(send(["Hello?"]))
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert isinstance(results[0], dict)
    assert "Another process" in str(results[1])
    assert asked(emulator) == 1
