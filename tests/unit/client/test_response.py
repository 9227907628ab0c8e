"""From an answer to the type that the operation promises."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from together_flows.api import files, fine_tunes
from together_flows.api._operation import Operation, Reply
from together_flows.client import _steps
from together_flows.client._redaction import Redactor
from together_flows.client._response import LARGE, answer_of
from together_flows.errors import AnswerInvalid


def answered(
    operation: Operation[Any],
    body: bytes = b"",
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    secret: str = "sk-secret-1",
) -> Any:
    return answer_of(
        operation,
        status=status,
        url="https://api.example/v1/files",
        headers=headers or {},
        body=body,
        redactor=Redactor([SecretStr(secret)]),
    )


def test_json_becomes_the_declared_type() -> None:
    answer = answered(files.list(), b'{"data": [{"id": "file-1", "Processed": true}]}')

    assert isinstance(answer, files.FileList)
    assert answer.data[0].processed is True


def test_untyped_answers_are_plain_data() -> None:
    assert answered(files.list().untyped(), b'{"anything": [1]}') == {"anything": [1]}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"<html>maintenance</html>",
        b'{"data": [{"id": "file-1"}',
        b'{"data": [{}]}',
        b'{"error": {"message": "no such file"}}',
        b"[1, 2",
        b'"text"',
        b"\xff\xfe",
        b'{"data": "\xff"}',
        b"[" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
)
def test_anything_else_is_refused_clearly(body: bytes) -> None:
    with pytest.raises(AnswerInvalid, match=r"files\.list"):
        answered(files.list(), body)


def test_what_is_shown_of_a_bad_answer_hides_the_requests_secrets() -> None:
    with pytest.raises(AnswerInvalid) as refused:
        answered(files.list(), b"you sent Bearer sk-secret-1, and that is no JSON")
    assert "sk-secret-1" not in str(refused.value)
    assert "you sent Bearer" in str(refused.value)


def test_bytes_are_returned_as_they_are() -> None:
    assert answered(files.content("file-1"), b"\x00\xff") == b"\x00\xff"


def test_an_answer_without_meaning_is_none() -> None:
    operation: Operation[None] = Operation(
        name="x.y", method="DELETE", template="/x", path="/x", answer=None, reply=Reply.NOTHING
    )
    assert answered(operation, b"ignored", status=204) is None


def test_the_headers_of_a_redirect_are_an_answer() -> None:
    target = answered(
        files.create(file_name="a.jsonl", purpose="eval"),
        status=302,
        headers={"location": "/put/1?sig=s3cr3t", "x-together-file-id": "file-1"},
    )

    assert target.file_id == "file-1"
    assert target.url == "https://api.example/put/1?sig=s3cr3t"
    assert "s3cr3t" not in repr(target)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {"location": "/put/1", "x-together-file-id": "file-1"}),
        (302, {"x-together-file-id": "file-1"}),
        (302, {"location": "/put/1"}),
        (302, {"location": "file:///etc/passwd", "x-together-file-id": "file-1"}),
        (302, {"location": "javascript:alert(1)", "x-together-file-id": "file-1"}),
    ],
)
def test_a_redirect_that_lacks_its_address_or_its_id_is_refused(status: int, headers: dict[str, str]) -> None:
    with pytest.raises(AnswerInvalid):
        answered(files.create(file_name="a.jsonl", purpose="eval"), status=status, headers=headers)


def many_rows(count: int) -> list[dict[str, Any]]:
    return [
        {"id": f"ft-{n}", "status": "running", "created_at": None, "updated_at": None, "n": [n]} for n in range(count)
    ]


def test_a_large_list_parses_to_the_same_as_a_small_one() -> None:
    rows = many_rows(6000)
    body = json.dumps({"data": rows}).encode()
    assert len(body) > LARGE

    answer = answered(fine_tunes.list(), body)

    assert answer == fine_tunes.list().parse({"data": rows})
    assert answered(fine_tunes.list().untyped(), body) == {"data": rows}


def test_a_bad_row_in_a_large_list_is_named_by_its_place() -> None:
    rows = many_rows(6000)
    del rows[4321]["id"]

    with pytest.raises(AnswerInvalid, match="4321"):
        answered(fine_tunes.list(), json.dumps({"data": rows}).encode())


def test_a_large_answer_that_is_cut_is_refused() -> None:
    with pytest.raises(AnswerInvalid, match="not JSON"):
        answered(fine_tunes.list(), json.dumps({"data": many_rows(6000)}).encode()[:-1])


def test_a_large_answer_nested_beyond_reason_is_refused() -> None:
    with pytest.raises(AnswerInvalid, match=r"fine_tunes\.list"):
        answered(fine_tunes.list(), b'{"data":' + b"[" * LARGE)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=30,
)


@given(json_values, st.sampled_from([None, 1, "\t"]), st.integers(0, 40))
def test_small_steps_read_the_same_as_one(value: Any, indent: Any, long: int) -> None:
    body = json.dumps(value, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_steps, "_LONG", long)  # so that small values are taken apart as well
        assert _steps.decoded_in_steps(body) == json.loads(body)


def test_no_step_is_longer_than_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []

    class Watched:
        def decode(self, raw: memoryview) -> Any:
            steps.append(len(raw))
            return json.loads(bytes(raw))

    monkeypatch.setattr(_steps, "_whole", Watched())
    decoded = _steps.decoded_in_steps(json.dumps({"object": "list", "data": many_rows(6000)}).encode())

    assert decoded == {"object": "list", "data": many_rows(6000)}
    assert max(steps) < 200


def test_rows_are_found_in_models_and_bare_lists_and_left_alone_elsewhere() -> None:
    rows = [{"id": "file-1"}, {"no": "id"}]

    parsed = _steps.rows_parsed(files.FileList, {"data": rows, "more": [1]})
    assert isinstance(parsed["data"][0], files.File)
    assert parsed["data"][1] == {"no": "id"}
    assert parsed["more"] == [1]
    assert isinstance(_steps.rows_parsed(list[files.File], rows)[0], files.File)
    assert _steps.rows_parsed(Any, rows) == rows
    assert _steps.rows_parsed(files.FileList, "text") == "text"
