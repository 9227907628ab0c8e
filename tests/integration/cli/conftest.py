"""An emulator, and the command as a person calls it: in this process, or in one of its own that can be interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from together_flows.cli.app import app
from together_flows.client import instant_retries
from together_flows.emulator import Emulator

_PATIENCE = 30.0
#: On such an emulator two hours take a second; at the slow speed nothing ends while a test looks at it.
FAST, SLOW = 7200.0, 0.01


@pytest.fixture(scope="session")
def _running_emulator() -> Iterator[Emulator]:
    with Emulator(speed=FAST) as emulator:
        yield emulator


@pytest.fixture
def emulator(_running_emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Emulator]:
    """An emulator as good as new, which the environment names; the working folder is the test's own."""
    _running_emulator.reset()
    monkeypatch.setenv("TOGETHER_API_KEY", _running_emulator.api_key)
    monkeypatch.setenv("TOGETHER_BASE_URL", _running_emulator.url)
    monkeypatch.chdir(tmp_path)
    yield _running_emulator
    _running_emulator.clear_faults()


@dataclass(frozen=True)
class Said:
    """What a command wrote, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The result, which must be JSON and nothing else."""
        return json.loads(self.out)


def run_command(*arguments: str, stdin: str | None = None) -> Said:
    """Run the command in this process."""
    with instant_retries():
        result = CliRunner().invoke(app, list(arguments), input=stdin)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.stdout, result.stderr)


class CommandProcess:
    """The command in a process of its own."""

    def __init__(self, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self._said = Path("said-by-the-command.log").absolute()
        with self._said.open("wb") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "together_flows.cli", *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **(env or {})},
                preexec_fn=_hears_of_interruptions,
            )

    def wait_for(self, happened: Callable[[str], bool]) -> None:
        """Wait until what it wrote to standard error fulfils a condition."""
        until = time.monotonic() + _PATIENCE
        while not happened(self._said.read_text()):
            assert time.monotonic() < until, f"it only said: {self._said.read_text()}"
            time.sleep(0.05)

    def interrupt(self) -> None:
        self._child.send_signal(signal.SIGINT)

    def ended(self) -> Said:
        """How it ended."""
        out, _ = self._child.communicate(timeout=_PATIENCE)
        return Said(self._child.returncode, out.decode(), self._said.read_text())

    def stop(self) -> None:
        if self._child.poll() is None:
            self._child.kill()
        self._child.communicate()


@pytest.fixture
def start(emulator: Emulator) -> Iterator[Callable[..., CommandProcess]]:
    """Starts commands as processes, and leaves none behind."""
    started: list[CommandProcess] = []

    def begin(*arguments: str, env: Mapping[str, str] | None = None) -> CommandProcess:
        started.append(CommandProcess(*arguments, env=env))
        return started[-1]

    yield begin
    for process in started:
        process.stop()


def _hears_of_interruptions() -> None:
    """What a shell runs in the background ignores SIGINT, and so would all that the tests start there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
