"""From an operation to what goes on the wire. Pure: nothing here opens a socket, and files only when they are sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from pydantic import SecretStr

from together_flows.api._operation import Operation, Reply, revealed
from together_flows.client._settings import Settings, printable
from together_flows.errors import ArgumentInvalid

__all__ = ["Prepared", "pairs", "prepare"]

EVENT_STREAM = "text/event-stream"


def _in_clear(value: Any) -> Any:
    """What JSON has no form for: only secrets are left of that in an operation."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    raise TypeError(f"a value of type {type(value).__name__} cannot be sent as JSON")


# Bodies hold up to millions of tokens, so they are not copied to reveal the few secrets that they may hold.
_json = msgspec.json.Encoder(enc_hook=_in_clear)


@dataclass(frozen=True)
class Prepared:
    """One HTTP request, ready to be built by either client. Secrets are in clear in it, so its repr shows no content.

    Attributes:
        method: HTTP method.
        url: full address without the query.
        params: names and values of the query.
        headers: headers besides those of every request.
        content: the body, unless it is a form.
        fields: names and values of a form.
        parts: files of a form.
    """

    method: str
    url: str
    params: list[tuple[str, str]] = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    content: bytes | None = field(default=None, repr=False)
    fields: list[tuple[str, str]] = field(default_factory=list, repr=False)
    parts: Mapping[str, Path | bytes | BinaryIO] = field(default_factory=dict, repr=False)

    def with_headers(self, headers: Mapping[str, str]) -> Prepared:
        """The same request with further headers."""
        return replace(self, headers={**self.headers, **headers})

    @contextmanager
    def opened(self) -> Iterator[dict[str, Any]]:
        """The arguments of `httpx2.Client.build_request`, with the files of a form open for the time of one attempt."""
        arguments: dict[str, Any] = {"method": self.method, "url": self.url, "headers": self.headers}
        if self.params:
            arguments["params"] = self.params
        if self.content is not None:
            arguments["content"] = self.content
        with ExitStack() as stack:
            if self.fields or self.parts:
                # A field without a file name, so that forms without a file are multipart too, as the API expects.
                plain: list[tuple[str, Any]] = [(name, (None, value)) for name, value in self.fields]
                arguments["files"] = plain + [(name, _opened(part, stack)) for name, part in self.parts.items()]
            yield arguments


def prepare(operation: Operation[Any], settings: Settings, *, as_stream: bool = False) -> Prepared:
    """Build the request of an operation.

    Args:
        operation: what to send.
        settings: whose account, and where.
        as_stream: whether server-sent events are to come back.

    Raises:
        ArgumentInvalid: it cannot be sent this way, or a header's value cannot travel.
    """
    if operation.reply is Reply.SOCKET:
        raise ArgumentInvalid(
            f"{operation.name} is a WebSocket session, which no single answer ends.",
            mend="Open it with connect(operation).",
        )
    as_form = operation.form or bool(operation.parts)
    as_json = operation.body is not None and not as_form
    headers = {"Accept": _accepted(operation, as_stream)} | _checked_headers(operation)
    if as_json:
        headers["Content-Type"] = "application/json"
    return Prepared(
        method=operation.method,
        url=settings.url(operation.version, operation.path),
        params=list(pairs(operation.query)),
        headers=headers,
        content=_json.encode(operation.body) if as_json else None,
        fields=list(pairs(operation.body or {})) if as_form else [],
        parts={name: _repeatable(part) for name, part in operation.parts.items()},
    )


def _accepted(operation: Operation[Any], as_stream: bool) -> str:
    if as_stream:
        return EVENT_STREAM
    return "*/*" if operation.reply in {Reply.BYTES, Reply.REDIRECT} else "application/json"


def pairs(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and values of a query or a form: a list repeats its name, a nested object travels as JSON."""
    for name, value in revealed(values).items():
        for item in value if isinstance(value, list) else [value]:
            if item is not None:
                yield name, _text(item)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _checked_headers(operation: Operation[Any]) -> dict[str, str]:
    for name, value in operation.headers.items():
        if not printable(value):
            raise ArgumentInvalid(f"{operation.name}: the header {name} may hold printable ASCII characters only.")
    return dict(operation.headers)


def _repeatable(part: Path | bytes | BinaryIO) -> Path | bytes | BinaryIO:
    """A stream that cannot be rewound is read now, so that a second attempt sends the same bytes as the first."""
    if isinstance(part, Path | bytes) or part.seekable():
        return part
    return part.read()


def _opened(part: Path | bytes | BinaryIO, stack: ExitStack) -> tuple[str, Any]:
    """A form's file as its name and what is read from it."""
    if isinstance(part, Path):
        return part.name, stack.enter_context(part.open("rb"))
    if isinstance(part, bytes):
        return "file", part
    name = getattr(part, "name", "")
    return Path(name).name if isinstance(name, str) and name else "file", part
