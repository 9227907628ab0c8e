"""The TCP connections of the emulator: counted, and cut when a fault asks for it.

An ASGI application cannot reach its socket, so the HTTP protocol of uvicorn is taught to announce each one here.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

__all__ = ["Connections", "watched_protocol"]

Peer = tuple[str, int]


@dataclass
class _Connection:
    transport: asyncio.Transport
    used: bool = False


class Connections:
    """The open connections, by the address of the other side."""

    def __init__(self) -> None:
        self._open: dict[Peer, _Connection] = {}
        self.used = 0
        """How many connections have carried at least one API request."""

    def opened(self, transport: asyncio.Transport) -> None:
        self._open[_peer(transport)] = _Connection(transport)

    def lost(self, transport: asyncio.Transport) -> None:
        self._open.pop(_peer(transport), None)

    def forget(self, client: Any) -> None:
        """The connection belongs to another protocol now, such as WebSocket, which does not announce its end here."""
        self._open.pop(tuple(client or ()), None)

    def note_use(self, client: Any) -> None:
        """An API request came in from this address."""
        connection = self._open.get(tuple(client or ()))
        if connection is not None and not connection.used:
            connection.used = True
            self.used += 1

    def forget_use(self) -> None:
        """Starts the count anew."""
        self.used = 0
        for connection in self._open.values():
            connection.used = False

    def cut(self, client: Any) -> None:
        """Closes the connection; what was already written still goes out."""
        connection = self._open.get(tuple(client or ()))
        if connection is not None:
            connection.transport.close()


def watched_protocol(connections: Connections) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol, announcing its connections."""
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    class Watched(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._watched_transport: asyncio.Transport = transport  # type: ignore[assignment]  # TCP is always full
            connections.opened(self._watched_transport)
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            connections.lost(self._watched_transport)
            super().connection_lost(exc)

    return type("WatchedProtocol", (Watched, AutoHTTPProtocol), {})


def _peer(transport: asyncio.Transport) -> Peer:
    host, port, *_ = transport.get_extra_info("peername")
    return host, port
