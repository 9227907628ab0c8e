"""The sweep's operator before it asks anybody: its connection to Airflow's own API, and what comes out of templates."""

from __future__ import annotations

import json

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider.operators.sweep import TogetherSweepOperator


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = {"conn_type": "together", "password": "k", "host": "http://127.0.0.1:9/v1"}
    monkeypatch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", json.dumps(connection))


def rendered(**arguments: str) -> TogetherSweepOperator:
    operator = TogetherSweepOperator(task_id="sweep", **arguments)
    operator.render_template_fields({"params": {"stop": True, "minutes": 3}})
    return operator


def test_a_connection_without_an_address_is_told_with_how_to_make_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_API", json.dumps({"conn_type": "generic", "login": "u"}))
    with pytest.raises(AirflowFailException, match="airflow connections add airflow_api"):
        rendered().execute({})


@pytest.mark.parametrize(("argument", "value"), [("stop", "perhaps"), ("grace", "soon"), ("include_unclaimed", "{}")])
def test_a_template_that_leaves_neither_yes_nor_no_ends_nothing(argument: str, value: str) -> None:
    with pytest.raises(AirflowFailException, match=argument):
        rendered(**{argument: value}).execute({})


@pytest.mark.parametrize(
    ("connection", "username", "token"),
    [
        ({"host": "http://a:1", "login": "u", "password": "p"}, "u", ""),
        ({"host": "http://a:1", "password": "t"}, "", "t"),
        ({"host": "a", "port": 1, "schema": "http"}, "", ""),
    ],
)
def test_a_password_without_a_login_is_a_token(
    monkeypatch: pytest.MonkeyPatch, connection: dict[str, object], username: str, token: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_API", json.dumps({"conn_type": "generic", **connection}))
    api = rendered()._api()
    assert (api.url, api.username, api.token) == ("http://a:1", username, token)
