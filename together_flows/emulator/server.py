"""The emulator as a server: a socket, an event loop, and a clean end."""

from __future__ import annotations

import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import uvicorn

from together_flows.emulator.app import make_app
from together_flows.emulator.connections import watched_protocol
from together_flows.emulator.instance import EMULATOR_API_KEY
from together_flows.emulator.routes import all_kinds
from together_flows.emulator.world import World
from together_flows.errors import ConfigurationInvalid

__all__ = ["RunningServer", "serve"]

_IDLE_SECONDS = 120
"""How long an idle connection stays open; longer than a client keeps one, so that clients close first."""

_START_SECONDS = 30.0


class _Server(uvicorn.Server):
    """uvicorn that says when it accepts connections."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()


class RunningServer:
    """One world behind one socket. The socket is bound at once, the world served by `run`.

    Args:
        host: the address to listen on.
        port: the port to listen on; 0 takes a free one.
        speed: emulator seconds per real second.
        data: where records and files are kept.
        api_key: the key that is let in.
        on_ready: called on the event loop when connections are accepted.

    Raises:
        ConfigurationInvalid: the address cannot be bound.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        speed: float,
        data: Path,
        api_key: str,
        on_ready: Callable[[RunningServer], None] | None = None,
    ) -> None:
        self._socket = _bind(host, port)
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        self.world = World(folder=data, speed=speed, api_key=api_key, kinds=all_kinds())
        self._on_ready = on_ready
        self._decided = threading.Event()
        self._accepts = False
        self._server = _Server(
            uvicorn.Config(
                make_app(self.world),
                http=watched_protocol(self.world.connections),
                log_config=None,
                access_log=False,
                lifespan="on",
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=_IDLE_SECONDS,
                timeout_graceful_shutdown=1,
            ),
            self._note_ready,
        )

    @property
    def url(self) -> str:
        """The base URL for a client, ending in /v1."""
        return f"http://{self.host}:{self.port}/v1"

    def run(self) -> None:
        """Serves until it is stopped, or until SIGINT or SIGTERM in the main thread."""
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._accepts = False
            self.world.close()
            self._socket.close()
            self._decided.set()

    def wait_until_ready(self) -> None:
        """Returns when connections are accepted.

        Raises:
            ConfigurationInvalid: the server ended, or did not come up in time.
        """
        self._decided.wait(_START_SECONDS)
        if not self._accepts:
            raise ConfigurationInvalid("The emulator did not start; its log says why.")

    def stop(self) -> None:
        """Asks it to end; `run` returns soon after."""
        self._server.should_exit = True

    def _note_ready(self) -> None:
        self._accepts = True
        self._decided.set()
        if self._on_ready is not None:
            self._on_ready(self)


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    speed: float = 1.0,
    data: Path | str | None = None,
    api_key: str = EMULATOR_API_KEY,
) -> None:
    """Runs an emulator in the foreground until SIGINT or SIGTERM.

    Args:
        host: the address to listen on.
        port: the port to listen on; 0 takes a free one, which the first line of output names.
        speed: emulator seconds per real second.
        data: a folder in which everything outlives this process, a kill included.
        api_key: the key that is let in.

    Raises:
        ConfigurationInvalid: the address cannot be bound.
    """
    with tempfile.TemporaryDirectory(prefix="together-emulator-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary) if data is None else Path(data)
        folder.mkdir(parents=True, exist_ok=True)
        server = RunningServer(host=host, port=port, speed=speed, data=folder, api_key=api_key, on_ready=_announce)
        signal.signal(signal.SIGTERM, _leave)
        try:
            server.run()
        except KeyboardInterrupt:
            return


def _announce(server: RunningServer) -> None:
    sys.stdout.write(
        f"Together emulator listening on {server.url} "
        f"(speed {server.world.clock.speed:g}, API key {server.world.api_key}); nothing here is real or billed\n"
    )
    sys.stdout.flush()


def _leave(signum: int, frame: object) -> None:
    """uvicorn raises a signal again after it has shut down; this turns SIGTERM into an end with cleaning up."""
    raise KeyboardInterrupt


def _bind(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise ConfigurationInvalid(
            f"Cannot listen on {host}:{port}: {error.strerror}.", mend="Take another port."
        ) from error
    return listener
