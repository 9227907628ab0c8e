"""From an operation to the wire."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import httpx2
import pytest
from pydantic import SecretStr

from together_flows.api import files, fine_tunes
from together_flows.api._operation import Operation, Reply
from together_flows.client._request import Prepared, prepare
from together_flows.client._settings import Settings
from together_flows.errors import ArgumentInvalid

SETTINGS = Settings.resolve("key-123456", "http://localhost:1", {})


def an_operation(**fields: Any) -> Operation[Any]:
    defaults: dict[str, Any] = {
        "name": "things.do",
        "method": "POST",
        "template": "/things/{id}",
        "path": "/things/a%2Fb",
        "answer": Any,
    }
    return Operation(**defaults | fields)


def built(prepared: Prepared) -> httpx2.Request:
    with prepared.opened() as arguments:
        request = httpx2.Client().build_request(**arguments)
        request.read()
    return request


def test_path_version_and_query_make_the_address() -> None:
    query = {"limit": 5, "mine": True, "tag": ["a", "b&c d"]}
    request = built(prepare(an_operation(method="GET", version="v2", query=query), SETTINGS))

    assert str(request.url) == "http://localhost:1/v2/things/a%2Fb?limit=5&mine=true&tag=a&tag=b%26c+d"
    assert request.content == b""
    assert "content-type" not in request.headers


def test_a_body_travels_as_json_with_its_secrets_in_clear() -> None:
    request = built(prepare(an_operation(body={"token": SecretStr("hf_1234567"), "n": 1, "x": [None]}), SETTINGS))

    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.content) == {"token": "hf_1234567", "n": 1, "x": [None]}


def test_an_empty_body_is_sent_where_there_is_one() -> None:
    assert built(prepare(an_operation(body={}), SETTINGS)).content == b"{}"
    assert built(prepare(an_operation(body=None), SETTINGS)).content == b""


def test_no_repr_of_a_prepared_request_shows_a_secret() -> None:
    prepared = prepare(an_operation(body={"token": SecretStr("hf_1234567")}, query={"key": "value-1"}), SETTINGS)

    assert "hf_1234567" not in repr(prepared)
    assert "value-1" not in repr(prepared)


def test_a_form_without_a_file_is_multipart_as_the_api_expects() -> None:
    operation = files.create(file_name="ä.jsonl", purpose="fine-tune", checksum="0" * 64)
    request = built(prepare(operation, SETTINGS))

    assert request.headers["content-type"].startswith("multipart/form-data")
    content = request.content.decode()
    assert 'name="file_name"\r\n\r\nä.jsonl\r\n' in content
    assert f'name="checksum"\r\n\r\n{"0" * 64}\r\n' in content
    assert "filename=" not in content


@pytest.mark.parametrize("kind", ["path", "bytes", "file", "pipe"])
def test_a_file_can_be_sent_again_after_a_failed_attempt(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "hello"}\n')
    content: dict[str, Path | bytes | BinaryIO] = {
        "path": path,
        "bytes": path.read_bytes(),
        "file": io.BytesIO(path.read_bytes()),
        "pipe": OneWay(path.read_bytes()),
    }
    prepared = prepare(files.upload(file=content[kind], file_name="rows.jsonl", purpose="fine-tune"), SETTINGS)

    for request in (built(prepared), built(prepared)):
        assert b'{"text": "hello"}\n' in request.content
        assert b'name="purpose"\r\n\r\nfine-tune\r\n' in request.content


class OneWay(io.BytesIO):
    """A stream that cannot be rewound, as a pipe."""

    def seekable(self) -> bool:
        return False

    def seek(self, *where: Any) -> int:
        raise io.UnsupportedOperation("seek")


def test_nested_fields_of_a_form_travel_as_json_and_lists_repeat_their_name() -> None:
    operation = an_operation(form=True, body={"options": {"a": True}, "word": ["x", "y"], "flag": False, "no": None})

    assert prepare(operation, SETTINGS).fields == [
        ("options", '{"a":true}'),
        ("word", "x"),
        ("word", "y"),
        ("flag", "false"),
    ]


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "ü", "a\0b"])
def test_a_header_cannot_smuggle_a_second_one(value: str) -> None:
    with pytest.raises(ArgumentInvalid, match="X-Note"):
        prepare(an_operation(headers={"X-Note": value}), SETTINGS)


def test_a_websocket_session_is_refused_by_name() -> None:
    with pytest.raises(ArgumentInvalid, match=r"things\.do"):
        prepare(an_operation(reply=Reply.SOCKET), SETTINGS)


def test_each_kind_of_answer_is_asked_for() -> None:
    def accepted(reply: Reply, *, as_stream: bool = False) -> str:
        return prepare(an_operation(reply=reply), SETTINGS, as_stream=as_stream).headers["Accept"]

    assert accepted(Reply.JSON) == "application/json"
    assert accepted(Reply.BYTES) == "*/*"
    assert accepted(Reply.JSON, as_stream=True) == "text/event-stream"


def test_ids_stay_in_their_segment() -> None:
    request = built(prepare(fine_tunes.retrieve("../../v2/secret?x=1"), SETTINGS))

    assert request.url.raw_path == b"/v1/fine-tunes/..%2F..%2Fv2%2Fsecret%3Fx%3D1"


def test_an_operation_is_not_changed_by_being_prepared() -> None:
    operation = an_operation(body={"a": [1]}, headers={"X-A": "1"})
    before = replace(operation)
    prepare(operation, SETTINGS).with_headers({"X-B": "2"})

    assert operation == before
