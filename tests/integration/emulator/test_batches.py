"""Batches: every line is answered or refused, and accounted for."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from together_flows.emulator import Emulator

from .account import BASE_MODEL, Account, jsonl, requests

ENDED = ("COMPLETED", "FAILED", "EXPIRED", "CANCELLED")


def finish(account: Account, job: dict[str, Any]) -> dict[str, Any]:
    return account.until(f"/batches/{job['id']}", lambda job: job["status"] in ENDED)


def test_a_creation_answers_201_and_wraps_the_job(account: Account) -> None:
    body = {"input_file_id": account.upload_rows(requests(2), "batch-api"), "endpoint": "/v1/chat/completions"}
    plain = account.http.post("/batches", json=body)
    warned = account.http.post("/batches", json=body | {"completion_window": "72h"})

    assert plain.status_code == warned.status_code == 201
    assert set(plain.json()) == {"job"}
    assert plain.json()["job"]["status"] == "VALIDATING"
    assert "no effect" in warned.json()["warning"]


def test_every_line_is_answered_once_and_in_another_order(account: Account) -> None:
    job = finish(account, account.batch(requests(300)))
    rows = account.lines(job["output_file_id"])
    order = [row["custom_id"] for row in rows]

    assert (job["status"], job["progress"]) == ("COMPLETED", 100)
    assert "error_file_id" not in job
    assert sorted(order) == sorted(f"row-{index}" for index in range(300))
    assert order != sorted(order, key=lambda name: int(name.partition("-")[2]))
    assert all(row["response"]["status_code"] == 200 for row in rows)
    assert rows[0]["response"]["body"]["choices"][0]["message"]["content"]
    assert rows[0]["response"]["body"]["usage"]["total_tokens"] > 0


def test_the_order_of_the_output_is_the_same_for_the_same_file(account: Account) -> None:
    file_id = account.upload_rows(requests(50), "batch-api")
    body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions"}
    jobs = [finish(account, account.post("/batches", body)["job"]) for _ in range(2)]
    orders = [[row["custom_id"] for row in account.lines(job["output_file_id"])] for job in jobs]

    assert orders[0] == orders[1]


def test_bad_lines_go_to_the_error_file_and_the_batch_completes(account: Account) -> None:
    good = requests(1)[0]
    rows = [
        good,
        {"custom_id": "unknown-model", "body": good["body"] | {"model": "no/such"}},
        {"custom_id": "no-messages", "body": {"model": BASE_MODEL}},
        {"custom_id": "no-body"},
        {"custom_id": "twice", "body": good["body"]},
        {"custom_id": "twice", "body": good["body"]},
        {"custom_id": "x" * 65, "body": good["body"]},
        {"custom_id": 7, "body": good["body"]},
        {"body": good["body"]},
    ]
    job = finish(account, account.batch(rows))
    errors = {row["custom_id"]: row["error"] for row in account.lines(job["error_file_id"])}
    answered = {row["custom_id"] for row in account.lines(job["output_file_id"])}

    assert job["status"] == "COMPLETED"
    assert answered == {"row-0", "twice"}
    assert set(errors) == {"unknown-model", "no-messages", "no-body", "twice", "x" * 65, 7, None}
    assert errors["unknown-model"]["code"] == "model_not_available"
    assert errors["twice"]["code"] == "duplicate_custom_id"
    assert all(error["message"] for error in errors.values())


def test_blank_lines_between_requests_are_passed_over(account: Account) -> None:
    one, two, three = (jsonl([row]) for row in requests(3))
    file = account.upload(one + b"\n  \n" + two + b"\n" + three.strip(), "batch-api")
    job = account.post("/batches", {"input_file_id": file["id"], "endpoint": "/v1/chat/completions"})["job"]

    assert len(account.lines(finish(account, job)["output_file_id"])) == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"custom_id": "a", "body": {}}\nnonsense\n', "line 2"),
        (jsonl(requests(1)) * 50_001, "more than 50000 requests"),
        (b'{"custom_id": "a", "body": "' + b"x" * (101 * 2**20) + b'"}\n', "larger than 100 MB"),
    ],
    ids=["not-json", "too-many", "too-large"],
)
def test_a_file_that_cannot_be_a_batch_fails_it_as_a_whole(account: Account, content: bytes, words: str) -> None:
    file = account.upload(content, "batch-api")
    job = account.post("/batches", {"input_file_id": file["id"], "endpoint": "/v1/chat/completions"})["job"]
    failed = finish(account, job)

    assert failed["status"] == "FAILED"
    assert words in failed["error"]
    assert not {"output_file_id", "error_file_id"} & set(failed)


@pytest.mark.parametrize(
    "request_", [{"endpoint": "/v1/images"}, {"input_file_id": "file-none"}, {"input_file_id": 5}, {"endpoint": None}]
)
def test_a_request_that_cannot_be_is_refused_with_a_text(account: Account, request_: dict[str, Any]) -> None:
    body = {"input_file_id": account.upload_rows(requests(1), "batch-api"), "endpoint": "/v1/chat/completions"}
    answer = account.http.post("/batches", json=body | request_)

    assert answer.status_code == 400
    assert isinstance(answer.json()["error"], str)


def test_a_file_of_another_purpose_is_refused(account: Account) -> None:
    body = {"input_file_id": account.training_file(), "endpoint": "/v1/chat/completions"}

    assert "not batch-api" in account.http.post("/batches", json=body).json()["error"]


def test_text_completions_can_be_batched(account: Account) -> None:
    rows = [{"custom_id": "a", "body": {"model": BASE_MODEL, "prompt": "Once upon a time", "max_tokens": 4}}]
    job = finish(account, account.batch(rows, endpoint="/v1/completions"))
    (row,) = account.lines(job["output_file_id"])

    assert row["response"]["body"]["object"] == "text.completion"
    assert row["response"]["body"]["usage"]["completion_tokens"] == 4


def test_a_cancelled_batch_keeps_what_was_answered(tmp_path: Path) -> None:
    def answered() -> bool:
        """Whether the first answers lie in a file: for a batch that is cancelled before them, nothing is kept."""
        return any(b'"response"' in path.open("rb").readline() for path in (tmp_path / "files").iterdir())

    with Emulator(speed=3600, data=tmp_path) as emulator, closing(Account(emulator)) as account:
        job = account.batch(requests(10_000), speed=1800)
        account.until(f"/batches/{job['id']}", lambda job: job["progress"] > 20)
        emulator.settings(speed=1)
        account.until(f"/batches/{job['id']}", lambda _: answered())
        cancelled = account.post(f"/batches/{job['id']}/cancel")
        settled = account.until(f"/batches/{job['id']}", lambda job: "output_file_id" in job)
        rows = account.lines(settled["output_file_id"])

        assert cancelled["status"] == settled["status"] == "CANCELLED"
        assert 0 < len(rows) < 10_000
        assert len(rows) <= 10_000 * settled["progress"] / 100
        assert emulator.counts()["cancelled"]["batch"] == 1


def test_cancelling_again_changes_nothing_and_an_ended_batch_cannot_be_cancelled(account: Account) -> None:
    job = account.batch(requests(2), speed=1)
    answers = [account.post(f"/batches/{job['id']}/cancel")["status"] for _ in range(2)]
    account.emulator.settings(speed=3600)
    done = finish(account, account.batch(requests(1)))

    assert answers == ["CANCELLED", "CANCELLED"]
    assert account.emulator.counts()["cancelled"]["batch"] == 1
    assert account.http.post(f"/batches/{done['id']}/cancel").status_code == 400


@pytest.mark.parametrize("status", ["EXPIRED", "FAILED", "PAUSED_BY_OPERATOR"])
def test_a_batch_can_be_forced_into_any_status(account: Account, status: str) -> None:
    account.emulator.settings(speed=60)
    job = account.batch(requests(2))

    account.emulator.force("batch", job["id"], status, "Because")

    assert account.get(f"/batches/{job['id']}")["status"] == status
    assert account.get("/batches")[0]["error"] == "Because"
    assert account.emulator.counts()["running"]["batch"] == 0


def test_the_list_is_a_bare_array_with_the_newest_first(account: Account) -> None:
    jobs = [account.batch(requests(count)) for count in (1, 2)]

    assert [row["id"] for row in account.get("/batches")] == [jobs[1]["id"], jobs[0]["id"]]
