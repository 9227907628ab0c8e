"""The emulator as a process of its own, and what its control plane tells."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from together_flows import Together
from together_flows.api import batches, files
from together_flows.emulator import Emulator, EmulatorProcess
from together_flows.errors import ConfigurationInvalid
from together_flows.jobs import JobReference, page_of

LINE = b'{"custom_id": "a", "body": {"model": "Qwen/Qwen3-8B", "messages": [{"role": "user", "content": "hello"}]}}\n'


def make_batch(url: str, key: str) -> str:
    with Together(base_url=url, api_key=key) as client:
        file = client.send(files.upload(file=LINE, file_name="a.jsonl", purpose="batch-api"))
        return client.send(batches.create(input_file_id=file.id, endpoint="/v1/chat/completions")).job.id


def test_a_killed_process_comes_back_where_it_was_with_all_its_jobs(tmp_path: Path) -> None:
    with EmulatorProcess(speed=0.001, data=tmp_path / "state") as emulator:
        url = emulator.url
        batch = make_batch(url, emulator.api_key)
        emulator.kill()
        emulator.start()
        assert emulator.url == url
        assert [job["id"] for job in emulator.jobs("batch")] == [batch]
        assert emulator.billing() == {"batch": 1}


def test_a_process_that_was_not_started_says_so() -> None:
    with pytest.raises(ConfigurationInvalid, match="not running"):
        EmulatorProcess().counts()


def test_a_process_that_cannot_start_says_so() -> None:
    with EmulatorProcess() as first, pytest.raises(ConfigurationInvalid, match="did not start"):
        EmulatorProcess(port=int(first.url.split(":")[2].split("/")[0])).start()


def test_the_link_to_a_job_opens_a_page_about_it() -> None:
    with Emulator(speed=0.001) as emulator:
        batch = make_batch(emulator.url, emulator.api_key)
        page = httpx2.get(page_of(JobReference("batch", batch), emulator.url))
        assert page.status_code == 200
        assert batch in page.text
        assert "emulator" in page.text
        assert httpx2.get(page_of(JobReference("batch", "none"), emulator.url)).status_code == 404
