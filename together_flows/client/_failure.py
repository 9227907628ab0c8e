"""Five error bodies, one tree: from an answer with an error status to the error that says what to do about it."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from typing import Any

import msgspec

from together_flows.client._redaction import Redactor
from together_flows.client._settings import API_KEY_VARIABLE, BASE_URL_VARIABLE
from together_flows.errors import (
    ApiError,
    AuthenticationFailed,
    BadRequest,
    Conflict,
    EndpointCreationClosed,
    NotFound,
    PaymentRequired,
    PermissionDenied,
    RateLimited,
    ServerFailed,
    UnprocessableRequest,
)

__all__ = ["ERROR_BODY_LIMIT", "error_in_stream", "error_of", "retry_after_of"]

ERROR_BODY_LIMIT = 256 * 1024
"""Most bytes read of an answer with an error status. Real ones hold a few hundred."""

LONGEST_MESSAGE = 600
"""Characters of the server's own words that a message keeps: enough for any reason, too few for a page of HTML."""

V1_ENDPOINTS_CLOSED = "endpoints_v1_create_access_disabled"

_CLASSES: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: AuthenticationFailed,
    402: PaymentRequired,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    422: UnprocessableRequest,
    429: RateLimited,
}

_MENDS = {
    401: f"Check the API key: the variable {API_KEY_VARIABLE}, the Airflow connection or the Prefect block that holds "
    "it. For an upload it can also mean that free-trial credit is used up.",
    402: "Add credit or raise the spending limit in the account's billing settings.",
    403: "The key may not do this: check its permissions and its organisation.",
    429: "Send less at once, or ask Together AI for higher limits.",
    503: "The API is overloaded; try again later.",
}

#: The statuses that go with the codes and types of errors in sessions (API's reference).
_STATUSES = {
    "invalid_api_key": 401,
    "missing_api_key": 401,
    "model_not_available": 400,
    "invalid_request_error": 400,
}

_TOO_LONG_MEND = (
    "For inference this usually means that the prompt and max_tokens together exceed the model's context: shorten one."
)
_INFERENCE = ("/chat/completions", "/completions", "/embeddings", "/rerank")

_ENDPOINTS_CLOSED_MEND = (
    "Together AI no longer lets accounts create or restart v1 dedicated endpoints. Deploy through the v2 API "
    "(/v2/projects/…/endpoints), or use a serverless model."
)

_REQUEST_ID_HEADERS = ("x-request-id", "x-together-traceid", "cf-ray")

# Client errors that pass by themselves: the server gave up waiting for the request, or would not risk a replay.
_PASSING = frozenset({408, 425})
_NEVER_PASSING = frozenset({501, 505})


@dataclass(frozen=True)
class _Reason:
    """What an error body says, whichever of the five forms it has."""

    message: str = ""
    code: str = ""
    error_type: str = ""
    param: str = ""


def error_of(
    name: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    redactor: Redactor,
    now: datetime.datetime | None = None,
) -> ApiError:
    """The error that an answer stands for.

    Args:
        name: how the message calls the request, such as `GET /files/{id}`.
        status: HTTP status.
        headers: the answer's headers; looked up in lower case.
        body: as much of the body as was read.
        redactor: masks the request's secrets, which servers like to echo.
        now: the present, for a `Retry-After` that is a date.
    """
    decoded = _decoded(redactor.body(body))  # masked first: what is cut off or decoded could hide a part of a secret
    request_id = shortened(redactor.text(next((headers[key] for key in _REQUEST_ID_HEADERS if headers.get(key)), "")))
    return _error(
        name,
        status,
        _reason(decoded),
        redactor,
        origin=f"HTTP {status}" + (f", request {request_id}" if request_id else ""),
        body=decoded,
        request_id=request_id,
        retry_after=retry_after_of(headers, now=now),
    )


def error_in_stream(name: str, decoded: Any, *, redactor: Redactor) -> ApiError | None:
    """The error that one event of a stream or session stands for; `None` for an ordinary event.

    A stream has answered 200 before it fails, so the status is taken from the event where it names one, and from its
    words where they mean one.
    """
    if not isinstance(decoded, Mapping) or not decoded.get("error"):
        return None
    reason = _reason(decoded)
    status = int(reason.code) if re.fullmatch("[45][0-9][0-9]", reason.code) else _meant(reason)
    return _error(name, status, reason, redactor, origin="in the stream", body=decoded)


def _meant(reason: _Reason) -> int:
    """The status that an error without one has by its words; 200 if they mean none."""
    return _STATUSES.get(reason.code) or _STATUSES.get(reason.error_type) or 200


def retry_after_of(headers: Mapping[str, str], *, now: datetime.datetime | None = None) -> float | None:
    """Seconds that the server asks to wait, from `retry-after-ms` or `retry-after` (seconds or a date)."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    given = headers.get("retry-after", "").strip()
    seconds = _number(given)
    if seconds is not None or not given:
        return seconds
    try:
        date = parsedate_to_datetime(given)
        if date.tzinfo is None:  # RFC 9110: every HTTP date is in GMT
            date = date.replace(tzinfo=datetime.UTC)
        return max(0.0, (date - (now or datetime.datetime.now(datetime.UTC))).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def _error(
    name: str,
    status: int,
    reason: _Reason,
    redactor: Redactor,
    *,
    origin: str,
    body: Any,
    request_id: str = "",
    retry_after: float | None = None,
) -> ApiError:
    kind, mend = _kind(name, status, reason.code)
    text = shortened(redactor.text(reason.message)) or "no reason given"
    return kind(
        f"{name}: {text} ({origin})",
        status_code=status,
        code=redactor.text(reason.code),
        error_type=redactor.text(reason.error_type),
        param=redactor.text(reason.param),
        request_id=request_id,
        retry_after=retry_after,
        body=redactor.data(body),
        mend=mend,
        retryable=_can_pass(status),
    )


def _kind(name: str, status: int, code: str) -> tuple[type[ApiError], str]:
    if code == V1_ENDPOINTS_CLOSED:
        return EndpointCreationClosed, _ENDPOINTS_CLOSED_MEND
    if status == 403 and name.endswith(_INFERENCE):
        return PermissionDenied, _TOO_LONG_MEND
    if status in _CLASSES:
        return _CLASSES[status], _MENDS.get(status, "")
    if status >= 500 or status < 300:  # below 300 for a stream, which has answered 200 before it fails
        return ServerFailed, _MENDS.get(status, "")
    if status < 400:
        return ApiError, f"The address may be wrong: check base_url or {BASE_URL_VARIABLE}."
    return ApiError, ""


def _can_pass(status: int) -> bool:
    if status < 300 or status == 429 or status in _PASSING:
        return True
    return status >= 500 and status not in _NEVER_PASSING


def _decoded(body: bytes) -> Any:
    """The body as data if it is JSON, else as text without markup."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return shortened(_text_of(body.decode("utf-8", errors="replace")))


def _reason(decoded: Any) -> _Reason:
    if isinstance(decoded, str):
        return _Reason(decoded)
    if not isinstance(decoded, Mapping):
        return _Reason(_compact(decoded) if decoded else "")
    inner = decoded.get("error")
    if isinstance(inner, Mapping):
        return _fields(inner)
    if isinstance(inner, str) and inner:
        return _Reason(inner, code=_word(decoded.get("code")), error_type=_word(decoded.get("type")))
    return _fields(decoded)


def _fields(body: Mapping[str, Any]) -> _Reason:
    words = (body.get(key) for key in ("message", "detail", "errors", "error"))
    message = next((word for word in words if word), None)
    if message is None:
        message = body or ""
    return _Reason(
        message=message if isinstance(message, str) else _compact(message),
        code=_word(body.get("code")),
        error_type=_word(body.get("type")),
        param=_word(body.get("param")),
    )


def _word(value: Any) -> str:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _compact(value: Any) -> str:
    return msgspec.json.encode(value).decode() if value else ""


def shortened(text: str) -> str:
    """The text on one line and of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_MESSAGE else f"{line[: LONGEST_MESSAGE - 1]}…"


class _PageText(HTMLParser):
    """Collects what a reader of a page would see."""

    _unseen = frozenset({"script", "style", "head"})

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in self._unseen

    def handle_endtag(self, tag: str) -> None:
        self._hidden = max(0, self._hidden - (tag in self._unseen))

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(data)


def _text_of(text: str) -> str:
    if not re.match(r"\s*<(!doctype|html|\?xml|head|body|error)\b", text, re.IGNORECASE):
        return text
    page = _PageText()
    page.feed(text)
    return " ".join(page.words)
