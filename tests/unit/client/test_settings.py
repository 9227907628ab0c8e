"""Where a client takes its account and address from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from together_flows.client import Together
from together_flows.client._settings import Settings, _warn_of_plain_http
from together_flows.errors import ConfigurationInvalid

KEY = "tgp_v1_0123456789abcdef"


def test_key_and_address_come_from_the_environment() -> None:
    settings = Settings.resolve(environment={"TOGETHER_API_KEY": KEY, "TOGETHER_BASE_URL": "http://localhost:8080/v1"})

    assert settings.api_key == SecretStr(KEY)
    assert settings.base_url == "http://localhost:8080/v1"


def test_arguments_win_over_the_environment() -> None:
    environment = {"TOGETHER_API_KEY": "other", "TOGETHER_BASE_URL": "http://other"}
    settings = Settings.resolve(SecretStr(KEY), "http://localhost", environment)

    assert settings.api_key == SecretStr(KEY)
    assert settings.base_url == "http://localhost/v1"


def test_without_an_address_the_public_one_is_used() -> None:
    assert Settings.resolve(KEY, environment={}).base_url == "https://api.together.ai/v1"


@pytest.mark.parametrize("given_key", ["", "  \n"])
def test_a_missing_key_is_named_with_its_mend(given_key: str) -> None:
    with pytest.raises(ConfigurationInvalid, match="TOGETHER_API_KEY"):
        Settings.resolve(environment={"TOGETHER_API_KEY": given_key})


def test_a_key_read_from_a_file_may_end_in_a_newline() -> None:
    assert Settings.resolve(f"{KEY}\n", environment={}).api_key == SecretStr(KEY)


@pytest.mark.parametrize("bad", ["schlüssel-1234", "two words", "line\r\nX-Evil: 1"])
def test_an_impossible_key_is_refused_without_being_shown(bad: str) -> None:
    with pytest.raises(ConfigurationInvalid) as refused:
        Settings.resolve(bad, environment={})
    assert bad not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "api.together.ai",
        "ftp://api.together.ai",
        "https://",
        "https://user:password@api.together.ai",
        "https://api.together.ai/v1?x=1",
        "https://api.together.ai/#top",
        "https://api.together.ai:port",
        "https://api.together.ai:0",
        "https://api.together.ai:99999",
        "https://api.toge ther.ai",
        "https://[::1",
    ],
)
def test_an_address_that_is_none_is_refused_with_its_mend(address: str) -> None:
    with pytest.raises(ConfigurationInvalid, match="TOGETHER_BASE_URL"):
        Settings.resolve(KEY, address, {})


def test_a_password_in_the_address_is_not_shown() -> None:
    with pytest.raises(ConfigurationInvalid) as refused:
        Settings.resolve(KEY, "https://user:hunter22@api.together.ai", {})
    assert "hunter22" not in str(refused.value)


@pytest.mark.parametrize(
    "address", ["http://localhost:1", "http://localhost:1/", "http://localhost:1/v1/", " http://localhost:1/v2"]
)
def test_each_operation_goes_to_its_own_version_whatever_the_address_ends_in(address: str) -> None:
    settings = Settings.resolve(KEY, address, {})

    assert settings.url("v1", "/files") == "http://localhost:1/v1/files"
    assert settings.url("v2", "/videos") == "http://localhost:1/v2/videos"


def test_the_account_is_equal_for_equal_keys_and_different_for_others() -> None:
    account = Settings.resolve(KEY, "http://a", {}).account

    assert account == Settings.resolve(KEY, "http://a/v1/", {}).account
    assert account != Settings.resolve(KEY, "http://b", {}).account
    assert account != Settings.resolve(KEY + "x", "http://a", {}).account


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=8))
def test_neither_the_account_nor_any_repr_tells_the_key(rest: str) -> None:
    key = f"tgp_v1_{rest}"
    client = Together(api_key=key, base_url="http://localhost:1")

    assert key not in client.account
    assert key not in repr(client)
    assert key not in repr(client._settings)


@pytest.mark.parametrize("setting", ["timeout", "connect_timeout", "max_connections"])
def test_limits_must_be_positive(setting: str) -> None:
    with pytest.raises(ConfigurationInvalid):
        Together(api_key=KEY, **{setting: 0})  # type: ignore[arg-type] # one name of three


def test_a_header_that_could_smuggle_a_second_one_is_refused() -> None:
    with pytest.raises(ConfigurationInvalid, match="X-Team"):
        Together(api_key=KEY, headers={"X-Team": "a\r\nAuthorization: b"})


@pytest.mark.parametrize("host", ["gateway.example", "10.1.2.3", "localhost.example", "127.0.0.1.example"])
def test_plain_http_to_another_machine_is_warned_of_once(host: str, caplog: pytest.LogCaptureFixture) -> None:
    _warn_of_plain_http.cache_clear()
    for _ in range(2):
        Settings.resolve("key-123456", f"http://{host}/v1")

    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert host in record.getMessage()
    assert "key-123456" not in record.getMessage()


@pytest.mark.parametrize(
    "url",
    ["https://gateway.example", "http://localhost:8000", "http://127.0.0.1:8000", "http://[::1]:1", "http://127.9.9.9"],
)
def test_https_and_this_machine_are_not_warned_of(url: str, caplog: pytest.LogCaptureFixture) -> None:
    _warn_of_plain_http.cache_clear()
    Settings.resolve("key-123456", url)

    assert caplog.records == []
