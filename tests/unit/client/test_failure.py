"""Five error bodies, one tree."""

from __future__ import annotations

import datetime
import json
import pickle
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from together_flows import errors
from together_flows.client._failure import LONGEST_MESSAGE, error_in_stream, error_of, retry_after_of
from together_flows.client._redaction import Redactor
from together_flows.errors import ApiError

NOW = datetime.datetime(2026, 11, 22, 12, 0, 0, tzinfo=datetime.UTC)


def an_error(status: int, body: Any = b"", *, name: str = "POST /things", **headers: str) -> ApiError:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = httpx2.Headers({key.replace("_", "-"): value for key, value in headers.items()})
    return error_of(name, status, sent, content, redactor=Redactor([SecretStr("sk-secret-1")]), now=NOW)


@pytest.mark.parametrize(
    ("body", "message", "code", "param"),
    [
        (
            {"error": {"message": "No such model", "type": "invalid_request_error", "param": "model", "code": "gone"}},
            "No such model",
            "gone",
            "model",
        ),
        ({"error": "Batch not found"}, "Batch not found", "", ""),
        ({"message": "session is not active", "code": 9}, "session is not active", "9", ""),
        ({"code": "bad", "message": "No", "param": "model", "type": "invalid"}, "No", "bad", "model"),
        ({"message": "not found"}, "not found", "", ""),
        ({"detail": [{"loc": ["body", "model"], "msg": "field required"}]}, "field required", "", ""),
        ({"status": "failed", "why": "no GPUs"}, "no GPUs", "", ""),
        (b"upstream connect error", "upstream connect error", "", ""),
        (b"", "no reason given", "", ""),
        (b"null", "no reason given", "", ""),
        (b"[]", "no reason given", "", ""),
        (["a", "b"], "a", "", ""),
        (b"\xff\xfe\x00broken", "broken", "", ""),
        ({"error": {"message": None, "code": None}}, '{"message":null,"code":null}', "", ""),
        ({"error": {"message": {"deep": "reason"}}}, "reason", "", ""),
    ],
)
def test_every_form_of_body_gives_its_reason(body: Any, message: str, code: str, param: str) -> None:
    error = an_error(400, body)

    assert type(error) is errors.BadRequest
    assert message in error.message
    assert "POST /things" in error.message
    assert "HTTP 400" in error.message
    assert (error.code, error.param) == (code, param)


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, errors.BadRequest, False),
        (401, errors.AuthenticationFailed, False),
        (402, errors.PaymentRequired, False),
        (403, errors.PermissionDenied, False),
        (404, errors.NotFound, False),
        (408, errors.ApiError, True),
        (409, errors.Conflict, False),
        (418, errors.ApiError, False),
        (422, errors.UnprocessableRequest, False),
        (429, errors.RateLimited, True),
        (500, errors.ServerFailed, True),
        (501, errors.ServerFailed, False),
        (502, errors.ServerFailed, True),
        (503, errors.ServerFailed, True),
        (504, errors.ServerFailed, True),
        (529, errors.ServerFailed, True),
    ],
)
def test_the_status_decides_the_class_and_whether_a_retry_can_help(
    status: int, kind: type[ApiError], retryable: bool
) -> None:
    error = an_error(status, {"error": {"message": "no"}})

    assert type(error) is kind
    assert error.status_code == status
    assert error.retryable is retryable


def test_the_closed_v1_endpoints_say_what_to_do() -> None:
    error = an_error(403, {"error": {"message": "disabled", "code": "endpoints_v1_create_access_disabled"}})

    assert type(error) is errors.EndpointCreationClosed
    assert "v2" in str(error)


def test_a_wrong_key_says_where_keys_come_from() -> None:
    text = str(an_error(401, {"error": {"message": "Invalid API key"}}))

    assert "TOGETHER_API_KEY" in text
    assert "connection" in text
    assert "block" in text


def test_403_on_inference_speaks_of_the_context_and_elsewhere_of_permissions() -> None:
    assert "max_tokens" in an_error(403, name="POST /chat/completions").mend
    assert "max_tokens" not in an_error(403, name="DELETE /files/{id}").mend


def test_a_page_of_html_becomes_a_readable_line() -> None:
    page = (
        b"<!DOCTYPE html><html><head><title>x</title><style>body{color:red}</style></head>"
        b"<body><h1>502\n Bad Gateway</h1><script>evil()</script><p>nginx</p></body></html>"
    )
    error = an_error(502, page)

    assert "502 Bad Gateway nginx" in error.message
    assert "color" not in error.message
    assert "<" not in error.message


def test_a_long_reason_is_cut_and_put_on_one_line() -> None:
    message = an_error(500, {"error": {"message": "line one\nline two " + "x" * 100_000}}).message

    assert "line one line two" in message
    assert len(message) < LONGEST_MESSAGE + 100


def test_secrets_that_the_server_echoes_are_masked_everywhere() -> None:
    body = {"error": {"message": "bad key sk-secret-1", "param": "sk-secret-1"}, "sk-secret-1": ["Bearer sk-secret-1"]}
    error = an_error(401, body)

    shown = f"{error} {error!r} {error.body} {error.param} {error.__dict__}"
    assert "sk-secret-1" not in shown
    assert "bad key" in error.message


def test_a_secret_inside_a_body_nested_beyond_reason_is_not_shown_either() -> None:
    error = an_error(400, b'{"a":' * 5000 + b'"sk-secret-1"' + b"}" * 5000)

    assert "sk-secret-1" not in f"{error} {error.body}"


def test_the_request_can_be_quoted_to_support() -> None:
    error = an_error(500, x_request_id="req-42")

    assert error.request_id == "req-42"
    assert "req-42" in error.message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "Sun, 22 Nov 2026 12:01:30 GMT"}, 90.0),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_the_wait_that_the_server_asks_for(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_of(headers, now=NOW) == seconds


def test_an_ordinary_event_is_no_error() -> None:
    events: list[Any] = [{"choices": []}, {"error": None, "choices": []}, [], "text", None]
    for event in events:
        assert error_in_stream("POST /x", event, redactor=Redactor()) is None


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"error": {"message": "slow down", "code": 429}}, errors.RateLimited),
        ({"error": {"message": "overloaded", "code": "overloaded_error"}}, errors.ServerFailed),
        ({"error": "gone wrong"}, errors.ServerFailed),
    ],
)
def test_an_error_in_a_stream_is_an_error_of_the_same_tree(event: Any, kind: type[ApiError]) -> None:
    error = error_in_stream("POST /x", event, redactor=Redactor())

    assert type(error) is kind
    assert error.retryable
    assert "in the stream" in error.message


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "no", "code": "invalid_api_key", "type": "invalid_request_error"}, errors.AuthenticationFailed),
        ({"message": "no", "code": "model_not_available"}, errors.BadRequest),
        ({"message": "no", "type": "invalid_request_error"}, errors.BadRequest),
    ],
)
def test_an_error_in_a_session_has_the_class_that_its_words_mean(error: Any, kind: type[ApiError]) -> None:
    found = error_in_stream("GET /x", {"type": "x.failed", "error": error}, redactor=Redactor())

    assert type(found) is kind
    assert not found.retryable


@given(st.integers(300, 599), st.binary(max_size=300), st.text(max_size=20))
def test_no_answer_whatsoever_breaks_the_reading(status: int, body: bytes, retry_after: str) -> None:
    error = error_of("GET /x", status, {"retry-after": retry_after}, body, redactor=Redactor(), now=NOW)

    assert error.status_code == status
    assert str(error)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "type", "param", "detail", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(json_values, st.sampled_from([400, 403, 429, 500]))
def test_no_json_whatsoever_breaks_the_reading(body: Any, status: int) -> None:
    error = an_error(status, body)

    assert isinstance(error.code, str)
    assert isinstance(error.message, str)


def test_errors_cross_processes_whole() -> None:
    error = an_error(429, {"error": {"message": "slow down", "code": "rate"}}, retry_after="3", x_request_id="r")
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is errors.RateLimited
    assert str(copy) == str(error)
    assert copy.__dict__ == error.__dict__
    assert copy.retryable


@pytest.mark.parametrize("name", errors.__all__)
def test_every_class_of_error_can_be_pickled(name: str) -> None:
    kind = getattr(errors, name)
    required: dict[str, Any] = {}
    if issubclass(kind, ApiError):
        required = {"status_code": 400}
    if kind is errors.BudgetExceeded:
        required = {"estimate": 2.0, "budget": 1.0}
    error = kind("words", mend="Do this.", **required)

    assert pickle.loads(pickle.dumps(error)).__dict__ == error.__dict__
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
