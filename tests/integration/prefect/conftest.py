"""A Prefect server and an emulator for the session, and a credentials block that brings the two together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import (
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    PREFECT_LOGGING_TO_API_ENABLED,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    temporary_settings,
)
from prefect.testing.utilities import prefect_test_harness

from together_flows.api import files
from together_flows.client import Together
from together_flows.emulator import Emulator
from together_flows.prefect import TogetherCredentials

#: Name of the credentials block.
BLOCK = "together"
MODEL = "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"
#: Arguments of a wait that is over soon.
QUICK: dict[str, Any] = {"poll_interval": 0.2}
#: Emulator seconds in a second: a fine-tune takes about 20 seconds, its cancellation less than one.
SLOW = 15
HARDWARE = "1x_nvidia_h100_80gb_sxm"


@pytest.fixture(scope="session", autouse=True)
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Prefect server with a home of its own: results of another run must not be found here."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("prefect-home")
        patch.setenv("DO_NOT_TRACK", "1")
        patch.setenv("PREFECT_HOME", str(home))
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        settings = {
            PREFECT_HOME: home,
            PREFECT_SERVER_ANALYTICS_ENABLED: False,
            PREFECT_LOGGING_TO_API_ENABLED: False,
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,  # its thread takes a second to end, at the end of every flow run
        }
        with temporary_settings(settings), prefect_test_harness(server_startup_timeout=180):
            yield


@pytest.fixture(scope="session")
def _emulator() -> Iterator[Emulator]:
    with Emulator(speed=3600) as emulator:
        yield emulator


@pytest.fixture
def emulator(_emulator: Emulator, prefect_server: None) -> Iterator[Emulator]:
    """An emulator on which an hour takes a second, as good as new, with a credentials block for it."""
    _emulator.reset()
    TogetherCredentials(api_key=_emulator.api_key, base_url=_emulator.url).save(BLOCK, overwrite=True, _sync=True)  # type: ignore[call-arg] # taken by Prefect's dispatcher
    yield _emulator
    _emulator.clear_faults()
    _emulator.settings(speed=3600)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """Conversations to learn from."""

    def row(number: int) -> dict[str, Any]:
        question, answer = f"Where is parcel {number}?", f"Parcel {number} waits in depot {number % 7}."
        return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}

    return write_rows(tmp_path / "train.jsonl", map(row, range(40)))


@pytest.fixture
def heldout(tmp_path: Path) -> Path:
    """Questions with the answers that are right."""

    def row(number: int) -> dict[str, Any]:
        return {"prompt": f"Where is parcel {number}?", "reference": f"Parcel {number} waits in depot {number % 7}."}

    return write_rows(tmp_path / "heldout.jsonl", map(row, range(12)))


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """Prompts for a batch."""
    rows = ({"prompt": f"Where is parcel {number}?"} for number in range(12))
    return write_rows(tmp_path / "prompts.jsonl", rows)


@pytest.fixture
def client(emulator: Emulator) -> Iterator[Together]:
    """A client for the emulator, for what the test does behind the flow's back."""
    with Together(api_key=emulator.api_key, base_url=emulator.url) as client:
        yield client


@pytest.fixture
def file_id(client: Together, training: Path) -> str:
    """A file to train on that the server has checked."""
    file = client.upload(training, purpose="fine-tune")
    while client.send(files.retrieve(file.id)).processing_status not in (None, "COMPLETED"):
        pass
    return str(file.id)


def running(emulator: Emulator) -> dict[str, int]:
    """Jobs that run on the server, by kind, without the kinds of which none runs."""
    return {kind: number for kind, number in emulator.counts()["running"].items() if number}


def created(emulator: Emulator, kind: str) -> int:
    """Paid creations of a kind that took effect."""
    return int(emulator.counts()["created"][kind])
