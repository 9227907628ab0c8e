"""Connections: one SSL context a process, pools that keep what they opened, and network failures in our own words."""

from __future__ import annotations

import contextvars
import logging
import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import httpx2

from together_flows import __version__
from together_flows.client._settings import Settings
from together_flows.errors import AnswerInvalid, ConnectionFailed, TogetherError

__all__ = ["MAX_HOPS", "UNPACKED", "Tuning", "failures", "next_hop", "ssl_context"]

USER_AGENT = f"together-flows/{__version__}"

KEEPALIVE_EXPIRY = 300.0
"""Seconds that an idle connection is kept. Pollers ask every half minute or so; libraries' usual five seconds would
make each of them dial anew."""

MAX_HOPS = 10
"""Redirects followed for one request."""

# What may go along when a redirect leads to another host. The key stays behind, and so does every header of the caller.
_HARMLESS_HEADERS = frozenset({"accept", "accept-encoding", "host", "if-range", "range", "user-agent"})

_PACKINGS = ("gzip", "deflate")
UNPACKED = frozenset({*_PACKINGS, "identity"})
"""Ways in which an answer may be packed. httpx2 would ask for further ones where it finds a library for them."""

_NEVER_LEFT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)

_context: ssl.SSLContext | None = None
_context_lock = threading.Lock()


def ssl_context() -> ssl.SSLContext:
    """The context that all clients of this process share: building one takes 20 ms and 0.7 MB."""
    global _context
    with _context_lock:
        if _context is None:
            _context = httpx2.create_ssl_context()
        return _context


@dataclass(frozen=True)
class Tuning:
    """How a client's connections behave.

    Attributes:
        timeout: seconds without a sign of life after which a request counts as failed.
        connect_timeout: seconds that a connection may take to open.
        max_connections: connections open at once.
        headers: the caller's own; they go to the API and to no other host.
        transport: an httpx2 transport in place of the network.
    """

    timeout: float
    connect_timeout: float
    max_connections: int
    headers: Mapping[str, str]
    transport: Any

    def client(self, settings: Settings) -> httpx2.Client:
        """A blocking client that speaks for the account."""
        return httpx2.Client(**self._authorized(settings))

    def async_client(self, settings: Settings) -> httpx2.AsyncClient:
        """A client for coroutines that speaks for the account. It is made in a thread, apart from any event loop."""
        # httpx2 loads anyio's engine, which takes 40 ms, with the first connection and so in the caller's event loop.
        # A run of anyio loads it here. In a context of its own: a thread inherits that of the loop it was started from,
        # and where anyio runs that loop, the context says so, and anyio would refuse to run again.
        contextvars.Context().run(anyio.run, anyio.sleep, 0)
        return httpx2.AsyncClient(**self._authorized(settings))

    def storage_client(self, *, answer_timeout: float) -> httpx2.Client:
        """A blocking client that carries no key, for the storage to which signed addresses lead."""
        arguments = self._arguments()
        arguments["timeout"].read = max(answer_timeout, self.timeout)
        return httpx2.Client(**arguments)

    def session_arguments(self, settings: Settings) -> dict[str, Any]:
        """What a WebSocket session of the account is opened with."""
        return {
            "additional_headers": {**self.headers, "Authorization": self._authorization(settings)},
            "user_agent_header": USER_AGENT,
            "open_timeout": self.connect_timeout,
            "ssl": ssl_context() if settings.root.startswith("https:") else None,
        }

    def _arguments(self) -> dict[str, Any]:
        return {
            "headers": {"User-Agent": USER_AGENT, "Accept-Encoding": ", ".join(_PACKINGS)},
            "timeout": httpx2.Timeout(self.timeout, connect=self.connect_timeout),
            "limits": httpx2.Limits(
                max_connections=self.max_connections,
                # Fewer than max_connections would close connections after each burst only to dial them again.
                max_keepalive_connections=self.max_connections,
                keepalive_expiry=KEEPALIVE_EXPIRY,
            ),
            "verify": ssl_context(),
            "transport": self.transport,
        }

    def _authorized(self, settings: Settings) -> dict[str, Any]:
        arguments = self._arguments()
        arguments["headers"] |= self.headers
        arguments["headers"]["Authorization"] = self._authorization(settings)
        return arguments

    @staticmethod
    def _authorization(settings: Settings) -> str:
        return f"Bearer {settings.api_key.get_secret_value()}"


@contextmanager
def failures(name: str, timeout: float) -> Iterator[None]:
    """Turn what httpx2 raises into the errors of this package.

    Args:
        name: how the message calls the request.
        timeout: seconds that were waited for, to say so.

    Raises:
        ConnectionFailed: the network failed. Its `sent` is false only where the request certainly never left.
        AnswerInvalid: the answer came in a form that cannot be read.
    """
    try:
        yield
    except (httpx2.DecodingError, httpx2.SSEError) as error:
        raise AnswerInvalid(f"{name}: the answer cannot be read: {error}") from error
    except (httpx2.TransportError, httpx2.InvalidURL) as error:
        raise _in_our_words(name, timeout, error) from error


def _in_our_words(name: str, timeout: float, error: Exception) -> TogetherError:
    if isinstance(error, httpx2.PoolTimeout):
        return ConnectionFailed(f"{name}: all connections were busy for {timeout:g} s", sent=False)
    if isinstance(error, _NEVER_LEFT):
        return ConnectionFailed(f"{name}: no connection ({error or type(error).__name__})", sent=False)
    if isinstance(error, httpx2.TimeoutException):
        return ConnectionFailed(f"{name}: no answer within {timeout:g} s")
    return ConnectionFailed(f"{name}: the connection broke ({error or type(error).__name__})")


def next_hop(response: httpx2.Response) -> httpx2.Request | None:
    """The request that a redirect asks for, or `None` where it is not to be followed.

    Reading may be redirected anywhere, but nothing secret goes along to another host. Anything else is followed only
    on its own host and only where the redirect keeps the method, for it would silently become a GET otherwise.
    """
    following = response.next_request
    if following is None:
        return None
    asked = response.request
    if following.url.origin == asked.url.origin:
        return following if asked.method == following.method else None
    if asked.method != "GET":
        return None
    for header in [name for name in following.headers if name not in _HARMLESS_HEADERS]:
        del following.headers[header]
    return following


class _WithoutSignatures(logging.Filter):
    """Takes the query off signed addresses before httpx2 logs them: whoever has the query has the file."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_unsigned(item) for item in record.args)
        return True


def _unsigned(item: Any) -> Any:
    signed = isinstance(item, httpx2.URL) and "sig" in item.query.decode("ascii", errors="replace").lower()
    return item.copy_with(query=b"...") if signed else item


class _WithoutHeaders(logging.Filter):
    """Takes an answer's headers out of what the connections tell at level DEBUG: they hold signed addresses, and what
    a server chooses to repeat of a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, str):
            record.msg = _HEADERS.sub("[...]", record.msg)
        return True


#: A list of headers, as it is written in such a line.
_HEADERS = re.compile(r"\[\(b['\"].*\)\]", re.DOTALL)

logging.getLogger("httpx2").addFilter(_WithoutSignatures())
for _part in ("connection", "http11", "http2", "proxy", "socks"):
    logging.getLogger(f"httpcore2.{_part}").addFilter(_WithoutHeaders())
