"""A server whose answers have no end, or would fill a machine's memory: what they are is in the request's key."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

__all__ = ["ANSWERS", "hostile_server"]

_MIB = 1024 * 1024
_GIB = 1024 * _MIB

#: How much of an answer is sent at most. No client should take so much.
_LONGEST = _GIB


def _head(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *headers, "", ""]).encode()


def _endless(piece: bytes, *, before: bytes = b"") -> Iterator[bytes]:
    yield before
    block = piece * (_MIB // len(piece) + 1)
    for _ in range(_LONGEST // len(block)):
        yield block


def _packed(wbits: int, times: int = 1) -> Iterator[bytes]:
    """White space without end, packed to a thousandth; packed once more for each further time."""
    packer = zlib.compressobj(wbits=wbits)
    outer = _packed_again(wbits) if times > 1 else None
    for _ in range(_GIB // (4 * _MIB)):
        packed = packer.compress(b" " * (4 * _MIB))
        yield outer(packed) if outer else packed


def _packed_again(wbits: int) -> Callable[[bytes], bytes]:
    packer = zlib.compressobj(wbits=wbits)
    return lambda block: packer.compress(block) + packer.flush(zlib.Z_SYNC_FLUSH)


def _json(body: Iterator[bytes], *headers: str, status: str = "200 OK") -> Iterator[bytes]:
    yield _head(status, "Content-Type: application/json", *headers)
    yield from body


def _events(body: Iterator[bytes]) -> Iterator[bytes]:
    yield _head("200 OK", "Content-Type: text/event-stream")
    yield from body


def _once(*parts: bytes) -> Iterator[bytes]:
    return iter(parts)


#: Each answer, by its name.
ANSWERS: dict[str, Callable[[], Iterator[bytes]]] = {
    "a body of a gigabyte": lambda: _json(_endless(b"a", before=b'{"data": "'), f"Content-Length: {_GIB}"),
    "a body without end": lambda: _json(_endless(b'{"id": "x"},', before=b"[")),
    "an error of a gigabyte": lambda: _json(_endless(b"a", before=b'{"error": "'), status="400 Bad Request"),
    "gzip": lambda: _json(_packed(31), "Content-Encoding: gzip"),
    "deflate": lambda: _json(_packed(15), "Content-Encoding: deflate"),
    "gzip in gzip": lambda: _json(_packed(31, 2), "Content-Encoding: gzip, gzip"),
    "an error in gzip": lambda: _json(_packed(31), "Content-Encoding: gzip", status="500 Oh"),
    "ten million rows": lambda: _json(_once(b'{"data": [', b"{}," * 9_999_999, b"{}]}")),
    "a million rows of other types": lambda: _json(_once(b'{"data": [', b"7," * 999_999, b"7]}")),
    "ten million empty lists": lambda: _json(_once(b"[", b"[]," * 9_999_999, b"[]]")),
    "nested lists": lambda: _json(_once(b"[" * 100_000, b"]" * 100_000)),
    "nested objects": lambda: _json(_once(b'{"a":' * 100_000, b"1", b"}" * 100_000)),
    "nested deeper than memory": lambda: _json(_once(b'{"data": ', b"[" * (30 * _MIB), b"]" * (30 * _MIB), b"}")),
    "a long number": lambda: _json(_once(b'{"data": ', b"9" * (20 * _MIB), b"}")),
    "a header without end": lambda: _endless(b"a", before=_head("200 OK")[:-2] + b"X-Long: "),
    "headers without end": lambda: _endless(b"X-A: b\r\n", before=_head("200 OK")[:-2]),
    "a status without end": lambda: _endless(b"a", before=b"HTTP/1.1 200 "),
    "redirects without end": lambda: iter([_head("302 Found", "Location: /again", "Content-Length: 0")]),
    "an event without end": lambda: _events(_endless(b"a", before=b"data: ")),
    "an event of lines without end": lambda: _events(_endless(b"data: a\n")),
    "a field without end": lambda: _events(_endless(b"a")),
    "an event of ten million rows": lambda: _events(_once(b"data: [", b"{}," * 5_000_000, b"{}]\n\n")),
    "a frame of a gigabyte": lambda: _endless(b"a", before=b"\x81\x7f" + struct.pack("!Q", _GIB)),
}


class _Handler(socketserver.BaseRequestHandler):
    request: socket.socket

    def handle(self) -> None:
        self.request.settimeout(30)
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += self.request.recv(65536)
        # The name of the answer is the account's key, because that is sent with every request.
        line = next(line for line in asked.split(b"\r\n") if line.lower().startswith(b"authorization:"))
        name = line.partition(b"Bearer ")[2].decode().replace("-", " ")
        with suppress(OSError):  # a client that has had enough closes the connection
            if b"sec-websocket-key:" in asked.lower():
                self.request.sendall(_accepted(asked))
            for block in ANSWERS[name]():
                self.request.sendall(block)


def _accepted(asked: bytes) -> bytes:
    from websockets.utils import accept_key

    line = next(line for line in asked.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
    token = accept_key(line.partition(b":")[2].strip().decode())
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {token}\r\n\r\n"
    ).encode()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextmanager
def hostile_server() -> Iterator[str]:
    """The address of a running server."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
