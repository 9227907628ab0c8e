"""Large files go through the emulator without being held in it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

from .account import checked
from .test_process import running

ROW = b'{"prompt": "' + b"word " * 400 + b'", "completion": "' + b"other " * 100 + b'"}\n'
ROWS = 60_000


def rows() -> Iterator[bytes]:
    block = ROW * 100
    for _ in range(ROWS // 100):
        yield block


def test_a_file_twice_as_large_as_the_emulators_memory_is_taken_checked_and_given_back(tmp_path: Path) -> None:
    with running("--speed", "100000", temporary=tmp_path) as (process, account):
        announced = account.http.post("/files", data={"purpose": "fine-tune", "file_name": "big.jsonl"})
        file_id = announced.headers["x-together-file-id"]
        length = {"content-length": str(len(ROW) * ROWS)}
        account.bare.put(announced.headers["location"], content=rows(), headers=length).raise_for_status()
        account.http.post(f"/files/{file_id}/preprocess").raise_for_status()
        file = account.until(f"/files/{file_id}", checked, seconds=20)
        with account.http.stream("GET", f"/files/{file_id}/content") as answer:
            received = sum(len(chunk) for chunk in answer.iter_raw())
        peak = next(
            int(line.split()[1]) / 1024
            for line in Path(f"/proc/{process.process.pid}/status").read_text().splitlines()
            if line.startswith("VmHWM")
        )
        process.end(signal.SIGTERM)

    assert file["validation_report"]["nlines"] == ROWS
    assert received == len(ROW) * ROWS
    assert peak < 80
