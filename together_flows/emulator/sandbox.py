"""Code interpreter sessions: each is an interpreter of its own, locked into an empty folder.

Code runs only where the system can lock it in: with namespaces for users, processes and the network, as Linux has
them. Anywhere else it is refused, for an emulator must not become a way into the machine that it runs on.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from together_flows.emulator.world import World

__all__ = ["CodeRefused", "Sandbox", "Sandboxes", "sandboxes"]

WALL_SECONDS = 20.0
"""Real seconds that one execution may take."""

IDLE_SECONDS = 3600.0
"""Emulator seconds after which an unused session expires."""

MAX_SESSIONS = 16

_FAREWELL_SECONDS = 5.0

_CHILD = Path(__file__).with_name("sandbox_child.py")


class CodeRefused(Exception):
    """Code was not run, or not to its end.

    Args:
        reason: why, for the one who sent it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Sandbox:
    """One session, with its process.

    Args:
        folder: the only folder that its code sees; it is made, and removed at the end.
        now: the moment of its start, in emulator seconds.
    """

    def __init__(self, folder: Path, now: float) -> None:
        self.id = f"ses_{uuid.uuid4().hex[:16]}"
        self.started = self.used = now
        self.executions = 0
        self._folder = folder / self.id
        self._folder.mkdir(parents=True)
        self._turn = threading.Lock()
        self._process = self._start()

    @property
    def expires(self) -> float:
        return self.used + IDLE_SECONDS

    def run(self, code: str, files: list[dict[str, str]]) -> list[dict[str, Any]]:
        """Runs code after writing files; blocks until it has ended.

        Raises:
            CodeRefused: it took too long, or the session broke down; either way the session is over.
        """
        with self._turn:
            reply = self._ask({"code": code, "files": files})
            self.executions += 1
        if reply.get("errors"):
            raise CodeRefused(str(reply["errors"][0]))
        outputs: list[dict[str, Any]] = reply["outputs"]
        return outputs

    def end(self) -> None:
        """Kills the process and removes the folder."""
        self._kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def over(self) -> bool:
        """Whether its process has ended."""
        return self._process.poll() is not None

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own program, no argument from outside
            [sys.executable, "-I", "-B", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
            env={},
            start_new_session=True,
        )

    def lock_in(self) -> None:
        """Waits until the process has locked itself in.

        Raises:
            CodeRefused: the system does not let it.
        """
        reply = self._read()
        if reply.get("errors"):
            raise CodeRefused(
                "This emulator runs code only in a sandbox of Linux namespaces, which this system does not allow: "
                f"{reply['errors'][0]}."
            )

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        pipe = self._process.stdin
        assert pipe is not None
        try:
            pipe.write(msgspec.json.encode(request) + b"\n")
            pipe.flush()
        except OSError:
            raise CodeRefused("The session has ended.") from None
        return self._read()

    def _read(self) -> dict[str, Any]:
        pipe = self._process.stdout
        assert pipe is not None
        alarm = threading.Timer(WALL_SECONDS, self._process.terminate)
        alarm.start()
        try:
            line = pipe.readline()
        finally:
            timely = alarm.is_alive()
            alarm.cancel()
        try:
            return msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.MsgspecError:
            self._kill()
            limit = "used up its memory or processor time" if timely else f"took longer than {WALL_SECONDS:g} s"
            raise CodeRefused(f"The code {limit}; the session has ended.") from None

    def _kill(self) -> None:
        """Ends the process: its outer half kills and buries the inner one before it goes itself."""
        self._process.terminate()
        try:
            self._process.wait(_FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Sandboxes:
    """The sessions of one emulator."""

    def __init__(self, world: World) -> None:
        self._folder = world.path("work", "sandboxes")
        self._clock = world.clock
        self._sessions: dict[str, Sandbox] = {}
        world.at_end(self.end_all)

    def new(self) -> Sandbox:
        """A new session, locked in; blocks for as long as an interpreter needs to start.

        Raises:
            CodeRefused: the system does not allow it, or there are too many sessions.
        """
        if len(list(self.alive())) >= MAX_SESSIONS:
            raise CodeRefused(f"There are {MAX_SESSIONS} sessions already; they expire when they are not used.")
        sandbox = Sandbox(self._folder, self._clock.now())
        try:
            sandbox.lock_in()
        except CodeRefused:
            sandbox.end()
            raise
        self._sessions[sandbox.id] = sandbox
        return sandbox

    def get(self, session_id: str) -> Sandbox:
        """The session of this id.

        Raises:
            CodeRefused: there is none, or it has expired.
        """
        self._sweep()
        sandbox = self._sessions.get(session_id)
        if sandbox is None:
            raise CodeRefused(f"Session {session_id} does not exist, or it has expired.")
        return sandbox

    def alive(self) -> Iterator[Sandbox]:
        """The sessions that code can be run in."""
        self._sweep()
        return iter(list(self._sessions.values()))

    def end_all(self) -> None:
        """Ends every session."""
        while self._sessions:
            self._sessions.popitem()[1].end()

    def _sweep(self) -> None:
        now = self._clock.now()
        for sandbox in list(self._sessions.values()):
            if sandbox.over or sandbox.expires <= now:
                self._sessions.pop(sandbox.id, None)
                sandbox.end()


_of_worlds: WeakKeyDictionary[World, Sandboxes] = WeakKeyDictionary()


def sandboxes(world: World) -> Sandboxes:
    """The sessions of this emulator."""
    if world not in _of_worlds:
        _of_worlds[world] = Sandboxes(world)
    return _of_worlds[world]
