"""Row 6: two mapped tasks with the same input at the same time want two jobs, and get one each."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.matrix.cell import Cell, Counted
from tests.e2e.matrix.play import Record
from tests.e2e.matrix.twins import Wish, fulfil, meet
from together_flows import Together
from together_flows.api import batches, files
from together_flows.client import instant_retries
from together_flows.emulator import EmulatorProcess

pytestmark = [pytest.mark.e2e, pytest.mark.exhaustive]

MODEL = "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"
#: Emulated seconds per real second, and for how many of them lists do not show a new job: half a real second.
SPEED, HIDDEN = 7200.0, 3600.0
_ROWS = 12


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorProcess]:
    with EmulatorProcess(speed=SPEED) as running, instant_retries():
        yield running


@pytest.fixture
def two_processes() -> Iterator[ProcessPoolExecutor]:
    """Two of each test's own, so that one that hangs keeps none of the next from its start."""
    spawned = multiprocessing.get_context("spawn")
    meeting = spawned.Barrier(2)
    with ProcessPoolExecutor(2, mp_context=spawned, initializer=meet, initargs=(meeting,)) as pool:
        yield pool


def conversations(folder: Path) -> Path:
    path = folder / "train.jsonl"
    rows = (
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n}."}]}
        for n in range(_ROWS)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def prompts(folder: Path) -> Path:
    path = folder / "prompts.jsonl"
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    path.write_text("".join(json.dumps({"custom_id": str(n), "body": body}) + "\n" for n in range(_ROWS)))
    return path


def wish(case: str, folder: Path) -> Wish:
    chat = {"endpoint": "/v1/chat/completions"}
    if case == "fine_tune":
        spec = {"model": MODEL, "n_epochs": 1}
        content = conversations(folder)
        return Wish(key="", kind=case, content=content, purpose="fine-tune", takes="training_file", spec=spec)
    if case == "batch":
        return Wish(key="", kind=case, content=prompts(folder), takes="input_path", spec=chat)
    return Wish(key="", kind="batch", content=prompts(folder), purpose="batch-api", takes="input_file_id", spec=chat)


@pytest.mark.parametrize(
    ("case", "lost"),
    [
        ("fine_tune", 0),
        ("fine_tune", 1),
        ("fine_tune", 2),
        ("batch", 0),
        ("batch", 1),
        ("batch", 2),
        ("batch on one file", 0),  # a lost one could not be told from the other's: it ends in SubmissionUnknown
    ],
)
def test_two_tasks_that_want_the_same_get_a_job_each(
    case: str,
    lost: int,
    emulator: EmulatorProcess,
    two_processes: ProcessPoolExecutor,
    record_cell: Record,
    tmp_path: Path,
) -> None:
    emulator.reset()
    wanted = wish(case, tmp_path)
    account = {"url": emulator.url, "api_key": emulator.api_key}
    with Together(api_key=emulator.api_key, base_url=emulator.url) as client:
        known = client.upload(wanted.content, purpose=wanted.purpose or "batch-api").id  # so that both meet a 409
        emulator.settings(list_delay=HIDDEN)
        create = {"fine_tune": "/fine-tunes", "batch": "/batches"}[wanted.kind]
        if lost:
            emulator.fault(method="POST", path=create, drop="after", times=lost)
        playing = [
            two_processes.submit(fulfil, replace(wanted, key=key), records=tmp_path / "records.db", **account)
            for key in ("map-0", "map-1")
        ]
        manifests = [played.result(120) for played in playing]
        assert len({manifest["id"] for manifest in manifests}) == 2, "one job was adopted twice"
        assert {job["id"] for job in emulator.jobs(wanted.kind)} == {manifest["id"] for manifest in manifests}
        if wanted.purpose:
            assert [manifest["input"] for manifest in manifests] == [known, known]
        if wanted.kind == "batch":
            assert answers(client, [manifest["output_file_id"] for manifest in manifests], tmp_path) == [_ROWS, _ROWS]
            own = {client.send(batches.retrieve(manifest["id"])).input_file_id for manifest in manifests}
            assert (own == {known}) is bool(wanted.purpose)
            assert len(own) == (1 if wanted.purpose else 2)
    counts = emulator.counts()
    counted = Counted(
        wanted=2,
        paid=counts["created"][wanted.kind],
        orphaned=counts["running"][wanted.kind],
        wrongly_cancelled=counts["cancelled"][wanted.kind],
    )
    what = f"two want the same at once, {lost} answers lost ({case})"
    record_cell(Cell(row="6", where="core", kind=wanted.kind, case=what, counted=counted))


def answers(client: Together, output_files: list[str], folder: Path) -> list[int]:
    """How many rows each of the files holds, and each row once."""

    def rows(file_id: str) -> int:
        lines = client.download(files.content(file_id), folder / f"{file_id}.jsonl").read_text().splitlines()
        return len({json.loads(line)["custom_id"] for line in lines})

    return [rows(file_id) for file_id in output_files]
