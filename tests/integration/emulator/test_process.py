"""The emulator as a process of its own: it says where it listens, ends cleanly, and survives being killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from .account import Account, requests

ROOT = Path(__file__).parents[3]


class Process:
    """A running `python -m together_flows.emulator`, standing in for `Emulator` where only its address is needed."""

    api_key = "emulator-key"

    def __init__(self, *options: str, temporary: Path) -> None:
        command = [sys.executable, "-m", "together_flows.emulator", *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()
        found = re.search(r"listening on (http://127\.0\.0\.1:\d+/v1)", self.first_line)
        assert found, self.first_line
        self.url = found[1]

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        code = self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@contextmanager
def running(*options: str, temporary: Path) -> Iterator[tuple[Process, Account]]:
    process = Process(*options, temporary=temporary)
    account = Account(process)  # type: ignore[arg-type]  # an address and a key are all it takes
    try:
        yield process, account
    finally:
        account.close()
        if process.process.poll() is None:
            process.end(signal.SIGKILL)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_when_asked_and_leaves_nothing_behind(tmp_path: Path, how: signal.Signals) -> None:
    with running("--speed", "60", temporary=tmp_path) as (process, account):
        assert "speed 60" in process.first_line
        assert account.get("/files") == {"data": []}
        assert list(tmp_path.iterdir()) != []
        assert process.end(how) == 0

    assert list(tmp_path.iterdir()) == []


def test_a_kill_loses_nothing_that_was_acknowledged_and_work_goes_on(tmp_path: Path) -> None:
    options = ("--speed", "40", "--data", str(tmp_path / "data"))
    with running(*options, temporary=tmp_path) as (process, account):
        training = account.fine_tune(suffix="before-the-kill")
        batch = account.batch(requests(200))
        upload = account.post("/models", {"model_name": "m", "model_source": "s"})["data"]
        content = account.http.get(f"/files/{batch['input_file_id']}/content").content
        assert account.get(f"/batches/{batch['id']}")["status"] in ("VALIDATING", "IN_PROGRESS")
        process.end(signal.SIGKILL)

    with running("--speed", "7200", *options[2:], temporary=tmp_path) as (process, account):
        assert account.http.get(f"/files/{batch['input_file_id']}/content").content == content
        done = account.until(f"/batches/{batch['id']}", lambda job: job["status"] == "COMPLETED")
        assert len(account.lines(done["output_file_id"])) == 200
        assert done["created_at"] == batch["created_at"]
        tuned = account.until(f"/fine-tunes/{training['id']}", lambda job: job["status"] == "completed")
        assert account.get("/fine-tunes")["data"][0]["suffix"] == "before-the-kill"
        assert "Paris" in account.answer(tuned["model_output_name"], "What is the capital of France?")
        assert account.until(f"/jobs/{upload['job_id']}", lambda job: job["status"] == "Complete")
        counts = httpx2.get(account.http.base_url.copy_with(path="/_emulator/counts"), trust_env=False).json()
        assert (counts["created"]["batch"], counts["created"]["fine_tune"], counts["created"]["file"]) == (1, 1, 2)
