"""Real processes for the end-to-end tests: each in a group of its own, each stopped by that group, none left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import httpx2
import psutil

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(look: Callable[[], T | None], *, within: float, what: str, every: float = 0.25) -> T:
    """Look until something is there. The limit only keeps a broken run from hanging; no result depends on it.

    Args:
        look: answers something once it is there; errors of the network count as "not yet".
        within: seconds after which the test fails.
        what: what is waited for, for the failure's message.
        every: seconds between two looks.
    """
    give_up = time.monotonic() + within
    last: Exception | None = None
    while time.monotonic() < give_up:
        try:
            if found := look():
                return found
        except (httpx2.HTTPError, OSError, ValueError, KeyError) as error:
            last = error
        time.sleep(every)
    raise AssertionError(f"{what} did not happen within {within:.0f} s; last error: {last!r}")


def wait_until_at_rest(pid: int) -> None:
    """Wait until a process' event loop has nothing to do, so that Prefect hears of a signal.

    Prefect raises from its signal handler wherever the process is. Where that is asyncio's write to a socket, asyncio
    takes it for an error of the connection, and the signal is lost.
    """
    waits_in = Path(f"/proc/{pid}/wchan")
    eventually(lambda: "poll" in waits_in.read_text(), within=60, what=f"a pause of process {pid}", every=0.01)


class Process:
    """A process in a group of its own.

    Args:
        name: for logs and messages.
        command: what to run; `python` stands for this interpreter.
        log: file that gets its output.
        env: its whole environment.
    """

    def __init__(self, name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        self._command = [sys.executable if part == "python" else part for part in command]
        self._env = dict(env)
        self._popen: subprocess.Popen[bytes] | None = None
        self._told_to_end = False

    def start(self) -> Process:
        self._told_to_end = False
        with self.log.open("ab") as output:
            self._popen = subprocess.Popen(
                self._command, stdout=output, stderr=subprocess.STDOUT, env=self._env, cwd=ROOT, start_new_session=True
            )
        return self

    @property
    def pid(self) -> int:
        assert self._popen is not None, f"{self.name} was not started"
        return self._popen.pid

    @property
    def is_alive(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def has_crashed(self) -> bool:
        """Whether it ended without being told to."""
        return self._popen is not None and not self._told_to_end and not self.is_alive

    def kill(self, with_signal: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the whole group, and wait for the first process to be gone."""
        assert self._popen is not None
        self._told_to_end = True
        try:
            os.killpg(self.pid, with_signal)
        except ProcessLookupError:
            return
        self._popen.wait(timeout=60)

    def send_signal(self, with_signal: signal.Signals) -> None:
        """Send a signal to the first process alone; what it has started hears nothing."""
        self._told_to_end = True
        os.kill(self.pid, with_signal)

    def ask_to_end(self) -> None:
        """Tell the group to end, without waiting for it."""
        self._told_to_end = True
        if self._popen is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGTERM)

    def stop(self) -> None:
        """End the group kindly, then surely all that it has started."""
        if self._popen is None:
            return
        self.ask_to_end()
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout=8)
        for pid in psutil.pids():  # Airflow puts each task in a group of its own, which is left in the session
            with suppress(ProcessLookupError):
                if os.getsid(pid) == self.pid:
                    os.kill(pid, signal.SIGKILL)
        self._popen.wait(timeout=15)

    def tail(self, lines: int = 40) -> str:
        """The end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment of a process that must see nothing of this one's Airflow, Prefect or Together."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("AIRFLOW", "PREFECT", "TOGETHER", "PYTEST"))
    }
    path = os.pathsep.join(part for part in (str(ROOT), kept.get("PYTHONPATH", "")) if part)
    return {**kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **extra}
