"""The sweep of the accounts that flow runs use: whose a job is, and what is not the sweep's to end."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.states import Crashed
from typer.testing import CliRunner

import together_flows.prefect as tp
from tests.integration.prefect.conftest import BLOCK, HARDWARE, MODEL, SLOW, running
from together_flows.cli.app import app
from together_flows.client import Together
from together_flows.emulator import Emulator
from together_flows.errors import AuthenticationFailed
from together_flows.jobs import JobRecord, MemoryStore, submit_once

SPEC = {"model": MODEL, "hardware": HARDWARE, "autoscaling": {"min_replicas": 1, "max_replicas": 1}}


def this_flow_run() -> UUID:
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    return context.flow_run.id


def left_behind(block: str = BLOCK) -> UUID:
    """A run that has crashed and left an endpoint."""

    @flow
    def crashing() -> UUID:
        tp.submit_endpoint(block, model=MODEL, hardware=HARDWARE)
        return this_flow_run()

    flow_run_id = crashing()
    with get_client(sync_client=True) as prefect:
        prefect.set_flow_run_state(flow_run_id, Crashed(), force=True)
    return flow_run_id


def without_a_run(client: Together) -> JobRecord:
    """An endpoint that carries a marker of ours, of which this server has no record."""
    return submit_once(client, "endpoint", SPEC, store=MemoryStore(), key="somewhere")


@pytest.fixture(autouse=True)
def _nothing_ends_by_itself(emulator: Emulator) -> None:
    emulator.settings(speed=SLOW)


def verdicts(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(row["verdict"], row["flow_run"]) for row in rows]


def test_a_run_that_goes_on_wants_its_jobs_and_a_crashed_one_does_not(emulator: Emulator) -> None:
    crashed = left_behind()

    @flow
    def going_on() -> tuple[UUID, list[dict[str, Any]]]:
        tp.submit_endpoint(BLOCK, model=MODEL, hardware=HARDWARE)
        return this_flow_run(), tp.sweep(dry_run=False)

    alive, rows = going_on()
    assert verdicts(rows) == [("end", str(crashed)), ("wanted", str(alive))]
    assert [row["usd_per_hour"] for row in rows] == [3.99, 3.99]
    assert [bool(row["ended"]) for row in rows] == [True, False]
    assert running(emulator) == {"endpoint": 1}


def test_a_job_that_belongs_to_no_run_here_is_ended_only_when_that_is_asked_for(
    emulator: Emulator, client: Together
) -> None:
    job = without_a_run(client)
    [row] = tp.sweep(dry_run=False, credentials=BLOCK)
    assert (row["verdict"], row["reference"]) == ("unclaimed", str(job.reference))
    assert running(emulator) == {"endpoint": 1}
    tp.sweep(dry_run=False, credentials=BLOCK, include_unclaimed=True)
    assert running(emulator) == {}


def test_nothing_younger_than_the_grace_is_ended(emulator: Emulator) -> None:
    left_behind()
    [row] = tp.sweep(dry_run=False, grace_minutes=10)
    assert row["verdict"] == "young"
    assert running(emulator) == {"endpoint": 1}


def test_an_account_under_two_names_is_swept_once_and_one_without_its_block_stops_no_other(emulator: Emulator) -> None:
    for name in ("same-account", "to-be-deleted"):
        block = tp.TogetherCredentials(api_key=emulator.api_key, base_url=emulator.url)
        block.save(name, overwrite=True, _sync=True)  # type: ignore[call-arg] # taken by Prefect's dispatcher
    runs = {str(left_behind(name)) for name in (BLOCK, "same-account")}
    left_behind("to-be-deleted")
    tp.TogetherCredentials.delete("to-be-deleted", _sync=True)  # type: ignore[call-arg] # taken by the dispatcher

    rows = tp.sweep(dry_run=False)

    ended = [row["flow_run"] for row in rows if row["verdict"] == "end"]
    assert sorted(ended) == sorted(runs)
    assert running(emulator) == {"endpoint": 1}, "whose account it is cannot be known without its block"


def test_an_account_whose_key_is_refused_stops_no_other(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    crashed = left_behind()
    tp.TogetherCredentials(api_key=emulator.api_key, base_url=emulator.url).save("revoked", overwrite=True, _sync=True)  # type: ignore[call-arg] # taken by Prefect's dispatcher
    left_behind("revoked")
    revoked = tp.TogetherCredentials(api_key="a-key-of-yesterday", base_url=emulator.url)
    revoked.save("revoked", overwrite=True, _sync=True)  # type: ignore[call-arg] # taken by Prefect's dispatcher

    rows = tp.sweep(dry_run=False)

    assert ("end", str(crashed)) in verdicts(rows)
    assert running(emulator) == {"endpoint": 1}, "whose account it is cannot be known without its key"
    assert "account of block revoked cannot be seen" in caplog.text
    with pytest.raises(AuthenticationFailed):
        tp.sweep(credentials="revoked")


def test_the_command_asks_a_prefect_server_too(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    left_behind()
    monkeypatch.setenv("TOGETHER_API_KEY", emulator.api_key)
    monkeypatch.setenv("TOGETHER_BASE_URL", emulator.url)
    said = CliRunner().invoke(app, ["sweep", "--prefect", "--stop", "--older-than", "0", "--json"])
    assert said.exit_code == 0, said.output
    told = json.loads(said.stdout)
    assert [(job["verdict"], job["owner_state"]) for job in told["jobs"]] == [("orphan", "Crashed")]
    assert running(emulator) == {}
