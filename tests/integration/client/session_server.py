"""A WebSocket server that does what a test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from websockets.sync.server import ServerConnection, serve

__all__ = ["session_server"]


@contextmanager
def session_server(handle: Callable[[ServerConnection], None]) -> Iterator[str]:
    """The address of a server that handles each connection so."""
    with serve(handle, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()
