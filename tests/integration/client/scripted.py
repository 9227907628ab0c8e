"""A server whose answers a test writes, byte by byte if it must, and what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["Asked", "Reply", "Scripted", "scripted"]


@dataclass(frozen=True)
class Asked:
    """A request as it arrived. Names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """An answer.

    Attributes:
        cut: bytes of the body after which the connection is closed, with the headers promising all of it.
        drop: whether to close the connection without a word.
        raw: bytes that are sent in place of everything else, before the connection is closed.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    drop: bool = False
    raw: bytes | None = None


class Scripted:
    """The running server: what it was asked, over how many connections."""

    def __init__(self, answer: Callable[[Asked], Reply]) -> None:
        self.asked: list[Asked] = []
        self.connections = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(answer))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self, answer: Callable[[Asked], Reply]) -> type[BaseHTTPRequestHandler]:
        world = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def setup(self) -> None:
                super().setup()
                world.connections += 1

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, headers, body)
                world.asked.append(asked)
                with suppress(ConnectionError):  # a client may leave before all is said
                    self._reply(answer(asked))

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_any

            def _reply(self, reply: Reply) -> None:
                if reply.drop or reply.raw is not None:
                    self.wfile.write(reply.raw or b"")
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                headers = {"Content-Length": str(len(reply.body))} | reply.headers
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body[: reply.cut])
                if reply.cut is not None:
                    self.close_connection = True

            def log_message(self, *parts: object) -> None:
                """Says nothing."""

        return Handler


@contextmanager
def scripted(answer: Callable[[Asked], Reply]) -> Iterator[Scripted]:
    """Run a server that answers so."""
    server = Scripted(answer)
    server.start()
    try:
        yield server
    finally:
        server.stop()
