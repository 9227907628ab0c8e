"""Counts, settings, failures on purpose, and a fresh start."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from together_flows.errors import ConfigurationInvalid

from .account import BASE_MODEL, Account, requests

KINDS = {"file", "fine_tune", "batch", "evaluation", "endpoint", "model_upload"}


def test_requests_are_counted_by_method_and_template(account: Account) -> None:
    account.http.get("/files/file-1")
    account.http.get("/v1/files/file-2")
    account.get("/evaluations")
    account.http.get("/nowhere")
    counts = account.emulator.counts()

    assert counts["requests"] == {"GET /files/{id}": 2, "GET /evaluation": 1, "GET (unknown)": 1}
    assert set(counts["created"]) >= KINDS
    assert set(counts["created"]) == set(counts["cancelled"]) == set(counts["running"])


def test_a_pooled_connection_is_counted_once(account: Account) -> None:
    for _ in range(20):
        account.get("/files")
    assert account.emulator.counts()["connections"] == 1

    account.bare.get(f"{account.emulator.url}/files")
    assert account.emulator.counts()["connections"] == 2


def test_creations_and_running_jobs_are_counted_by_kind(account: Account) -> None:
    account.batch(requests(1), speed=1)
    account.post("/models", {"model_name": "m", "model_source": "s"})
    counts = account.emulator.counts()

    assert {kind: count for kind, count in counts["created"].items() if count} == {
        "file": 1,
        "batch": 1,
        "model_upload": 1,
    }
    assert {kind: count for kind, count in counts["running"].items() if count} == {"batch": 1, "model_upload": 1}


def test_a_new_job_can_stay_out_of_the_list_for_a_while(account: Account) -> None:
    training_file = account.training_file()
    account.emulator.settings(speed=1, list_delay=3600)
    job = account.fine_tune(training_file=training_file)
    hidden = account.get("/fine-tunes")["data"]
    single = account.get(f"/fine-tunes/{job['id']}")
    account.emulator.settings(speed=36_000)
    account.until("/fine-tunes", lambda listed: len(listed["data"]) == 1)

    assert hidden == []
    assert single["id"] == job["id"]


@pytest.mark.parametrize("kind", ["batch", "evaluation", "fine_tune", "endpoint", "file"])
def test_new_jobs_of_a_kind_can_be_made_to_fail(account: Account, kind: str) -> None:
    training_file = account.training_file()
    dataset = account.upload_rows([{"q": "a"}], "eval")
    account.emulator.settings(fail={kind: "Out of luck"})
    judge = {"model": BASE_MODEL, "model_source": "serverless", "system_template": "{{ q }}"}
    score = {"judge": judge, "min_score": 0, "max_score": 1, "pass_threshold": 1, "input_data_file_path": dataset}
    endpoint = {
        "model": BASE_MODEL,
        "hardware": "1x_nvidia_h100_80gb_sxm",
        "autoscaling": {"min_replicas": 1, "max_replicas": 1},
    }
    create = {
        "batch": lambda: account.batch(requests(1)),
        "evaluation": lambda: account.post("/evaluation", {"type": "score", "parameters": score}),
        "fine_tune": lambda: account.fine_tune(training_file=training_file),
        "endpoint": lambda: account.post("/endpoints", endpoint),
        "file": lambda: account.upload(b'{"q": 1}', "eval"),
    }
    create[kind]()

    def newest(jobs: dict[str, Any]) -> dict[str, Any]:
        return next(job for job in jobs if job["kind"] == kind)  # type: ignore[attr-defined]  # a list

    control = account.emulator.url.replace("/v1", "/_emulator/jobs")
    jobs = account.until(control, lambda jobs: newest(jobs)["error"] == "Out of luck")
    jobs = account.until(control, lambda jobs: newest(jobs)["state"] in ("FAILED", "error", "ERROR"))
    assert newest(jobs)["error"] == "Out of luck"


def test_requests_over_the_limit_are_told_when_to_come_back(account: Account) -> None:
    account.emulator.settings(rate_limit=3)
    answers = [account.http.get("/files") for _ in range(4)]
    account.emulator.settings(rate_limit=None)

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 20
    assert account.http.get("/files").status_code == 200


def test_the_most_requests_at_once_are_counted(account: Account) -> None:
    account.emulator.fault(path="/files", delay=1.0, times=None)
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda _: account.http.get("/files"), range(3)))
    account.emulator.clear_faults()
    account.http.get("/files/file-none")
    assert account.emulator.counts()["at_once"] == {"GET /files": 3, "GET /files/{id}": 1}


def test_reading_from_signed_addresses_does_not_count_against_the_limit(account: Account) -> None:
    painting = {"model": "black-forest-labs/FLUX.1-schnell", "prompt": "a cat", "width": 64, "height": 64}
    address = account.http.post("/images/generations", json=painting).json()["data"][0]["url"]
    account.emulator.settings(rate_limit=1)
    try:
        assert [httpx2.get(address).status_code for _ in range(3)] == [200] * 3
        assert [account.http.get("/files").status_code for _ in range(2)] == [200, 429]
    finally:
        account.emulator.settings(rate_limit=None)


def test_inference_tells_what_is_left_of_the_limit(account: Account) -> None:
    account.emulator.settings(rate_limit=100)
    answer = account.ask(BASE_MODEL, "Hi")

    assert (answer.headers["x-ratelimit-limit"], answer.headers["x-ratelimit-remaining"]) == ("100", "99")


@pytest.mark.parametrize(
    "settings", [{"unknown": 1}, {"speed": 0}, {"speed": "fast"}, {"fail": {"dream": "x"}}, {"list_delay": None}]
)
def test_settings_that_make_no_sense_are_refused_and_change_nothing(account: Account, settings: dict[str, Any]) -> None:
    before = account.emulator.settings()
    with pytest.raises(ConfigurationInvalid):
        account.emulator.settings(**settings)

    assert account.emulator.settings() == before


def test_a_job_that_is_not_there_cannot_be_forced(account: Account) -> None:
    for kind, job_id in (("batch", "none"), ("dream", "none")):
        with pytest.raises(ConfigurationInvalid, match="No job"):
            account.emulator.force(kind, job_id, "FAILED")


def test_a_reset_leaves_nothing_behind(account: Account) -> None:
    account.emulator.settings(list_delay=5, endpoints_v1_closed=True, speed=60)
    job = account.batch(requests(20))
    account.emulator.fault(path="/files", status=500, times=None)
    account.emulator.reset()

    counts = account.emulator.counts()
    assert account.get("/files") == {"data": []}
    assert account.http.get(f"/batches/{job['id']}").status_code == 404
    assert account.emulator.faults() == []
    assert (counts["requests"], set(counts["created"].values())) == ({}, {0})
    assert account.emulator.settings()["list_delay"] == 0
    assert account.emulator.settings()["speed"] == 3600
