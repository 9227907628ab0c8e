"""The emulator in a thread of this process."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from together_flows.emulator.control_plane import ControlPlane
from together_flows.errors import ConfigurationInvalid

if TYPE_CHECKING:
    from together_flows.emulator.server import RunningServer

__all__ = ["EMULATOR_API_KEY", "Emulator"]

EMULATOR_API_KEY = "emulator-key"
"""The API key that an emulator lets in unless it is told another."""

_CONTROL_TIMEOUT = 30.0


class Emulator(ControlPlane):
    """An emulator on a local port, run in a daemon thread.

    It is a context manager; `start` and `stop` do the same. Control methods go over HTTP, so they can be called from
    any thread while the emulator runs.

    Args:
        host: the address to listen on.
        port: the port to listen on; 0 takes a free one.
        speed: emulator seconds per real second.
        data: a folder in which records and files outlive this process; without one they go when it stops.
        api_key: the key that is let in.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        speed: float = 1.0,
        data: Path | str | None = None,
        api_key: str = EMULATOR_API_KEY,
    ) -> None:
        self.host = host
        self.api_key = api_key
        self._port = port
        self._speed = speed
        self._data = None if data is None else Path(data)
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._server: RunningServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port it listens on.

        Raises:
            ConfigurationInvalid: it is not running.
        """
        if self._server is None:
            raise ConfigurationInvalid("The emulator is not running.", mend="Use it as a context manager, or start it.")
        return self._server.port

    @property
    def url(self) -> str:
        """The base URL for a client, ending in /v1."""
        return f"http://{self.host}:{self.port}/v1"

    def start(self) -> Emulator:
        """Starts it and returns when it accepts connections.

        Raises:
            ConfigurationInvalid: the port is taken, or the extra `emulator` is not installed.
        """
        if self._server is not None:
            return self
        try:
            from together_flows.emulator.server import RunningServer
        except ModuleNotFoundError as error:
            raise ConfigurationInvalid(
                f"The emulator needs {error.name}.", mend="Install together-flows[emulator]."
            ) from error
        server = RunningServer(
            host=self.host, port=self._port, speed=self._speed, data=self._folder(), api_key=self.api_key
        )
        self._thread = threading.Thread(target=server.run, name="together-emulator", daemon=True)
        self._thread.start()
        server.wait_until_ready()
        self._server = server
        return self

    def stop(self) -> None:
        """Stops it; without a `data` folder everything it holds is removed."""
        if self._server is not None and self._thread is not None:
            self._server.stop()
            self._thread.join()
        self._server = self._thread = None
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def __enter__(self) -> Emulator:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _folder(self) -> Path:
        if self._data is not None:
            return self._data
        self._temporary = tempfile.TemporaryDirectory(prefix="together-emulator-", ignore_cleanup_errors=True)
        return Path(self._temporary.name)
