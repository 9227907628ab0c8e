"""`together-flows sweep`: what runs, whose it is, and the end of what nobody wants."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

import pytest

from together_flows import Together
from together_flows.api import endpoints
from together_flows.emulator import Emulator
from together_flows.jobs import JobRecord, JobState, Phase, SqliteStore, submit_once

from .conftest import SLOW, run_command

MODEL, HARDWARE = "Qwen/Qwen3-8B", "1x_nvidia_h100_80gb_sxm"
SPEC: dict[str, Any] = {
    "model": MODEL,
    "hardware": HARDWARE,
    "autoscaling": {"min_replicas": 2, "max_replicas": 2},
}
SESSION_MODEL = "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"
STATE = Path("state.sqlite")
KEY = "batch-0123:0:0"


@pytest.fixture
def store(emulator: Emulator, tmp_path: Path) -> SqliteStore:
    return SqliteStore(STATE)


def submitted(store: SqliteStore, kind: str = "endpoint", spec: dict[str, Any] = SPEC, key: str = KEY) -> JobRecord:
    with Together() as client:
        return submit_once(client, kind, spec, store=store, key=key)


def foreign_endpoint() -> str:
    with Together() as client:
        return client.send(endpoints.create(**SPEC, display_name="not ours")).id


def endpoint_ids() -> set[str]:
    with Together() as client:
        return {endpoint.id for endpoint in client.send(endpoints.list(type="dedicated")).data}


def swept(*arguments: str) -> Any:
    return run_command("sweep", "--state", str(STATE), "--older-than", "0", "--json", *arguments)


def test_a_dry_run_tells_the_orphan_and_its_price_and_ends_nothing(store: SqliteStore) -> None:
    orphan, foreign = submitted(store), foreign_endpoint()

    as_json = swept()
    plain = run_command("sweep", "--state", str(STATE), "--older-than", "0s")

    assert (as_json.code, plain.code) == (1, 1)
    assert as_json.json["summary"] == "1 orphan running, at $7.98 an hour."
    [job] = as_json.json["jobs"]
    assert (job["reference"], job["verdict"], job["usd_per_hour"]) == (str(orphan.reference), "orphan", 7.98)
    assert job["marker"] == orphan.marker
    assert as_json.json["counts"]["foreign"] == 1
    headline, heads, row, others = plain.out.splitlines()
    assert headline == "1 orphan running, at $7.98 an hour."
    assert heads.split("  ")[0] == "verdict"
    assert row.split()[:2] == ["orphan", str(orphan.reference)]
    assert "never touched" in others
    assert endpoint_ids() == {orphan.id, foreign}


def test_the_orphan_is_ended_when_asked_for_and_its_record_says_so(store: SqliteStore) -> None:
    orphan, foreign = submitted(store), foreign_endpoint()

    said = swept("--stop")

    assert said.code == 0
    assert said.json["summary"] == "1 job ended, which cost $7.98 an hour."
    assert said.json["jobs"][0]["reference"] == str(orphan.reference)
    assert endpoint_ids() == {foreign}
    kept = store.load(KEY)
    assert kept is not None
    assert (kept.phase, kept.job_state) == (Phase.ENDED, JobState.CANCELLED)
    assert swept("--stop").json["summary"] == "No orphans."


def test_an_endpoint_whose_id_was_never_learned_is_found_by_its_marker(store: SqliteStore) -> None:
    orphan = submitted(store)
    store.save(KEY, JobRecord.from_dict({**orphan.to_dict(), "id": None, "phase": "intent"}))

    assert swept("--stop").code == 0
    assert endpoint_ids() == set()
    kept = store.load(KEY)
    assert kept is not None
    assert kept.id == orphan.id


def test_a_job_without_a_record_is_ended_only_when_that_is_asked_for(store: SqliteStore) -> None:
    elsewhere = submitted(SqliteStore("elsewhere.sqlite"))

    said = swept("--stop")
    assert said.code == 0
    assert (said.json["jobs"][0]["verdict"], said.json["jobs"][0]["marker"]) == ("unclaimed", elsewhere.marker)
    assert endpoint_ids() == {elsewhere.id}

    assert swept("--stop", "--include-unclaimed").code == 0
    assert endpoint_ids() == set()


def test_a_run_of_the_command_that_is_at_work_wants_its_jobs(store: SqliteStore) -> None:
    submitted(store)
    with Path("batch-0123.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = swept("--stop")
    assert said.json["jobs"][0]["verdict"] == "wanted"
    assert len(endpoint_ids()) == 1


def test_a_batch_that_goes_on_without_its_command_is_left_and_known_by_its_own_input(
    store: SqliteStore, emulator: Emulator
) -> None:
    emulator.settings(speed=SLOW)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello?"}]}
    Path("rows.jsonl").write_text(json.dumps({"custom_id": "a", "body": body}) + "\n")
    spec = {"input_path": "rows.jsonl", "endpoint": "/v1/chat/completions"}
    batch = submitted(store, "batch", spec)

    known, unknown = swept("--stop"), run_command("sweep", "--older-than", "0", "--json")

    assert [(job["reference"], job["verdict"]) for job in known.json["jobs"]] == [(str(batch.reference), "leave")]
    assert [(job["marker"], job["verdict"]) for job in unknown.json["jobs"]] == [(batch.marker, "unclaimed")]
    assert (known.code, unknown.code) == (0, 0)


def test_what_is_too_young_is_not_ended(store: SqliteStore) -> None:
    orphan = submitted(store)

    said = run_command("sweep", "--state", str(STATE), "--stop", "--json")

    assert (said.code, said.json["jobs"][0]["verdict"]) == (0, "young")
    assert endpoint_ids() == {orphan.id}


def test_one_job_that_cannot_be_ended_keeps_no_other_running(store: SqliteStore, emulator: Emulator) -> None:
    stuck = submitted(store)
    submitted(store, "rl_session", {"base_model": SESSION_MODEL}, key="batch-4567:0:0")
    emulator.fault(method="DELETE", path="/endpoints/{endpointId}", status=401, times=None)

    said = swept("--stop")

    assert said.code == 1
    assert said.json["remaining_usd_per_hour"] == 7.98
    assert {job["reference"].partition(":")[0]: job["ended"] for job in said.json["jobs"]} == {
        "endpoint": False,
        "rl_session": True,
    }
    assert f"{stuck.reference} was not ended" in said.json["notes"][0]
    assert emulator.counts()["running"]["rl_session"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--older-than", "soon"), "10m"),
        (("--older-than", "-5"), "10m"),
        (("--state", "none.sqlite"), "none.sqlite"),
        (("--airflow-url", "http://127.0.0.1:9"), "127.0.0.1:9"),
    ],
)
def test_a_slip_is_answered_with_what_to_do_and_ends_nothing(
    store: SqliteStore, arguments: tuple[str, ...], words: str
) -> None:
    orphan = submitted(store)

    said = run_command("sweep", "--stop", *arguments)

    assert said.code == 1
    assert words in said.err
    assert endpoint_ids() == {orphan.id}
