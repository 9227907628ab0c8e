"""What a client meets first: addresses, keys, error bodies."""

from __future__ import annotations

import subprocess
import sys

import pytest

from together_flows.emulator import EMULATOR_API_KEY, Emulator
from together_flows.errors import ConfigurationInvalid

from .account import Account


def test_importing_the_package_imports_no_web_framework() -> None:
    heavy = {"fastapi", "uvicorn", "starlette", "jinja2"}
    code = f"import sys, together_flows.emulator; print(sorted({heavy} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)

    assert shown.stdout.strip() == "[]"


def test_the_default_key_is_let_in_and_no_other(account: Account) -> None:
    assert account.emulator.api_key == EMULATOR_API_KEY == "emulator-key"
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": EMULATOR_API_KEY}):
        answer = account.bare.get(f"{account.emulator.url}/files", headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("path", ["/v1/files", "/files", "/v1/v1/files"])
def test_a_route_is_reached_with_and_without_the_version_in_the_path(account: Account, path: str) -> None:
    root = account.emulator.url.removesuffix("/v1")

    assert account.http.get(root + path).json() == {"data": []}


def test_a_group_answers_errors_in_its_own_body(account: Account) -> None:
    nested = account.http.get("/fine-tunes/ft-none")
    text_in_json = account.http.get("/batches/none")
    plain = account.http.get("/finetune/download", params={"ft_id": "ft-none"})
    message_only = account.http.get("/fine-tunes/models/limits", params={"model_name": "none"})

    assert {answer.status_code for answer in (nested, text_in_json, plain, message_only)} == {404}
    assert set(nested.json()["error"]) == {"message", "type", "param", "code"}
    assert isinstance(text_in_json.json()["error"], str)
    assert plain.headers["content-type"].startswith("text/plain")
    assert set(message_only.json()) == {"message"}


@pytest.mark.parametrize("body", [b"", b"   ", b"no json", b"[1]", b'"text"', b"{}", b'{"model": 1}'])
@pytest.mark.parametrize(
    "path", ["/fine-tunes", "/batches", "/evaluation", "/endpoints", "/models", "/chat/completions"]
)
def test_a_body_of_the_wrong_shape_is_a_bad_request_in_the_groups_own_words(
    account: Account, path: str, body: bytes
) -> None:
    answer = account.http.post(path, content=body)

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error if path == "/batches" else error["message"]) != ""
    assert "detail" not in answer.json()


def test_an_explicit_null_is_the_same_as_nothing(account: Account) -> None:
    job = account.fine_tune(validation_file=None, suffix=None, training_type=None, n_evals=None)

    assert job["status"] == "pending"


def test_an_oversized_json_body_is_refused(account: Account) -> None:
    answer = account.http.post("/fine-tunes", content=b'"' + b"x" * (33 * 2**20) + b'"')

    assert answer.status_code == 413


def test_unknown_routes_and_methods_are_refused_in_json(account: Account) -> None:
    assert account.http.get("/nothing/here").json()["error"]["message"] == "No such route: GET /nothing/here"
    assert account.http.put("/files").status_code == 405


def test_every_answer_says_that_it_is_emulated(account: Account) -> None:
    for answer in (account.http.get("/files"), account.http.get("/nothing"), account.http.get("/files/none")):
        assert answer.headers["x-together-emulator"] == "true"


def test_the_page_at_the_root_says_what_this_is_and_how_to_use_it(account: Account) -> None:
    page = account.bare.get(account.emulator.url.removesuffix("v1")).text

    assert "This is an emulator" in page
    assert f"TOGETHER_BASE_URL={account.emulator.url}" in page
    assert "3600 times as fast" in page


def test_a_port_that_is_taken_is_an_error_of_ours(emulator: Emulator) -> None:
    with pytest.raises(ConfigurationInvalid, match="Cannot listen"):
        Emulator(port=emulator.port).start()


def test_asking_a_stopped_emulator_for_its_address_says_so() -> None:
    with pytest.raises(ConfigurationInvalid, match="not running"):
        _ = Emulator().url


def test_two_emulators_live_side_by_side_and_know_nothing_of_each_other(account: Account) -> None:
    account.training_file()
    with Emulator(api_key="another") as other:
        files = account.bare.get(f"{other.url}/files", headers={"Authorization": "Bearer another"}).json()

    assert files == {"data": []}
