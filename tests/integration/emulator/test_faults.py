"""Faults strike where, when and as often as they are told to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from together_flows.errors import ConfigurationInvalid

from .account import BASE_MODEL, Account, conversations, jsonl, requests


def batch_body(account: Account) -> dict[str, Any]:
    return {"input_file_id": account.upload_rows(requests(1), "batch-api"), "endpoint": "/v1/chat/completions"}


def until_a_batch_is_created(account: Account) -> None:
    give_up = time.monotonic() + 20
    while not account.emulator.counts()["created"]["batch"]:
        assert time.monotonic() < give_up, "it never took effect"
        time.sleep(0.01)


def test_a_status_comes_with_the_groups_own_body_and_no_effect(account: Account) -> None:
    body = batch_body(account)
    account.emulator.fault(method="POST", path="/batches", status=503, headers={"Retry-After": "1"})
    refused = account.http.post("/batches", json=body)

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert isinstance(refused.json()["error"], str)
    assert account.get("/batches") == []
    assert account.http.post("/batches", json=body).status_code == 201, "it struck once"


@pytest.mark.parametrize(("body", "text"), [({"odd": 1}, '{"odd":1}'), ("plain words", "plain words"), (None, "null")])
def test_a_status_comes_with_the_body_that_is_given(account: Account, body: Any, text: str) -> None:
    account.emulator.fault(path="/files", status=502, body=body)

    assert account.http.get("/files").text == text


def test_a_fault_lets_some_requests_pass_and_strikes_some_times(account: Account) -> None:
    account.emulator.fault(method="GET", path="/files", skip=2, times=3, status=500)
    statuses = [account.http.get("/files").status_code for _ in range(7)]

    assert statuses == [200, 200, 500, 500, 500, 200, 200]
    assert account.emulator.faults()[0]["hits"] == 3


def test_a_fault_without_an_end_lasts_until_it_is_cleared(account: Account) -> None:
    account.emulator.fault(method="*", path="*", times=None, status=429)
    struck = {account.http.get(path).status_code for path in ("/files", "/batches", "/models") for _ in range(3)}
    account.emulator.clear_faults()

    assert struck == {429}
    assert account.http.get("/files").status_code == 200


def test_a_template_stands_for_every_id(account: Account) -> None:
    account.emulator.fault(method="GET", path="/v1/fine-tunes/{id}", times=None, status=500)

    assert account.http.get("/fine-tunes/ft-any").status_code == 500
    assert account.http.get("/fine-tunes").status_code == 200


@pytest.mark.parametrize(("drop", "created"), [("before", 0), ("after", 1)])
def test_a_dropped_connection_leaves_the_effect_or_not(account: Account, drop: str, created: int) -> None:
    body = batch_body(account)
    account.emulator.fault(method="POST", path="/batches", drop=drop)
    with pytest.raises(httpx2.TransportError):
        account.http.post("/batches", json=body)

    assert account.emulator.counts()["created"]["batch"] == created
    assert len(account.get("/batches")) == created


def test_an_answer_is_cut_short_of_its_declared_length(account: Account) -> None:
    file_id = account.training_file()
    account.emulator.fault(path="/files/{id}/content", truncate=10)
    received = bytearray()
    with account.http.stream("GET", f"/files/{file_id}/content") as answer:
        assert int(answer.headers["content-length"]) > 10
        with pytest.raises(httpx2.RemoteProtocolError):
            received.extend(b"".join(_noted(answer.iter_raw(), received)))

    assert bytes(received) == jsonl(conversations())[:10]


def _noted(chunks: Iterator[bytes], received: bytearray) -> Iterator[bytes]:
    for chunk in chunks:
        received += chunk
        yield chunk


def test_a_stream_of_events_is_cut_without_its_end(account: Account) -> None:
    account.emulator.fault(path="/chat/completions", truncate=200)

    with pytest.raises(httpx2.RemoteProtocolError):
        account.ask(BASE_MODEL, "Tell me", stream=True)


def test_an_answer_can_be_late(account: Account) -> None:
    account.emulator.fault(path="/files", delay=0.15)
    began = time.monotonic()
    account.get("/files")

    assert time.monotonic() - began >= 0.15


def test_a_late_request_times_out_and_holds_nobody_else_up(account: Account) -> None:
    account.emulator.fault(path="/files", delay=30)
    with pytest.raises(httpx2.ReadTimeout):
        account.http.get("/files", timeout=0.05)

    assert account.get("/files") == {"data": []}


def test_a_late_request_takes_effect_although_its_caller_has_hung_up(account: Account) -> None:
    body = batch_body(account)
    account.emulator.fault(method="POST", path="/batches", delay=3)
    with pytest.raises(httpx2.ReadTimeout):
        account.http.post("/batches", json=body, timeout=0.1)

    assert account.emulator.counts()["created"]["batch"] == 0
    until_a_batch_is_created(account)


def test_an_answer_that_lingers_comes_after_the_effect(account: Account) -> None:
    body = batch_body(account)
    account.emulator.fault(method="POST", path="/batches", linger=30)
    with pytest.raises(httpx2.ReadTimeout):
        account.http.post("/batches", json=body, timeout=0.3)

    until_a_batch_is_created(account)


@pytest.mark.parametrize(("effect", "created"), [(False, 0), (True, 1)])
def test_an_error_can_stand_for_a_request_that_took_effect(account: Account, effect: bool, created: int) -> None:
    body = batch_body(account)
    account.emulator.fault(method="POST", path="/batches", status=504, effect=effect)

    assert account.http.post("/batches", json=body).status_code == 504
    assert account.emulator.counts()["created"]["batch"] == created


def test_keys_are_left_out_and_replaced_wherever_the_job_is_shown(account: Account) -> None:
    body = batch_body(account)
    alter = {"omit": ["id"], "replace": {"status": "NEW_STATUS"}}
    account.emulator.fault(method="POST", path="/batches", **alter)
    account.emulator.fault(method="GET", path="/batches", **alter)
    account.emulator.fault(method="GET", path="/files", omit=["id"], replace={"Processed": None})
    created = account.post("/batches", body)["job"]
    (listed,) = account.get("/batches")
    files = account.get("/files")["data"]

    assert created["status"] == listed["status"] == "NEW_STATUS"
    assert not any("id" in row for row in (created, listed, *files))
    assert {file["Processed"] for file in files} == {None}
    assert account.get("/batches")[0]["status"] in ("VALIDATING", "IN_PROGRESS", "COMPLETED"), "only the answer changed"


def test_a_wrapper_can_be_left_out(account: Account) -> None:
    account.emulator.fault(path="/files", omit=["data"])

    assert account.get("/files") == {}


def test_an_answer_can_be_padded_and_stays_json(account: Account) -> None:
    account.emulator.fault(path="/files", oversize=1_000_000)
    answer = account.http.get("/files")

    assert (len(answer.content), answer.json()) == (1_000_000, {"data": []})


def test_a_request_can_take_effect_twice(account: Account) -> None:
    body = batch_body(account)
    account.emulator.fault(method="POST", path="/batches", duplicate=True)
    answer = account.post("/batches", body)["job"]

    assert account.emulator.counts()["created"]["batch"] == 2
    assert answer["id"] == account.get("/batches")[0]["id"]


def test_a_refusal_can_be_altered_like_any_answer(account: Account) -> None:
    account.emulator.fault(path="/files/{id}", drop="after")

    with pytest.raises(httpx2.TransportError):
        account.http.get("/files/none")


def test_the_presigned_put_can_fail_like_any_route(account: Account) -> None:
    announced = account.http.post("/files", data={"purpose": "eval", "file_name": "a.jsonl"})
    account.emulator.fault(method="PUT", path="/_storage/{token}", status=500)
    statuses = [account.bare.put(announced.headers["location"], content=b'{"a":1}').status_code for _ in range(2)]

    assert statuses == [500, 200]


@pytest.mark.parametrize("fault", [{"unknown": 1}, {"status": "500"}, {"drop": "during"}, {"times": "many"}])
def test_a_fault_that_makes_no_sense_is_refused(account: Account, fault: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationInvalid, match="refused"):
        account.emulator.fault(**fault)
