"""Airflow's REST API as it is read over HTTP: the login, the pages, and what must not pass for an empty list."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_provider.rest_api import AirflowApi, NotInAirflow
from together_flows.errors import AnswerInvalid, ConfigurationInvalid, ConnectionFailed, TogetherError

#: Answers to method and path with its query, one after the other; the last one again and again.
Script = dict[str, list[tuple[int, Any]]]
PASSWORD = "a-secret-of-the-tests"


class Airflow:
    """A server that answers as it was told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.script: Script = {"POST /auth/token": [(201, {"access_token": "t-1"})]}
        self.asked: list[tuple[str, dict[str, list[str]], str, bytes]] = []
        airflow = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                address = urlsplit(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                query = parse_qs(address.query, keep_blank_values=True)
                authorization = self.headers.get("Authorization", "")
                airflow.asked.append((address.path, query, authorization, self.rfile.read(length)))
                answers = airflow.script.get(f"{self.command} {address.path}", [(404, {"detail": "Not Found"})])
                status, body = answers.pop(0) if len(answers) > 1 else answers[0]
                sent = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            do_POST = do_GET

            def log_message(self, format: str, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def airflow() -> Iterator[Airflow]:
    running = Airflow()
    thread = threading.Thread(target=running.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.server.shutdown()
    thread.join()
    running.server.server_close()


@pytest.fixture
def api(airflow: Airflow) -> AirflowApi:
    return AirflowApi(url=f"{airflow.url}/", username="u", password=PASSWORD)


def page(rows: list[int], cursor: str | None) -> tuple[int, Any]:
    return 200, {"task_instances": rows, "next_cursor": cursor}


def test_it_logs_in_once_and_reads_all_pages(airflow: Airflow, api: AirflowApi) -> None:
    airflow.script["GET /api/v2/x"] = [page([1, 2], "c2"), page([3], None)]

    assert list(api.rows("/x", "task_instances", {"state": ["none", "running"]})) == [1, 2, 3]

    login, first, second = airflow.asked
    assert json.loads(login[3]) == {"username": "u", "password": PASSWORD}
    assert [query["cursor"] for _, query, _, _ in (first, second)] == [[""], ["c2"]]
    assert first[1]["state"] == ["none", "running"]
    assert {first[2], second[2]} == {"Bearer t-1"}


def test_a_token_needs_no_login(airflow: Airflow) -> None:
    airflow.script["GET /api/v2/x"] = [(200, {"a": 1})]
    assert AirflowApi(url=airflow.url, token="mine").get("/x") == {"a": 1}
    assert [authorization for _, _, authorization, _ in airflow.asked] == ["Bearer mine"]


def test_a_server_that_is_busy_is_asked_again(airflow: Airflow, api: AirflowApi) -> None:
    airflow.script["GET /api/v2/x"] = [(503, {}), (429, {}), (200, {"a": 1})]
    assert api.get("/x") == {"a": 1}


def answers(airflow: Airflow, status: int, body: Any) -> Callable[[AirflowApi], Any]:
    airflow.script["GET /api/v2/x"] = [(status, body)]
    return lambda api: list(api.rows("/x", "task_instances", {}))


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (404, {"detail": "Not Found"}, NotInAirflow, "3.3"),
        (403, {"detail": "Forbidden"}, ConfigurationInvalid, "Forbidden"),
        (500, {"detail": "broken"}, TogetherError, "broken"),
        (200, b"<html>somebody else</html>", AnswerInvalid, "address"),
        (200, {"something": "else"}, AnswerInvalid, "task_instances"),
        (200, {"task_instances": []}, AnswerInvalid, "3.3"),
        (200, [], AnswerInvalid, "task_instances"),
    ],
)
def test_what_is_no_list_of_tasks_does_not_pass_for_an_empty_one(
    airflow: Airflow, api: AirflowApi, status: int, body: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        answers(airflow, status, body)(api)


def test_a_wrong_password_and_a_wrong_address_are_told_and_no_password_is(airflow: Airflow, api: AirflowApi) -> None:
    airflow.script["POST /auth/token"] = [(401, {"detail": "Invalid credentials"})]
    with pytest.raises(ConfigurationInvalid, match="Invalid credentials") as refused:
        api.get("/x")
    assert PASSWORD not in f"{refused.value!r}{api!r}"
    with pytest.raises(ConnectionFailed, match="address"):
        AirflowApi(url="http://127.0.0.1:9", token="t").get("/x")
