"""The queue: priorities first, then order; only what waits can be cancelled."""

from __future__ import annotations

import time
from typing import Any

from .account import Account


def submit(account: Account, model: str = "sprocket", **request: Any) -> str:
    answer = account.post("/queue/submit", {"model": model, "payload": {"prompt": "Hi"}} | request)
    assert set(answer) == {"requestId"}
    return str(answer["requestId"])


def job(account: Account, request_id: str, model: str = "sprocket") -> dict[str, Any]:
    return dict(account.get("/queue/status", request_id=request_id, model=model))


def done(account: Account, request_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 10
    while (row := job(account, request_id))["status"] in ("pending", "running"):
        assert time.monotonic() < deadline
        time.sleep(0.003)
    return row


def stop_the_clock_at_running(account: Account, request_id: str) -> None:
    """Lets time pass until the job runs, and hardly any more."""
    account.emulator.settings(speed=20)
    deadline = time.monotonic() + 10
    while job(account, request_id)["status"] != "running":
        assert time.monotonic() < deadline
        time.sleep(0.003)
    account.emulator.settings(speed=0.1)


def test_a_queued_job_is_claimed_done_and_shows_what_came_of_it(account: Account) -> None:
    request_id = submit(account, info={"run": 7}, payload={"prompt": "Tell me about tides"})
    row = done(account, request_id)

    assert (row["status"], row["request_id"], row["model"]) == ("done", request_id, "sprocket")
    assert row["created_at"] <= row["claimed_at"] <= row["done_at"]
    assert (row["info"], row["inputs"]) == ({"run": 7}, {"prompt": "Tell me about tides"})
    assert "tides" in row["outputs"]["text"]


def test_a_payload_that_is_no_question_comes_back_unchanged(account: Account) -> None:
    for payload in ({"x": [1, {"y": None}]}, {"messages": ["not an object"]}, {}):
        assert done(account, submit(account, payload=payload))["outputs"] == {"result": payload}


def test_higher_priorities_go_first_and_equals_in_order(account: Account) -> None:
    account.emulator.settings(speed=1)
    wishes = [0, 5, 0, 5, -1, 9]
    ids = [submit(account, priority=priority) for priority in wishes]
    other = submit(account, model="another")
    account.emulator.settings(speed=3600)
    rows = [done(account, request_id) for request_id in ids]
    order = sorted(range(len(rows)), key=lambda index: rows[index]["claimed_at"])

    assert [wishes[index] for index in order] == [9, 5, 5, 0, 0, -1]
    assert order == [5, 1, 3, 0, 2, 4]
    alone = account.get("/queue/status", request_id=other, model="another")
    assert alone["claimed_at"] < rows[order[1]]["claimed_at"]


def test_what_has_begun_is_not_overtaken(account: Account) -> None:
    account.emulator.settings(speed=1)
    first = submit(account)
    stop_the_clock_at_running(account, first)
    urgent = submit(account, priority=100)
    metrics = account.get("/queue/metrics", model="sprocket")
    account.emulator.settings(speed=3600)

    assert metrics == {"messages_running": 1, "messages_waiting": 1, "total_jobs": 2}
    assert done(account, first)["done_at"] <= done(account, urgent)["claimed_at"]


def test_only_a_waiting_job_can_be_cancelled_and_the_next_moves_up(account: Account) -> None:
    account.emulator.settings(speed=1)
    first, second, third = (submit(account) for _ in range(3))
    bodies = [{"model": "sprocket", "request_id": request_id} for request_id in (first, second)]
    stop_the_clock_at_running(account, first)
    refused = account.http.post("/queue/cancel", json=bodies[0])
    cancelled = account.http.post("/queue/cancel", json=bodies[1])
    again = account.http.post("/queue/cancel", json=bodies[1])
    account.emulator.settings(speed=3600)
    ended = [done(account, request_id) for request_id in (first, second, third)]

    assert (refused.status_code, refused.json()) == (409, {"status": "running"})
    assert (cancelled.status_code, cancelled.json()) == (200, {"status": "canceled"})
    assert (again.status_code, again.json()) == (409, {"status": "canceled"})
    assert [row["status"] for row in ended] == ["done", "canceled", "done"]
    assert ended[2]["claimed_at"] == ended[0]["done_at"]
    assert account.emulator.counts()["cancelled"]["queue"] == 1


def test_a_failed_job_frees_the_worker_and_says_why(account: Account) -> None:
    account.emulator.settings(fail={"queue": "No such weights"})
    doomed = submit(account)
    account.emulator.settings(fail={})
    healthy = submit(account)
    failed = done(account, doomed)

    assert (failed["status"], failed["info"]) == ("failed", {"error": "No such weights"})
    assert done(account, healthy)["status"] == "done"


def test_errors_of_the_queue_are_flat(account: Account) -> None:
    request_id = submit(account)
    answers = [
        account.http.post("/queue/submit", json={"payload": {}}),
        account.http.post("/queue/submit", json={"model": "m", "payload": "text"}),
        account.http.get("/queue/status", params={"request_id": request_id}),
        account.http.get("/queue/metrics"),
        account.http.get("/queue/status", params={"request_id": "none", "model": "sprocket"}),
        account.http.get("/queue/status", params={"request_id": request_id, "model": "another"}),
        account.bare.get(f"{account.emulator.url}/queue/metrics", params={"model": "m"}),
    ]

    assert [answer.status_code for answer in answers] == [400, 400, 400, 400, 404, 404, 401]
    for answer in answers:
        assert set(answer.json()) == {"code", "message", "param", "type"}
