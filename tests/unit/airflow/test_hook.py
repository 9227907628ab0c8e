"""From a connection to a client."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from airflow_provider.hooks.together import TogetherHook
from together_flows.errors import ConfigurationInvalid


def connect(monkeypatch: pytest.MonkeyPatch, **connection: Any) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", json.dumps({"conn_type": "together", **connection}))


@pytest.mark.parametrize(
    ("connection", "address"),
    [
        ({}, "https://api.together.ai/v1"),
        ({"host": "https://proxy.example/v1"}, "https://proxy.example/v1"),
        ({"host": "proxy.example"}, "https://proxy.example/v1"),
        ({"host": "proxy.example", "port": 8443}, "https://proxy.example:8443/v1"),
        ({"host": "127.0.0.1", "port": 8080, "schema": "http"}, "http://127.0.0.1:8080/v1"),
        ({"host": "http://127.0.0.1:8080"}, "http://127.0.0.1:8080/v1"),
        ({"extra": {"base_url": "https://other.example/v1"}, "host": "proxy.example"}, "https://other.example/v1"),
    ],
)
def test_the_address_comes_from_the_connection(
    connection: dict[str, Any], address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOGETHER_BASE_URL", raising=False)
    connect(monkeypatch, password="key", **connection)
    assert TogetherHook().client.base_url == address


def test_both_worlds_have_the_same_account(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, password="key", host="http://127.0.0.1:1")

    async def account() -> str:
        return (await TogetherHook().aget_client()).account

    assert asyncio.run(account()) == TogetherHook().client.account


def test_the_environment_is_no_substitute_for_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", "a-key-of-somebody")
    with pytest.raises(ConfigurationInvalid, match="airflow connections add nowhere --conn-type together"):
        _ = TogetherHook("nowhere").client


@pytest.mark.parametrize(
    ("connection", "words"),
    [
        ({"password": ""}, "holds no API key"),
        ({"password": "key", "extra": {"timeout": "soon"}}, "timeout in the extra"),
        ({"password": "key", "extra": [1]}, "no JSON object"),
        ({"password": "key", "host": "ftp://example.org"}, "'together_default' does not work"),
        ({"password": "a key with spaces"}, "'together_default' does not work"),
    ],
)
def test_a_connection_that_cannot_work_is_named(
    connection: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, **connection)
    with pytest.raises(ConfigurationInvalid, match=words) as raised:
        _ = TogetherHook().client
    assert "a key with spaces" not in str(raised.value)


def test_the_extra_tunes_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, password="key", extra={"timeout": "7.5", "max_connections": 3})
    tuning = TogetherHook().client._tuning
    assert (tuning.timeout, tuning.max_connections) == (7.5, 3)


def test_no_repr_shows_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, password="a-secret-key")
    hook = TogetherHook()
    assert "a-secret-key" not in repr(hook.client) + repr(hook._account)


def test_a_connection_that_is_not_reached_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    from together_flows.client import instant_retries

    connect(monkeypatch, password="key", host="http://127.0.0.1:9")
    with instant_retries():
        works, words = TogetherHook().test_connection()
    assert not works
    assert words
