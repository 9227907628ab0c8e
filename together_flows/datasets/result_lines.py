"""Reads the lines of a batch's output and error files.

An answer: `{"custom_id": …, "response": {"status_code": 200, "body": {…}}}`. An error: `{"custom_id": …, "error":
{"message": …, "code": …}}`. Both kinds are judged by what they say, not by the file they stand in; an answer with a
status of 400 or more is an error. Other members are passed over.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from together_flows.datasets.checker import is_utf8
from together_flows.datasets.json_line import UNREADABLE

_NULL: Final = Raw(b"null")


class ResultHead(Struct, gc=False):
    """What the first look at a line tells.

    Attributes:
        custom_id: the row that it answers.
        succeeded: whether it is an answer rather than an error.
        prompt_tokens: as the answer counts them; 0 for an error.
        completion_tokens: likewise.
    """

    custom_id: str
    succeeded: bool
    prompt_tokens: int = 0
    completion_tokens: int = 0


class MergedLine(Struct):
    """One line of a merged file."""

    custom_id: str
    index: int
    status: str
    response: Raw | None
    error: dict[str, Any] | None
    status_code: int | None
    columns: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class _Usage(Struct, gc=False):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _BodyHead(Struct, gc=False):
    usage: _Usage


class _ResponseHead(Struct, gc=False):
    status_code: int
    body: _BodyHead


class _UsualLine(Struct, gc=False):
    custom_id: str
    response: _ResponseHead
    error: None = None


class _Response(Struct, gc=False):
    status_code: int | None = None
    body: Raw = _NULL


class _AnyLine(Struct, gc=False):
    custom_id: str
    response: _Response | None = None
    error: Raw = _NULL


_read_usual: Final = msgspec.json.Decoder(_UsualLine).decode
_read_any: Final = msgspec.json.Decoder(_AnyLine).decode
_read_usage: Final = msgspec.json.Decoder(_BodyHead).decode
_read_value: Final = msgspec.json.Decoder().decode


def read_head(line: bytes) -> ResultHead | None:
    """What a line answers, and whether it succeeded; `None` when the line is corrupt."""
    try:
        usual = _read_usual(line)
        if usual.response.status_code < 400 and is_utf8(line):
            usage = usual.response.body.usage
            return ResultHead(usual.custom_id, True, usage.prompt_tokens, usage.completion_tokens)
    except UNREADABLE:
        pass  # an error, or an answer without usage, or corrupt
    return _read_unusual_head(line)


def merged_line(line: bytes, index: int, columns: dict[str, Any] | None) -> MergedLine:
    """The merged form of a line that `read_head` could read."""
    result = _read_any(line)
    response = result.response or _Response()
    merged = MergedLine(
        custom_id=result.custom_id,
        index=index,
        status="succeeded",
        response=response.body,
        error=None,
        status_code=response.status_code,
        columns=msgspec.UNSET if columns is None else columns,
    )
    if not _is_success(result):
        merged.status = "failed"
        merged.response = None
        merged.error = _error_of(result)
    return merged


def missing_line(custom_id: str, index: int, columns: dict[str, Any] | None) -> MergedLine:
    """The merged form of a row that no file answers."""
    kept = msgspec.UNSET if columns is None else columns
    return MergedLine(custom_id, index, "missing", None, None, None, kept)


def _read_unusual_head(line: bytes) -> ResultHead | None:
    try:
        result = _read_any(line)
        is_utf8(line)  # raises when it is not
    except UNREADABLE:
        return None
    if not _is_success(result):
        is_error = result.response is not None or not _is_null(result.error)
        return ResultHead(result.custom_id, False) if is_error else None
    assert result.response is not None
    try:
        usage = _read_usage(result.response.body).usage
    except UNREADABLE:
        usage = _Usage()
    return ResultHead(result.custom_id, True, usage.prompt_tokens, usage.completion_tokens)


def _is_success(result: _AnyLine) -> bool:
    response = result.response
    if response is None or not _is_null(result.error) or _is_null(response.body):
        return False
    return response.status_code is None or response.status_code < 400


def _is_null(value: Raw) -> bool:
    return len(memoryview(value)) == 4 and bytes(value) == b"null"


def _error_of(result: _AnyLine) -> dict[str, Any]:
    """The error as `message` and `code`, from wherever the line holds it."""
    raw = result.error
    if _is_null(raw) and result.response is not None:
        raw = result.response.body
    value = _read_value(raw)
    if isinstance(value, dict) and isinstance(value.get("error"), (dict, str)):
        value = value["error"]
    if isinstance(value, dict):
        message, code = value.get("message"), value.get("code")
    else:
        message, code = value, None
    if not isinstance(message, str) or not message:
        message = f"The request failed without a message{_status_words(result.response)}."
    return {"message": message, "code": code}


def _status_words(response: _Response | None) -> str:
    if response is None or response.status_code is None:
        return ""
    return f", with HTTP status {response.status_code}"
