"""What the sync and the async client share: everything but the awaiting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import unquote

import httpx2
from pydantic import SecretStr

from together_flows.api._operation import Operation, Reply
from together_flows.client._connection import UNPACKED, Tuning, next_hop
from together_flows.client._failure import ERROR_BODY_LIMIT, error_in_stream, error_of
from together_flows.client._redaction import Redactor, secrets_in
from together_flows.client._response import answer_of, decoded_json
from together_flows.client._settings import Settings, printable
from together_flows.client._storage import Storage
from together_flows.client._transfer import safe_name
from together_flows.client.retry import Retries
from together_flows.errors import AnswerInvalid, ApiError, ArgumentInvalid, ConfigurationInvalid

__all__ = [
    "END_OF_STREAM",
    "Body",
    "Client",
    "call_name",
    "check_packing",
    "downloadable",
    "hop_after",
    "is_failure",
    "plain_name",
    "realtime_missing",
    "session_of",
    "streaming",
]

T = TypeVar("T")

JSON_LIMIT = 64 * 1024 * 1024
"""Most bytes of a JSON answer. The longest honest ones are lists that the API does not page: 50,000 jobs of 1 kB each
take 50 MB. Files come through `download`, which has no limit."""

END_OF_STREAM = object()


def call_name(operation: Operation[Any]) -> str:
    """How messages and logs call an operation: by its template, so that no id gets into them."""
    return f"{operation.method} {operation.template}"


class Client:
    """The part of a client that does no I/O."""

    def __init__(
        self,
        *,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        timeout: float = 60.0,
        connect_timeout: float = 5.0,
        max_connections: int = 100,
        retries: Retries = Retries(),  # noqa: B008 - a frozen value
        headers: Mapping[str, str] | None = None,
        transport: Any = None,
    ) -> None:
        """Prepare a client. Nothing is opened before the first request.

        Args:
            api_key: the account's key; `TOGETHER_API_KEY` by default.
            base_url: address of the API; `TOGETHER_BASE_URL`, or https://api.together.ai/v1, by default.
            timeout: seconds without a sign of life after which a request counts as failed.
            connect_timeout: seconds that a connection may take to open.
            max_connections: connections open at once; further requests wait for a free one.
            retries: how patient to be.
            headers: sent with each request to the API, and to no other host.
            transport: an httpx2 transport in place of the network.

        Raises:
            ConfigurationInvalid: there is no key, or the key or the address cannot be one.
        """
        if timeout <= 0 or connect_timeout <= 0 or max_connections < 1:
            raise ConfigurationInvalid("timeout, connect_timeout and max_connections must be positive.")
        for name, value in (headers or {}).items():
            if not printable(value):
                raise ConfigurationInvalid(f"The header {name} may hold printable ASCII characters only.")
        self._settings = Settings.resolve(api_key, base_url)
        self._tuning = Tuning(
            timeout=timeout,
            connect_timeout=connect_timeout,
            max_connections=max_connections,
            headers=dict(headers or {}),
            transport=transport,
        )
        self._retries = retries
        self._storage = Storage(self._tuning, retries)
        self._opening = Lock()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def account(self) -> str:
        """A short name of the account: equal for equal keys at the same address. It tells nothing of the key."""
        return self._settings.account

    @property
    def base_url(self) -> str:
        """Address of version 1 of the API."""
        return self._settings.base_url

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r}, account={self.account!r})"

    def _likeness(self) -> dict[str, Any]:
        """What a blocking client of the same account and manner is made with."""
        transport = self._tuning.transport
        return {
            "api_key": self._settings.api_key,
            "base_url": self._settings.base_url,
            "timeout": self._tuning.timeout,
            "connect_timeout": self._tuning.connect_timeout,
            "max_connections": self._tuning.max_connections,
            "retries": self._retries,
            "headers": self._tuning.headers,
            "transport": transport if isinstance(transport, httpx2.BaseTransport) else None,
        }

    def _check_open(self) -> None:
        if self._closed:
            raise ArgumentInvalid("This client is closed.", mend="Make a new one, or close it later.")

    def _redactor(self, operation: Operation[Any]) -> Redactor:
        return Redactor(chain([self._settings.api_key], secrets_in(operation.body), secrets_in(operation.query)))

    def _error(self, operation: Operation[Any], response: httpx2.Response, body: bytes) -> ApiError:
        """The error that an answer stands for."""
        return error_of(
            call_name(operation), response.status_code, response.headers, body, redactor=self._redactor(operation)
        )

    def _answer(self, operation: Operation[T], response: httpx2.Response, body: bytes) -> T:
        """What an answer without an error is worth."""
        return answer_of(
            operation,
            status=response.status_code,
            url=str(response.url),
            headers=response.headers,
            body=body,
            redactor=self._redactor(operation),
        )

    def _event(self, operation: Operation[Any], data: str) -> Any:
        """One event of a stream as the operation's chunk type, or `END_OF_STREAM`.

        Raises:
            ApiError: the event tells of a failure.
            AnswerInvalid: it is not what the API promises.
        """
        if data.strip() == "[DONE]":
            return END_OF_STREAM
        redactor = self._redactor(operation)
        decoded = decoded_json(operation.name, data.encode(), redactor=redactor)
        error = error_in_stream(call_name(operation), decoded, redactor=redactor)
        if error is not None:
            raise error
        return replace(operation, answer=operation.chunk).parse(decoded)


class Body:
    """Collects an answer's body, and refuses one that is larger than any honest answer."""

    def __init__(self, operation: Operation[Any], response: httpx2.Response) -> None:
        self._name = operation.name
        self._failed = is_failure(operation, response)
        self._limit = None if operation.reply is Reply.BYTES else JSON_LIMIT
        self._taken = bytearray()  # and no list of blocks: a server may send a block for each byte

    def takes(self, block: bytes) -> bool:
        """Take a further block, and say whether more is wanted: of an error, the beginning is enough.

        Raises:
            AnswerInvalid: the body has grown beyond the limit.
        """
        self._taken += block
        if self._failed:
            return len(self._taken) < ERROR_BODY_LIMIT
        if self._limit is not None and len(self._taken) > self._limit:
            raise AnswerInvalid(f"{self._name}: the answer is larger than {self._limit} bytes.")
        return True

    def whole(self) -> bytes:
        """What was taken."""
        return bytes(self._taken)


def is_failure(operation: Operation[Any], response: httpx2.Response) -> bool:
    """Whether an answer is no success: a status from 400 up, a redirect that is neither wanted nor followed, or one
    that is packed in a way that nobody asked for."""
    if _unasked_packing(response):
        return True
    if operation.reply is Reply.REDIRECT:
        return response.status_code >= 400
    return not response.is_success


def check_packing(operation: Operation[Any], response: httpx2.Response) -> None:
    """Refuse an answer that is packed in a way that was not asked for, unread.

    Brotli and zstd pack a gigabyte into a few kilobytes, and httpx2 unpacks whole blocks where it can: such an answer
    would fill the memory before its bytes are counted. Gzip packs to a thousandth at best.

    Raises:
        AnswerInvalid: it is packed otherwise.
    """
    if packing := _unasked_packing(response):
        raise AnswerInvalid(f"{call_name(operation)}: the answer is packed as {packing[:40]!r}, unasked for.")


def _unasked_packing(response: httpx2.Response) -> str:
    packings = [packing.strip().lower() for packing in response.headers.get("content-encoding", "").split(",")]
    return next((packing for packing in packings if packing and packing not in UNPACKED), "")


def hop_after(operation: Operation[Any], response: httpx2.Response) -> httpx2.Request | None:
    """The request that a redirect asks for; `None` for an answer that is to be taken as it is."""
    return None if operation.reply is Reply.REDIRECT else next_hop(response)


def streaming(operation: Operation[Any]) -> Operation[Any]:
    """The operation, asking for its answer as a stream of events.

    Raises:
        ArgumentInvalid: it cannot.
    """
    if operation.chunk is None:
        raise ArgumentInvalid(f"{operation.name} does not stream.", mend="Send it with send(operation).")
    return operation.extended(stream=True)


def downloadable(operation: Operation[bytes]) -> Operation[bytes]:
    """The operation itself, if its answer is a file.

    Raises:
        ArgumentInvalid: it is not.
    """
    if operation.reply is not Reply.BYTES:
        raise ArgumentInvalid(f"{operation.name} does not answer with a file.", mend="Send it with send(operation).")
    return operation


def plain_name(operation: Operation[Any]) -> str:
    """A file name for an operation's answer: the last id in its path, else its own name."""
    segments = zip(operation.template.split("/"), operation.path.split("/"), strict=True)
    ids = [unquote(given) for asked, given in segments if asked.startswith("{")]
    return safe_name(ids[-1] if ids else "", fallback=operation.name.replace(".", "-"))


def session_of(operation: Operation[T]) -> Operation[T]:
    """The operation itself, if it is a WebSocket session.

    Raises:
        ArgumentInvalid: it is not.
    """
    if operation.reply is not Reply.SOCKET:
        raise ArgumentInvalid(f"{operation.name} is no WebSocket session.", mend="Send it with send(operation).")
    return operation


def realtime_missing(error: ModuleNotFoundError) -> ConfigurationInvalid:
    """What to raise where the library for WebSocket sessions is missing."""
    return ConfigurationInvalid(f"WebSocket sessions need {error.name}.", mend="Install together-flows[realtime].")
