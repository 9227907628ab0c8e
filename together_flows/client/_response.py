"""From an answer to the type that the operation promises. Pure: nothing here touches a socket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import urljoin, urlsplit

import msgspec

from together_flows.api._operation import Operation, Reply
from together_flows.client._redaction import Redactor
from together_flows.client._steps import checked_size, decoded_in_steps, rows_parsed
from together_flows.errors import AnswerInvalid

__all__ = ["EVENT_LIMIT", "LARGE", "Received", "answer_of", "decoded_json"]

T = TypeVar("T")

EVENT_LIMIT = 16 * 1024 * 1024
"""Most bytes of one event of a stream or a session. The largest carry a few seconds of sound or an image, in base64."""

LARGE = 256 * 1024
"""Bytes from which an answer is read in small steps, and by the async client in a thread."""

#: Bytes of a body that cannot be read in which secrets are masked before its beginning is shown.
_LOOKED_AT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Received(Generic[T]):
    """An answer, and what came around it.

    Attributes:
        answer: what `send` would return.
        headers: the answer's headers; looked up in any case.
        size: bytes of its body.
    """

    answer: T
    headers: Mapping[str, str] = field(repr=False)
    size: int


def answer_of(
    operation: Operation[T], *, status: int, url: str, headers: Mapping[str, str], body: bytes, redactor: Redactor
) -> T:
    """What `send` returns for a successful answer.

    Args:
        operation: what was sent.
        status: HTTP status, below 400.
        url: the address that answered.
        headers: the answer's headers; looked up in lower case.
        body: the whole body.
        redactor: masks the request's secrets in what a message shows of the body.

    Raises:
        AnswerInvalid: it is not what the operation promises.
    """
    match operation.reply:
        case Reply.BYTES:
            return operation.parse(body)
        case Reply.NOTHING:
            return operation.parse(None)
        case Reply.REDIRECT:
            return operation.parse(_target(operation, status, url, headers))
        case _:
            decoded = decoded_json(operation.name, body, redactor=redactor)
            return operation.parse(rows_parsed(operation.answer, decoded) if len(body) > LARGE else decoded)


def decoded_json(name: str, body: bytes, *, redactor: Redactor) -> Any:
    """The body as plain data; `None` for an empty one.

    Raises:
        AnswerInvalid: it is no JSON, or nested or large beyond reason.
    """
    if not body.strip():
        return None
    if len(body) > LARGE:
        checked_size(name, body)
    try:
        return decoded_in_steps(body) if len(body) > LARGE else msgspec.json.decode(body)
    except RecursionError as error:
        raise AnswerInvalid(f"{name}: the answer is nested too deeply to be an answer of the API.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        shown = redactor.body(body[:_LOOKED_AT]).decode("utf-8", errors="replace")[:80]
        raise AnswerInvalid(f"{name}: the answer is not JSON ({error}). It begins with {shown!r}.") from error


def _target(operation: Operation[Any], status: int, url: str, headers: Mapping[str, str]) -> dict[str, str]:
    """A redirect's headers as the fields of an answer: the address it names, and the id of the file if there is one."""
    location = headers.get("location", "")
    if not 300 <= status < 400 or not location:
        raise AnswerInvalid(f"{operation.name}: HTTP {status} came where a redirect to an address was due.")
    target = urljoin(url, location)
    if urlsplit(target).scheme not in {"http", "https"}:
        raise AnswerInvalid(f"{operation.name}: the redirect leads to no http(s) address.")
    file_id = headers.get("x-together-file-id", "")
    return {"url": target} | ({"file_id": file_id} if file_id else {})
