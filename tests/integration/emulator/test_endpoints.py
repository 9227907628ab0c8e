"""Dedicated endpoints, v1: they start, they bill, they stop."""

from __future__ import annotations

import time
from typing import Any

import pytest

from .account import BASE_MODEL, Account

BODY = {
    "model": BASE_MODEL,
    "hardware": "1x_nvidia_h100_80gb_sxm",
    "autoscaling": {"min_replicas": 1, "max_replicas": 2},
    "display_name": "mine",
}


def create(account: Account, **more: Any) -> dict[str, Any]:
    return dict(account.post("/endpoints", BODY | more))


def until_state(account: Account, endpoint: dict[str, Any], state: str) -> dict[str, Any]:
    return account.until(f"/endpoints/{endpoint['id']}", lambda endpoint: endpoint["state"] == state)


def billed(account: Account, endpoint: dict[str, Any]) -> float:
    return float(next(job["billed_usd"] for job in account.emulator.jobs() if job["id"] == endpoint["id"]))


def test_an_endpoint_starts_and_answers_under_its_own_name(account: Account) -> None:
    account.emulator.settings(speed=1)
    endpoint = create(account)
    early = account.ask(endpoint["name"], "Hello")
    account.emulator.settings(speed=3600)
    until_state(account, endpoint, "STARTED")

    assert endpoint["state"] == "PENDING"
    assert endpoint["name"].startswith(f"emulator-user/{BASE_MODEL}-")
    assert (early.status_code, early.json()["error"]["code"]) == (400, "endpoint_not_ready")
    assert account.answer(endpoint["name"], "Hello") == account.answer(BASE_MODEL, "Hello")


def test_a_model_that_is_not_serverless_answers_on_an_endpoint_only(account: Account) -> None:
    name = "meta-llama/Llama-3.3-70B-Instruct-Reference"
    endpoint = create(account, model=name, hardware="4x_nvidia_h100_80gb_sxm")
    until_state(account, endpoint, "STARTED")

    assert account.ask(name, "Hello").json()["error"]["code"] == "model_not_available"
    assert account.ask(endpoint["name"], "Hello").status_code == 200


def test_list_rows_lack_what_only_the_single_endpoint_shows(account: Account) -> None:
    endpoint = create(account)
    (row,) = account.get("/endpoints", mine="true")["data"]
    full = account.get(f"/endpoints/{endpoint['id']}")

    assert not {"display_name", "hardware", "autoscaling"} & set(row)
    assert full["display_name"] == "mine"
    assert full["autoscaling"] == {"min_replicas": 1, "max_replicas": 2}


def test_the_list_is_filtered_by_type(account: Account) -> None:
    create(account)
    types = {
        kind: {row["type"] for row in account.get("/endpoints", **query)["data"]}
        for kind, query in {
            "all": {},
            "dedicated": {"type": "dedicated"},
            "serverless": {"type": "serverless"},
            "mine": {"mine": "true"},
        }.items()
    }

    assert types == {
        "all": {"dedicated", "serverless"},
        "dedicated": {"dedicated"},
        "serverless": {"serverless"},
        "mine": {"dedicated"},
    }
    assert account.http.get("/endpoints", params={"type": "other"}).status_code == 400


def test_an_endpoint_bills_until_it_is_stopped(account: Account) -> None:
    endpoint = create(account)
    until_state(account, endpoint, "STARTED")
    before = billed(account, endpoint)
    stopping = account.http.patch(f"/endpoints/{endpoint['id']}", json={"state": "STOPPED"}).json()
    until_state(account, endpoint, "STOPPED")
    after = billed(account, endpoint)

    assert stopping["state"] == "STOPPING"
    assert before >= 3 * 0.0665
    assert billed(account, endpoint) == after
    assert account.emulator.counts()["running"]["endpoint"] == 0
    assert account.emulator.counts()["cancelled"]["endpoint"] == 1


def test_an_unused_endpoint_stops_by_itself_and_use_keeps_it(account: Account) -> None:
    idle = create(account, inactive_timeout=300)
    used = create(account, inactive_timeout=300)
    until_state(account, used, "STARTED")
    deadline = time.monotonic() + 60
    while account.get(f"/endpoints/{idle['id']}")["state"] != "STOPPED":
        assert account.ask(used["name"], "Still here?").status_code == 200
        assert time.monotonic() < deadline
        time.sleep(0.005)

    assert account.get(f"/endpoints/{used['id']}")["state"] == "STARTED"
    (stopped,) = [job for job in account.emulator.jobs() if job["id"] == idle["id"]]
    assert stopped["billed_usd"] == pytest.approx((180 + 300 * 60) / 60 * 0.0665, rel=1e-4)


def test_a_stopped_endpoint_starts_again(account: Account) -> None:
    endpoint = create(account, state="STOPPED")
    assert endpoint["state"] == "STOPPED"

    account.http.patch(f"/endpoints/{endpoint['id']}", json={"state": "STARTED"}).raise_for_status()
    assert until_state(account, endpoint, "STARTED")["id"] == endpoint["id"]


def test_settings_of_an_endpoint_are_changed(account: Account) -> None:
    endpoint = create(account)
    change = {"display_name": "new", "autoscaling": {"min_replicas": 2, "max_replicas": 3}, "inactive_timeout": 5}
    changed = account.http.patch(f"/endpoints/{endpoint['id']}", json=change).json()

    assert {key: changed[key] for key in change} == change
    bad = {"autoscaling": {"min_replicas": 3, "max_replicas": 2}, "display_name": "half"}
    assert account.http.patch(f"/endpoints/{endpoint['id']}", json=bad).status_code == 400
    assert account.get(f"/endpoints/{endpoint['id']}")["display_name"] == "new"


def test_a_deleted_endpoint_is_gone_and_bills_no_more(account: Account) -> None:
    endpoint = create(account)
    answer = account.http.delete(f"/endpoints/{endpoint['id']}")

    assert (answer.status_code, answer.content) == (204, b"")
    assert account.http.get(f"/endpoints/{endpoint['id']}").status_code == 404
    assert account.http.delete(f"/endpoints/{endpoint['id']}").status_code == 404
    counts = account.emulator.counts()
    assert (counts["running"]["endpoint"], counts["cancelled"]["endpoint"]) == (0, 1)


def test_when_v1_is_closed_nothing_starts_but_all_else_works(account: Account) -> None:
    stopped = create(account, state="STOPPED")
    running = create(account)
    account.emulator.settings(endpoints_v1_closed=True)
    refused = [
        account.http.post("/endpoints", json=BODY),
        account.http.patch(f"/endpoints/{stopped['id']}", json={"state": "STARTED"}),
    ]

    assert [answer.status_code for answer in refused] == [403, 403]
    assert {answer.json()["error"]["code"] for answer in refused} == {"endpoints_v1_create_access_disabled"}
    assert len(account.get("/endpoints", mine="true")["data"]) == 2
    assert account.http.patch(f"/endpoints/{running['id']}", json={"state": "STOPPED"}).status_code == 200
    assert account.http.delete(f"/endpoints/{stopped['id']}").status_code == 204


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"hardware": "1x_moon"}, 400),
        ({"hardware": "1x_nvidia_l40s_48gb_pcie"}, 400),
        ({"model": "meta-llama/Llama-3.3-70B-Instruct-Reference"}, 400),
        ({"model": "no/such"}, 404),
        ({"autoscaling": {"min_replicas": 2, "max_replicas": 1}}, 400),
        ({"inactive_timeout": -1}, 400),
        ({"state": "PAUSED"}, 400),
    ],
)
def test_an_endpoint_that_cannot_be_is_refused(account: Account, more: dict[str, Any], status: int) -> None:
    assert account.http.post("/endpoints", json=BODY | more).status_code == status
    assert account.emulator.counts()["created"]["endpoint"] == 0


def test_hardware_shows_availability_only_for_a_model(account: Account) -> None:
    everything = account.get("/hardware")["data"]
    small = account.get("/hardware", model=BASE_MODEL)["data"]
    large = account.get("/hardware", model="meta-llama/Llama-3.3-70B-Instruct-Reference")["data"]

    assert not any("availability" in row for row in everything)
    assert {row["availability"]["status"] for row in small} == {"available", "unavailable", "insufficient"}
    assert {row["id"] for row in large} < {row["id"] for row in small} <= {row["id"] for row in everything}
    assert account.http.get("/hardware", params={"model": "no/such"}).status_code == 404
