"""The emulator as a process of its own: for what has processes itself, and for killing either."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from together_flows.emulator.control_plane import ControlPlane
from together_flows.emulator.instance import EMULATOR_API_KEY
from together_flows.errors import ConfigurationInvalid

__all__ = ["EmulatorProcess"]

_START_SECONDS = 60.0
_STOP_SECONDS = 10.0


class EmulatorProcess(ControlPlane):
    """An emulator in a child process, in a group of its own. A context manager; `start` and `stop` do the same.

    Args:
        port: the port to listen on; 0 takes a free one.
        speed: emulator seconds per real second.
        data: a folder in which records and files outlive the process, a kill included.
        api_key: the key that is let in.
        env: the child's whole environment; this process's by default.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        speed: float = 1.0,
        data: Path | str | None = None,
        api_key: str = EMULATOR_API_KEY,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.api_key = api_key
        self._command = [sys.executable, "-m", "together_flows.emulator", "--speed", str(speed), "--api-key", api_key]
        self._command += ["--data", str(data)] if data is not None else []
        self._port = port
        self._env = dict(env) if env is not None else None
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The base URL for a client, ending in /v1."""
        if self._child is None:
            raise ConfigurationInvalid("The emulator is not running.", mend="Use it as a context manager, or start it.")
        return f"http://127.0.0.1:{self._port}/v1"

    def start(self) -> EmulatorProcess:
        """Start it, and return when it accepts connections. After a `kill` it comes back on the same port.

        Raises:
            ConfigurationInvalid: it did not come up.
        """
        command = [*self._command, "--port", str(self._port)]
        self._child = subprocess.Popen(  # noqa: S603 - this interpreter, and arguments of our own
            command, stdout=subprocess.PIPE, env=self._env, start_new_session=True
        )
        line = self._first_line()
        address = re.search(r"http://127\.0\.0\.1:(\d+)/v1", line)
        if address is None:
            self.stop()
            raise ConfigurationInvalid(f"The emulator did not start. It said: {line or 'nothing'}")
        self._port = int(address.group(1))
        return self

    def _first_line(self) -> str:
        assert self._child is not None
        assert self._child.stdout is not None
        give_up = time.monotonic() + _START_SECONDS
        said = b""
        with selectors.DefaultSelector() as ready:
            ready.register(self._child.stdout, selectors.EVENT_READ)
            while b"\n" not in said and ready.select(max(give_up - time.monotonic(), 0)):
                part = os.read(self._child.stdout.fileno(), 4096)
                if not part:
                    break
                said += part
        return said.decode(errors="replace").strip()

    def kill(self) -> None:
        """Kill it without warning, as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        try:
            os.killpg(child.pid, how)
            child.wait(_STOP_SECONDS)
        except ProcessLookupError:
            child.wait()
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        finally:
            if child.stdout:
                child.stdout.close()

    def __enter__(self) -> EmulatorProcess:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()
